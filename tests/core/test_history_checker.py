"""Core: the checker of `benchmarks.chaos`, on histories written by hand.

A good history passes; each kind of bad history is reported, under the rule that it breaks. Nothing
of the scheduler takes part: a history is a list of what the app and the task bodies have noted.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

import benchmarks.chaos
from benchmarks.chaos import history, measure
from benchmarks.chaos.checker import Verdict, check
from benchmarks.chaos.faults import KINDS, fault_plan
from benchmarks.chaos.graphs import random_graph
from benchmarks.chaos.history import PATH_VARIABLE, History, note, read_events
from benchmarks.chaos.model import Condition, TaskPlan, plan_as_json, plan_from_json, value_of

APP, WORKER, OTHER_WORKER = 1, 100, 200


class Story:
    """Writes a history; each event is one second after the one before.

    There are two workers of the loop "plain", which may run two tasks at once.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._time = count(1)
        self._note("start", limits={"plain": 2})
        self._note("graph", graph="g")
        for index, pid in enumerate((WORKER, OTHER_WORKER)):
            self._note("ready", worker=pid, loop="plain", index=index)

    def _note(self, event: str, pid: int = APP, **fields: Any) -> None:
        self.events.append({"event": event, "t": float(next(self._time)), "pid": pid, **fields})

    def accept(self, key: str, **options: Any) -> None:
        options = {"shape": "no_op", "loop": "plain", "is_async": False} | options
        plan = plan_as_json(TaskPlan(key=key, **options))
        self._note("accepted", key=key, graph="g", plan=plan)

    def begin(
        self,
        key: str,
        attempt: int = 1,
        *,
        number: int = 1,
        pid: int = WORKER,
        inputs: list[tuple[str, int]] | None = None,
        seen: list[tuple[str, str]] | None = None,
    ) -> None:
        self._note(
            "begin",
            pid,
            key=key,
            attempt=attempt,
            number=number,
            inputs=inputs or [],
            seen=seen or [],
        )

    def end(
        self, key: str, attempt: int = 1, how: str = "ok", detail: str = "", pid: int = WORKER
    ) -> None:
        self._note("end", pid, key=key, attempt=attempt, how=how, detail=detail)

    def child(self, key: str, child: str, attempt: int = 1) -> None:
        plan = plan_as_json(TaskPlan(child, "no_op", "plain", is_async=False))
        self._note("child", WORKER, key=key, attempt=attempt, plan=plan)

    def accept_child(self, key: str) -> None:
        self._note("accepted", key=key, graph="g")

    def succeed(
        self, key: str, attempt: int = 1, *, pid: int = WORKER, values: tuple[int, ...] = ()
    ) -> None:
        result = {"key": key, "attempt": attempt, "pid": pid, "value": value_of(key, values)}
        self._note("state", key=key, state="succeeded", result=result)

    def see(self, key: str, state: str, **fields: Any) -> None:
        self._note("state", key=key, state=state, **fields)

    def run(self, key: str, attempt: int = 1, *, pid: int = WORKER) -> None:
        """An attempt that goes well."""
        self.begin(key, attempt, number=attempt, pid=pid)
        self.end(key, attempt, pid=pid)
        self.succeed(key, attempt, pid=pid)

    def cancel(
        self,
        key: str,
        before: str = "running",
        after: str = "cancelled",
        also: list[str] | None = None,
    ) -> None:
        """With `also`, it is a cancel with successors."""
        fields = {"began": self.events[-1]["t"] + 0.5, "before": before, "after": after}
        if also is not None:
            fields |= {"successors": True, "also": also}
        self._note("cancel", key=key, **fields)

    def lose(self, pid: int = WORKER) -> None:
        self._note("lost", worker=pid, how=f"process {pid} was ended by SIGKILL")

    def kill(self, pid: int = WORKER) -> None:
        self._note("signal", worker=pid, kind="SIGKILL")
        self.lose(pid)

    def crash_in(self, key: str, attempt: int, pid: int) -> None:
        self.begin(key, attempt, number=attempt, pid=pid)
        self._note("dying", pid, key=key, attempt=attempt, act="exit")
        self.lose(pid)

    def replace(self, pid: int, index: int = 0) -> None:
        self._note("ready", worker=pid, loop="plain", index=index)

    def add(self, event: str, pid: int = APP, **fields: Any) -> None:
        self._note(event, pid, **fields)

    def history(self) -> History:
        if self.events[-1]["event"] not in ("closing", "crash"):
            self._note("closing")
        return History.of(self.events)

    def verdict(self) -> Verdict:
        return check(self.history())

    def complaints(self) -> list[tuple[str, str, str]]:
        return [(v.kind, v.rule, v.key) for v in self.verdict().violations]


@pytest.fixture
def story() -> Story:
    return Story()


# ---- good histories -----------------------------------------------------------------------------


def succeeds(story: Story) -> None:
    story.accept("a")
    story.run("a")


def is_retried(story: Story) -> None:
    story.accept("a", act="raise", bad_until=1, retries=1)
    story.begin("a")
    story.end("a", how="raise", detail="PlannedError")
    story.run("a", 2)


def fails_as_planned(story: Story) -> None:
    story.accept("a", act="raise", bad_until=9)
    story.begin("a")
    story.end("a", how="raise", detail="PlannedError")
    story.see("a", "failed", error="TaskFailed")


def is_run_again_after_a_kill(story: Story) -> None:
    story.accept("a")
    story.begin("a")
    story.kill()
    story.run("a", 2, pid=OTHER_WORKER)


def ends_and_is_lost_before_it_is_told(story: Story) -> None:
    story.accept("a")
    story.begin("a")
    story.add("signal", worker=WORKER, kind="link cut")
    story.end("a")
    story.lose()
    story.run("a", 2, pid=OTHER_WORKER)


def is_blamed_for_three_workers(story: Story) -> None:
    story.accept("a", act="exit", bad_until=99)
    for attempt, pid in enumerate((WORKER, 101, 102), 1):
        if pid != WORKER:
            story.replace(pid)
        story.crash_in("a", attempt, pid)
    story.see("a", "failed", error="WorkerLost")


def is_over_its_limit_and_answers_late(story: Story) -> None:
    story.accept("a", timeout_seconds=1.0, retries=1)
    story.begin("a")
    story.begin("a", 2, number=2, pid=OTHER_WORKER)
    story.end("a")
    story.end("a", 2, pid=OTHER_WORKER)
    story.succeed("a", 2, pid=OTHER_WORKER)


def times_out(story: Story) -> None:
    story.accept("a", act="loop", bad_until=1, timeout_seconds=0.5)
    story.begin("a")
    story.see("a", "failed", error="TaskTimeout")
    story.lose()


def is_cancelled(story: Story) -> None:
    story.accept("a")
    story.begin("a")
    story.cancel("a")
    story.see("a", "cancelled")
    story.lose()


def is_cancelled_with_its_graph(story: Story) -> None:
    story.accept("a")
    story.add("cancel_graph", graph="g", began=6.0, unfinished=1)
    story.see("a", "cancelled")


def is_cancelled_with_what_it_waits_on(story: Story) -> None:
    story.accept("a")
    story.accept("b", inputs=("a",))
    story.accept("c", waits_on=Condition("completed", ("b",)))
    story.cancel("a", before="ready", also=["b", "c"])
    for key in "abc":
        story.see(key, "cancelled")


def is_cancelled_with_the_task_that_one_it_waits_on_returned(story: Story) -> None:
    story.accept("a", shape="tail")
    story.accept("b", inputs=("a",))
    story.begin("a")
    story.child("a", "c")
    story.accept_child("c")
    story.end("a", how="tail", detail="c")
    story.cancel("c", before="ready", also=["a", "b"])
    for key in "abc":
        story.see(key, "cancelled")


def gets_the_result_it_waits_for(story: Story) -> None:
    story.accept("a")
    story.accept("b", inputs=("a",))
    story.run("a")
    story.begin("b", 2, inputs=[("a", 1)], seen=[("a", "succeeded")])
    story.end("b", 2)
    story.succeed("b", 2, values=(value_of("a"),))


def needs_one_of_two(story: Story) -> None:
    story.accept("a")
    story.accept("b")
    story.accept("c", waits_on=Condition("succeeded", ("a", "b"), at_least=1))
    story.run("a")
    story.run("c", 2)
    story.run("b", 3)


def is_skipped(story: Story) -> None:
    fails_as_planned(story)
    story.accept("b", waits_on=Condition("succeeded", ("a",)))
    story.see("b", "skipped")


def awaits_its_child(story: Story) -> None:
    story.accept("a", shape="await")
    story.begin("a")
    story.child("a", "a/1.0")
    story.add("suspend", WORKER, key="a", attempt=1)
    story.accept_child("a/1.0")
    story.run("a/1.0", 2)
    story.add("resume", WORKER, key="a", attempt=1)
    story.end("a")
    story.succeed("a", values=(value_of("a/1.0"),))


def returns_its_child(story: Story) -> None:
    story.accept("a", shape="tail")
    story.begin("a")
    story.child("a", "a/1.0")
    story.end("a", how="tail", detail="a/1.0")
    story.accept_child("a/1.0")
    story.run("a/1.0", 2)
    result = story.events[-1]["result"]
    story.see("a", "succeeded", result=result)


def awaits_while_others_run(story: Story) -> None:
    """Two may run at once, and one of the three awaits."""
    story.accept("a", shape="fire")
    story.accept("b")
    story.accept("c")
    story.begin("a")
    story.add("suspend", WORKER, key="a", attempt=1)
    story.begin("b", 2)
    story.begin("c", 3, pid=OTHER_WORKER)
    story.end("b", 2)
    story.end("c", 3, pid=OTHER_WORKER)
    story.add("resume", WORKER, key="a", attempt=1)
    story.end("a")
    story.succeed("a")
    story.succeed("b", 2)
    story.succeed("c", 3, pid=OTHER_WORKER)


GOOD = [
    succeeds,
    is_retried,
    fails_as_planned,
    is_run_again_after_a_kill,
    ends_and_is_lost_before_it_is_told,
    is_blamed_for_three_workers,
    is_over_its_limit_and_answers_late,
    times_out,
    is_cancelled,
    is_cancelled_with_its_graph,
    is_cancelled_with_what_it_waits_on,
    is_cancelled_with_the_task_that_one_it_waits_on_returned,
    gets_the_result_it_waits_for,
    needs_one_of_two,
    is_skipped,
    awaits_its_child,
    returns_its_child,
    awaits_while_others_run,
]


@pytest.mark.parametrize("write", GOOD, ids=lambda write: write.__name__)
def test_a_good_history_passes(story: Story, write: Callable[[Story], None]) -> None:
    """Whatever the faults explain is no violation."""
    write(story)
    assert story.complaints() == []


# ---- lost ---------------------------------------------------------------------------------------


def test_a_task_without_an_end_is_lost(story: Story) -> None:
    """Every accepted task ends."""
    story.accept("a")
    story.begin("a")
    story.end("a")
    assert story.complaints() == [("lost", "every task ends", "a")]


def test_a_task_whose_graph_was_given_up_is_lost(story: Story) -> None:
    """That it is cancelled then does not count as its end."""
    story.accept("a")
    story.add("stuck", key="a", story="ready")
    story.see("a", "cancelled")
    assert story.complaints() == [("lost", "every task ends", "a")]


def test_a_child_of_a_successful_task_must_exist(story: Story) -> None:
    """A creation travels ahead of the end of its creator."""
    story.accept("a", shape="fire")
    story.begin("a")
    story.child("a", "a/1.0")
    story.end("a")
    story.succeed("a")
    assert story.complaints() == [("lost", "children exist", "a/1.0")]


def test_a_child_of_a_lost_attempt_need_not_exist(story: Story) -> None:
    """What a lost attempt has created may be lost with it."""
    story.accept("a", shape="fire")
    story.begin("a")
    story.child("a", "a/1.0")
    story.kill()
    story.run("a", 2, pid=OTHER_WORKER)
    assert story.complaints() == []


# ---- duplicated ---------------------------------------------------------------------------------


def test_a_terminal_state_must_not_change(story: Story) -> None:
    """A task ends once."""
    story.accept("a")
    story.run("a")
    story.see("a", "cancelled")
    assert ("duplicated", "a terminal state stays", "a") in story.complaints()


def test_a_result_must_not_change(story: Story) -> None:
    """Its result is stored once."""
    is_over_its_limit_and_answers_late(story)
    story.succeed("a", 1)
    assert ("duplicated", "a terminal state stays", "a") in story.complaints()


def test_an_attempt_must_not_run_twice(story: Story) -> None:
    """An attempt id is used for one run, also when its worker was lost."""
    story.accept("a")
    story.begin("a")
    story.kill()
    story.run("a", 1, pid=OTHER_WORKER)
    assert ("duplicated", "no attempt runs twice", "a") in story.complaints()


def test_two_attempts_must_not_overlap(story: Story) -> None:
    """Without a time limit nothing lets a second attempt begin while the first runs."""
    story.accept("a", retries=1)
    story.begin("a")
    story.begin("a", 2, number=2, pid=OTHER_WORKER)
    story.end("a", how="raise", detail="PlannedError")
    story.end("a", 2, pid=OTHER_WORKER)
    story.succeed("a", 2, pid=OTHER_WORKER)
    assert ("duplicated", "attempts take turns", "a") in story.complaints()


def test_a_superseded_attempt_must_not_answer(story: Story) -> None:
    """What the first attempt brings back after the second was begun is dropped."""
    story.accept("a", timeout_seconds=1.0, retries=1)
    story.begin("a")
    story.begin("a", 2, number=2, pid=OTHER_WORKER)
    story.end("a")
    story.succeed("a", 1)
    assert story.complaints() == [("duplicated", "the last attempt answers", "a")]


# ---- unexpected ---------------------------------------------------------------------------------


def test_a_success_must_have_been_run(story: Story) -> None:
    """A result that no body has computed is made up."""
    story.accept("a")
    story.succeed("a")
    assert story.complaints() == [("unexpected", "success was run", "a")]


def test_a_result_must_be_right(story: Story) -> None:
    """The value is computed once more from the inputs."""
    story.accept("a")
    story.begin("a")
    story.end("a")
    story.succeed("a", values=(7,))
    assert story.complaints() == [("unexpected", "results are right", "a")]


def test_an_input_must_be_the_result(story: Story) -> None:
    """An attempt gets the result that everybody gets."""
    story.accept("a")
    story.accept("b", inputs=("a",))
    story.run("a")
    story.begin("b", 2, inputs=[("a", 9)])
    story.end("b", 2)
    story.succeed("b", 2, values=(value_of("a"),))
    assert story.complaints() == [("unexpected", "inputs are the results", "b")]


def follow_and_lose(story: Story, ends: bool) -> None:
    """`b` begins on the result of an attempt of `a`, and at once their worker is lost."""
    story.accept("a")
    story.accept("b", inputs=("a",))
    story.begin("a", 1)
    story.end("a", 1)
    story.begin("b", 2, inputs=[("a", 1)])
    if ends:
        story.end("b", 2)
    story.kill()
    for number, event in enumerate(reversed(story.events[-4 - ends :])):
        event["t"] = story.events[-1]["t"] - number / 100
    story.begin("a", 3, number=2, pid=OTHER_WORKER)
    story.end("a", 3, pid=OTHER_WORKER)
    story.succeed("a", 3, pid=OTHER_WORKER)


@pytest.mark.parametrize("ends", [False, True])
def test_what_was_lost_may_have_followed_what_was_lost(story: Story, ends: bool) -> None:
    """Both in one worker: neither was told of, and neither counts."""
    follow_and_lose(story, ends)
    story.begin("b", 4, number=2, pid=OTHER_WORKER, inputs=[("a", 3)])
    story.end("b", 4, pid=OTHER_WORKER)
    story.succeed("b", 4, pid=OTHER_WORKER, values=(value_of("a"),))
    assert story.complaints() == []


def test_what_counts_follows_only_what_counts(story: Story) -> None:
    """The result of an attempt that was lost is good for nobody whose own result is kept."""
    follow_and_lose(story, ends=True)
    story.succeed("b", 2, values=(value_of("a"),))
    rules = {rule for _, rule, _ in story.complaints()}
    assert {"inputs are the results", "conditions held"} <= rules


@pytest.mark.parametrize("error", ["TaskFailed", "TaskTimeout", "WorkerLost", "GraphError"])
def test_a_failure_needs_a_reason(story: Story, error: str) -> None:
    """A task whose attempt went well does not fail."""
    story.accept("a")
    story.begin("a")
    story.end("a")
    story.see("a", "failed", error=error)
    assert story.complaints() == [("unexpected", "failures are planned", "a")]


def test_retries_must_be_used(story: Story) -> None:
    """A task with a retry does not fail after its first attempt."""
    story.accept("a", act="raise", bad_until=9, retries=1)
    story.begin("a")
    story.end("a", how="raise", detail="PlannedError")
    story.see("a", "failed", error="TaskFailed")
    assert story.complaints() == [("unexpected", "failures are planned", "a")]


def test_two_lost_workers_are_bad_luck(story: Story) -> None:
    """A task is blamed for the third worker, not before."""
    story.accept("a", act="exit", bad_until=99)
    story.crash_in("a", 1, WORKER)
    story.crash_in("a", 2, OTHER_WORKER)
    story.see("a", "failed", error="WorkerLost")
    assert story.complaints() == [("unexpected", "failures are planned", "a")]


def test_an_innocent_must_not_be_blamed(story: Story) -> None:
    """The third time it is alone, so no neighbour can have ended its worker."""
    story.accept("a")
    story.accept("evil", act="exit", bad_until=99)
    for attempt, pid in ((1, WORKER), (3, 101), (5, 102)):
        if pid != WORKER:
            story.replace(pid)
        story.begin("a", attempt, number=attempt, pid=pid)
        story.crash_in("evil", attempt + 1, pid)
    story.see("a", "failed", error="WorkerLost")
    story.see("evil", "failed", error="WorkerLost")
    assert story.complaints() == [("unexpected", "failures are planned", "a")]


def test_a_body_raises_what_is_planned(story: Story) -> None:
    """An error out of the scheduler's own code is not taken for one of the task."""
    story.accept("a")
    story.begin("a")
    story.end("a", how="raise", detail="GraphError")
    story.see("a", "failed", error="TaskFailed")
    assert story.complaints() == [("unexpected", "raises are planned", "a")]


def test_a_cancelled_task_needs_a_cancel(story: Story) -> None:
    """Nothing is cancelled unasked."""
    story.accept("a")
    story.see("a", "cancelled")
    assert story.complaints() == [("unexpected", "somebody cancelled it", "a")]


def test_a_cancel_ends_the_task_at_once(story: Story) -> None:
    """Right after the call it is cancelled."""
    story.accept("a")
    story.begin("a")
    story.cancel("a", after="running")
    story.see("a", "cancelled")
    story.lose()
    assert story.complaints() == [("unexpected", "a cancel ends the task", "a")]


def test_a_cancelled_task_must_not_begin(story: Story) -> None:
    """After a moment for the word to arrive."""
    story.accept("a")
    story.cancel("a", before="ready")
    story.see("a", "cancelled")
    story.begin("a")
    story.end("a")
    assert story.complaints() == [("unexpected", "cancelled does not begin", "a")]


def test_a_cancel_takes_only_what_waits(story: Story) -> None:
    """A bystander does not end with the successors of a cancelled task."""
    story.accept("a")
    story.accept("b")
    story.cancel("a", before="ready", also=["b"])
    story.see("a", "cancelled")
    story.see("b", "cancelled")
    assert story.complaints() == [("unexpected", "a cancel takes successors", "b")]


def test_a_cancel_takes_who_waits_for_the_result(story: Story) -> None:
    """A successor that could still run after that would run on nothing."""
    story.accept("a")
    story.accept("b", inputs=("a",))
    story.cancel("a", before="ready", also=[])
    story.see("a", "cancelled")
    story.see("b", "failed", error="TaskFailed")
    assert ("unexpected", "a cancel takes successors", "b") in story.complaints()


def test_a_skipped_task_must_be_unable_to_run(story: Story) -> None:
    """Its condition must be out of reach, as everything ended."""
    story.accept("a")
    story.accept("b", waits_on=Condition("succeeded", ("a",)))
    story.run("a")
    story.see("b", "skipped")
    assert story.complaints() == [("unexpected", "skipped cannot run", "b")]


def test_a_task_must_not_begin_before_its_condition_holds(story: Story) -> None:
    """It begins after what it waits for has ended, not just before."""
    story.accept("a")
    story.accept("b", waits_on=Condition("completed", ("a",)))
    story.begin("a")
    story.begin("b", 2, pid=OTHER_WORKER)
    story.end("a")
    story.end("b", 2, pid=OTHER_WORKER)
    story.succeed("a")
    story.succeed("b", 2, pid=OTHER_WORKER)
    assert story.complaints() == [("unexpected", "conditions held", "b")]


def test_predecessors_are_told_as_they_ended(story: Story) -> None:
    """A task that looks at its predecessors sees what the app sees."""
    story.accept("a")
    story.accept("b", waits_on=Condition("completed", ("a",)))
    story.run("a")
    story.begin("b", 2, seen=[("a", "failed")])
    story.end("b", 2)
    story.succeed("b", 2)
    assert story.complaints() == [("unexpected", "predecessors are told right", "b")]


def test_another_attempt_needs_a_reason(story: Story) -> None:
    """After a success that was told, nothing is run again."""
    story.accept("a")
    story.begin("a")
    story.end("a")
    story.run("a", 2)
    assert story.complaints() == [("unexpected", "attempts have reasons", "a")]


def test_there_are_as_many_retries_as_asked_for(story: Story) -> None:
    """The second failure of a task with one retry is its last."""
    story.accept("a", act="raise", bad_until=2, retries=1)
    for attempt in (1, 2):
        story.begin("a", attempt, number=attempt)
        story.end("a", attempt, how="raise", detail="PlannedError")
    story.run("a", 3)
    assert story.complaints() == [("unexpected", "retries are counted", "a")]


def test_a_task_runs_in_its_loop(story: Story) -> None:
    """The workers of other loops are not for it."""
    story.accept("a", loop="elsewhere")
    story.run("a")
    assert story.complaints() == [("unexpected", "tasks run in their loop", "a")]


def test_no_more_run_at_once_than_may(story: Story) -> None:
    """Two of this loop, over all its workers."""
    for attempt, (key, pid) in enumerate(
        [("a", WORKER), ("b", WORKER), ("c", OTHER_WORKER)], start=1
    ):
        story.accept(key)
        story.begin(key, attempt, pid=pid)
    for attempt, (key, pid) in enumerate(
        [("a", WORKER), ("b", WORKER), ("c", OTHER_WORKER)], start=1
    ):
        story.end(key, attempt, pid=pid)
        story.succeed(key, attempt, pid=pid)
    assert story.complaints() == [("unexpected", "limits are kept", "c")]


def test_the_loss_of_a_worker_needs_a_cause(story: Story) -> None:
    """A healthy worker is not taken for dead."""
    story.accept("a")
    story.begin("a")
    story.lose()
    story.run("a", 2, pid=OTHER_WORKER)
    assert story.complaints() == [("unexpected", "losses have causes", f"worker {WORKER}")]


def test_a_graph_must_not_end_with_an_error(story: Story) -> None:
    """The graphs of a run keep their failures to themselves."""
    story.add("graph_end", graph="g", error="GraphStalled: ...")
    assert story.complaints() == [("unexpected", "graphs end well", "g")]


def test_the_program_must_not_crash(story: Story) -> None:
    """Nor end before its end."""
    story.add("crash", text="Traceback ...\nInternalError: two of them")
    assert story.complaints() == [("unexpected", "the program goes on", "program")]
    story.events.pop()
    assert check(History.of(story.events)).number("unexpected") == 1


# ---- figures ------------------------------------------------------------------------------------


def test_a_signal_bites_when_its_worker_runs_something(story: Story) -> None:
    """Of two kills one met an idle worker."""
    is_run_again_after_a_kill(story)
    story.kill(OTHER_WORKER)
    found = measure.faults(story.history())
    assert found["SIGKILL"] == measure.Bites(injected=2, bitten=1)
    assert found["SIGTERM"] == measure.Bites(injected=0, bitten=0)


def test_detection_is_timed_from_the_fault(story: Story) -> None:
    """From the signal, or from the last line of a body that ends its process."""
    is_run_again_after_a_kill(story)
    story.accept("b", act="exit", bad_until=1)
    story.crash_in("b", 3, OTHER_WORKER)
    second = measure.Times(number=1, p50=1.0, p99=1.0, longest=1.0)
    assert measure.detection(story.history()) == {"SIGKILL": second, "exit": second}


def test_recovery_is_timed_where_work_was_waiting(story: Story) -> None:
    """A worker that nobody missed has no successor to wait for."""
    story.kill(OTHER_WORKER)
    story.accept("a")
    story.begin("a")
    story.kill()
    story.add("wanted", worker=WORKER)
    story.replace(101)
    story.replace(201, index=1)
    story.run("a", 2, pid=101)
    only = measure.Times(number=1, p50=3.0, p99=3.0, longest=3.0)
    assert measure.recovery(story.history()) == {"at the first try": only}


# ---- writing and planning -----------------------------------------------------------------------


def test_half_a_line_spoils_nothing_else(tmp_path: Path) -> None:
    """A process killed while it writes leaves half a line; the next one begins anew."""
    path = tmp_path / "history"
    path.write_bytes(b'\n{"event": "a", "t": 2.0}\n{"event": "b\n{"event": "c", "t": 1.0}')
    assert read_events(path) == ([{"event": "c", "t": 1.0}, {"event": "a", "t": 2.0}], 1)


def test_what_is_noted_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event comes back with its time, its process and its fields."""
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "history"))
    monkeypatch.setattr(history, "_descriptor", None)
    t = note("figure", name="x", value=1)
    assert history._descriptor is not None
    os.close(history._descriptor)
    event = {"event": "figure", "t": round(t, 6), "pid": os.getpid(), "name": "x", "value": 1}
    assert read_events(tmp_path / "history") == ([event], 0)


def test_a_seed_gives_the_same_faults() -> None:
    """Gaps, kinds and choices are those of the seed, and no kind is missing from a round."""
    plan = list(islice(fault_plan(5), 60))
    assert plan == list(islice(fault_plan(5), 60))
    assert plan != list(islice(fault_plan(6), 60))
    assert {fault.kind for fault in plan} == set(KINDS)


@pytest.mark.parametrize("module", ["model", "graphs", "history", "checker", "measure"])
def test_the_judge_shares_nothing_with_the_accused(module: str) -> None:
    """What checks a history imports the standard library, and others of which that is true."""
    tree = ast.parse(Path(benchmarks.chaos.__path__[0], f"{module}.py").read_text())
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    pure = {f"benchmarks.chaos.{name}" for name in ("model", "history", "checker")}
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign <= pure


def test_a_seed_gives_the_same_graphs() -> None:
    """A plan depends on seed and number only, and survives its way through JSON."""
    plans = [random_graph(5, number) for number in range(20)]
    assert plans == [random_graph(5, number) for number in range(20)]
    assert plans != [random_graph(6, number) for number in range(20)]
    for task in (task for plan in plans for task in plan.tasks):
        assert plan_from_json(plan_as_json(task)) == task
