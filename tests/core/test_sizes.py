"""Core: large graphs cost time in proportion, and no stack.

What is quadratic takes many minutes here, and runs into the suite's time limit for each test.
"""

from __future__ import annotations

import pytest

from trio_actor_graph.graph.conditions import AllOf, Tasks
from trio_actor_graph.graph.records import LoopSpec, TaskRecord, TaskSpec
from trio_actor_graph.graph.scheduler import Scheduler
from trio_actor_graph.graph.stories import explain, stall_story, unseen_failures

from .builder import RAISED

LARGE = 100_000
SPEC = TaskSpec("t", 0, "default")


class Crowd:
    """One graph, one worker with a million slots, and no checks: those cost more than the work."""

    def __init__(self) -> None:
        self.scheduler = Scheduler([LoopSpec("default", (1_000_000,))])
        self.graph = self.scheduler.on_graph_opened(0, "g")
        worker = self.scheduler.start_worker(self.scheduler.loops["default"], 0)
        self.scheduler.on_worker_ready(worker.worker_id, 0.0)

    def create(self, *predecessors: int, outcome: str = "succeeded") -> TaskRecord:
        condition = Tasks(outcome, predecessors, len(predecessors)) if predecessors else None
        uid = len(self.graph.tasks)
        return self.scheduler.on_task_created(self.graph, uid, SPEC, condition=condition)

    def run(self) -> None:
        self.scheduler.settle(0.0)

    def succeed(self, task: TaskRecord) -> None:
        self.scheduler.on_attempt_succeeded(task.attempt.attempt_id, 1.0, 0.0)

    def fail(self, task: TaskRecord) -> None:
        self.scheduler.on_attempt_failed(task.attempt.attempt_id, RAISED, 1.0, 0.0)

    def counts(self) -> dict[str, int]:
        return {state: number for state, number in self.graph.counts.items() if number}


def chain() -> tuple[Crowd, TaskRecord]:
    crowd = Crowd()
    first = crowd.create()
    for uid in range(LARGE - 1):
        crowd.create(uid)
    crowd.run()
    return crowd, first


def fan_in() -> tuple[Crowd, list[TaskRecord]]:
    crowd = Crowd()
    tasks = [crowd.create() for _ in range(LARGE)]
    crowd.create(*range(LARGE))
    crowd.run()
    return crowd, tasks


@pytest.mark.parametrize("end", ["skipped", "cancelled", "graph cancelled"])
def test_a_long_chain_ends_in_one_step(end: str):
    crowd, first = chain()
    if end == "skipped":
        crowd.fail(first)
        assert crowd.counts() == {"failed": 1, "skipped": LARGE - 1}
        assert unseen_failures(crowd.graph) == [first]
        assert "because" in explain(crowd.graph.tasks[LARGE - 1])
    elif end == "cancelled":
        crowd.scheduler.on_task_cancelled(first)
        assert crowd.counts() == {"cancelled": 1, "skipped": LARGE - 1}
    else:
        crowd.scheduler.on_graph_cancelled(crowd.graph)
        assert crowd.counts() == {"cancelled": LARGE}


def test_a_long_chain_succeeds_link_by_link():
    crowd, first = chain()
    for uid in range(LARGE):
        crowd.succeed(crowd.graph.tasks[uid])
        crowd.run()
    assert crowd.counts() == {"succeeded": LARGE}
    assert first.state == "succeeded"


@pytest.mark.parametrize("end", ["succeeded", "failed", "graph cancelled"])
def test_a_wide_fan_in(end: str):
    crowd, tasks = fan_in()
    if end == "graph cancelled":
        crowd.scheduler.on_graph_cancelled(crowd.graph)
        assert crowd.counts() == {"cancelled": LARGE + 1}
        return
    for task in tasks:
        (crowd.succeed if end == "succeeded" else crowd.fail)(task)
    last = {"ready": 1} if end == "succeeded" else {"skipped": 1}
    assert crowd.counts() == last | {end: LARGE}
    assert len(unseen_failures(crowd.graph)) == (LARGE if end == "failed" else 0)


def test_a_wide_fan_out_is_cancelled_while_ready():
    crowd = Crowd()
    first = crowd.create()
    for _ in range(LARGE):
        crowd.create(0)
    crowd.run()
    crowd.succeed(first)
    crowd.scheduler.on_graph_cancelled(crowd.graph)
    assert len(crowd.scheduler.loops["default"].ready) == 0


@pytest.mark.parametrize("number", [1_000, 20_000])
def test_predecessors_added_one_by_one(number: int):
    """Each link costs the same, also where the task has many successors of its own."""
    crowd = Crowd()
    tasks = [crowd.create() for _ in range(number)]
    last = crowd.create(0)
    for _ in range(1_000):
        crowd.create(last.uid)
    crowd.run()
    for task in tasks[1:]:
        crowd.scheduler.on_predecessor_added(last, Tasks("succeeded", (task.uid,), 1))
    assert len(last.predecessors) == number
    for task in tasks[:-1]:
        crowd.succeed(task)
    assert last.state == "waiting"
    crowd.succeed(tasks[-1])
    assert last.state == "ready"


def test_a_long_loop_of_tail_calls():
    """Each returns a new task of its kind: looking for a cycle must not walk all the callers."""
    crowd = Crowd()
    task = first = crowd.create()
    crowd.create(first.uid)
    crowd.run()
    for _ in range(20_000):
        following = crowd.create()
        crowd.scheduler.on_attempt_returned_task(task.attempt.attempt_id, following.uid, 1.0, 0.0)
        crowd.run()
        task = following
    crowd.succeed(task)
    assert crowd.counts() == {"succeeded": 20_001, "ready": 1}


@pytest.mark.parametrize("how", ["told", "cancelled", "given up"])
def test_a_task_awaited_by_many(how: str):
    crowd = Crowd()
    awaited = crowd.create()
    tasks = [crowd.create() for _ in range(20_000)]
    crowd.run()
    for task in tasks:
        crowd.scheduler.on_attempt_awaits(task.attempt.attempt_id, awaited.uid)
    if how == "told":
        crowd.succeed(awaited)
    else:
        for task in reversed(tasks):
            if how == "cancelled":
                crowd.scheduler.on_task_cancelled(task)
            else:
                crowd.scheduler.on_attempt_stopped_awaiting(task.attempt.attempt_id, awaited.uid)
    assert crowd.graph.suspended == 0


def test_a_task_returned_by_many():
    crowd = Crowd()
    returned = crowd.create()
    tasks = [crowd.create() for _ in range(LARGE)]
    crowd.run()
    for task in tasks:
        crowd.scheduler.on_attempt_returned_task(task.attempt.attempt_id, returned.uid, 1.0, 0.0)
    crowd.succeed(returned)
    assert crowd.counts() == {"succeeded": LARGE + 1}


def test_many_failures_that_skip_the_same_tasks():
    """500 failures before 500 layers of tasks: their unseen failures are found in one walk."""
    crowd = Crowd()
    roots = [crowd.create() for _ in range(500)]
    before = range(500)
    for _ in range(100):
        layer = [crowd.create(*list(before)[i::50]).uid for i in range(50)]
        before = layer
    crowd.run()
    for root in roots:
        crowd.fail(root)
    assert len(unseen_failures(crowd.graph)) == 500


def test_the_story_of_a_large_stall_is_cheap():
    crowd = Crowd()
    first = crowd.create()
    for _ in range(3_000):
        crowd.create(0)
    crowd.run()
    crowd.scheduler.on_attempt_awaits(first.attempt.attempt_id, 1)
    assert stall_story(crowd.graph).count("\n") == 21


def test_a_condition_of_many_parts():
    crowd = Crowd()
    tasks = [crowd.create() for _ in range(10_000)]
    parts = tuple(Tasks("succeeded", (t.uid,), 1) for t in tasks)
    last = crowd.scheduler.on_task_created(crowd.graph, -1, SPEC, condition=AllOf(parts))
    crowd.run()
    for task in tasks:
        crowd.succeed(task)
    assert last.state == "ready"


def test_records_of_a_long_chain_are_freed_without_a_stack():
    crowd, first = chain()
    del crowd, first
