"""What must be true of each task, told by a model that shares no code with the scheduler.

`Model` keeps facts only (what was created, cancelled, reported) and works out each task's state
from all of them, anew each time. `World` lets random things happen to a scheduler, its simulated
workers and the model, compares them after each, and eats every command; it is driven by hypothesis
(`test_stateful.py`) and by a plain loop (`test_volume.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar

from trio_actor_graph.errors import CycleError, GraphError
from trio_actor_graph.graph import commands as do
from trio_actor_graph.graph import conditions
from trio_actor_graph.graph.failures import Raised, TimedOut, WorkerEnd
from trio_actor_graph.graph.invariants import check_invariants
from trio_actor_graph.graph.placement import HELD_AHEAD_MAX
from trio_actor_graph.graph.records import LOSSES_MAX, GraphRecord, LoopSpec, TaskSpec
from trio_actor_graph.graph.retrying import NO_RETRIES, RetrySpec
from trio_actor_graph.graph.scheduler import Scheduler

ENDED = ("succeeded", "failed", "skipped", "cancelled")

Draw = Callable[[int], int]
"""Gives a number from 0 up to, but not including, its argument."""


# ---- the model -------------------------------------------------------------------------------


@dataclass
class ModelTask:
    uid: int
    graph: int
    loop: str
    condition: tuple | None
    retries: int
    end: str | None = None  # decided by what was reported or cancelled
    attempt: int | None = None
    following: int | None = None  # the attempt that is where it will run, before it may
    follows: frozenset[int] = frozenset()
    is_suspended: bool = False
    losses: int = 0
    returns: int | None = None
    has_been_ready: bool = False  # so that what is tried again holds it up no more


class Model:
    """Facts, and the states that follow from them."""

    def __init__(self) -> None:
        self.tasks: dict[int, ModelTask] = {}
        self.broken_loops: set[str] = set()

    def states(self) -> dict[int, str]:
        """From "everything waits", step by step what follows, until nothing more does."""
        known = {task.uid: task.end or "waiting" for task in self.tasks.values()}
        open_tasks = [task for task in self.tasks.values() if task.end is None]
        while True:
            found = {
                t.uid: self._work_out(t, known) for t in open_tasks if known[t.uid] not in ENDED
            }
            if found.items() <= known.items():
                return known
            known |= found

    def state(self, uid: int) -> str:
        return self.states()[uid]

    def waits_for(self, uid: int, known: dict[int, str]) -> Iterator[int]:
        """The unended tasks on which the state of a waiting one may still depend."""
        task = self.tasks[uid]
        if known[uid] != "waiting":
            return
        if task.returns is not None:
            yield task.returns
            return
        pending = [task.condition]
        while pending:
            part = pending.pop()
            if part is None or self._holds(part, known) is not None:
                continue
            if part[0] == "tasks":
                yield from (u for u in part[2] if known[u] not in ENDED)
            else:
                pending.extend(part[1])

    def would_be_cycle(self, uid: int, predecessors: list[int]) -> bool:
        known = self.states()
        seen, pending = set(), list(predecessors)
        while pending:
            at = pending.pop()
            if at == uid:
                return True
            if at not in seen:
                seen.add(at)
                pending.extend(self.waits_for(at, known))
        return False

    def is_stalled(self, graph: int) -> bool:
        known = self.states()
        unended = [t for t in self.tasks.values() if t.graph == graph and known[t.uid] not in ENDED]
        return bool(unended) and all(
            known[t.uid] == "waiting" or (known[t.uid] == "running" and t.is_suspended)
            for t in unended
        )

    def cancel(self, uid: int) -> None:
        if self.state(uid) not in ENDED:
            self._finish(self.tasks[uid], "cancelled")

    def can_be_tried_again(self, uid: int) -> bool:
        known = self.states()
        returns = self.tasks[uid].returns
        ended_as_it = returns is not None and known[returns] == known[uid]
        return known[uid] in ("failed", "cancelled") and not ended_as_it

    def might_wait_for_itself(self, uid: int) -> bool:
        """If it waited again, with what could wait again because of it, and with what waits now."""
        known = self.states()
        back = [uid]
        for at in back:
            for task in self.tasks.values():
                is_named = task.condition is not None and at in _uids(task.condition)
                is_skipped = is_named and known[task.uid] == "skipped"
                has_returned_it = task.returns == at and known[task.uid] in ENDED
                if (is_skipped or has_returned_it) and task.uid not in back:
                    back.append(task.uid)

        def waits_for(at: int) -> list[int]:
            task = self.tasks[at]
            named = list(_uids(task.condition)) if task.condition is not None else []
            if task.returns is not None:
                named.append(task.returns)
            if at in back:
                return [u for u in named if u in back or known[u] not in ENDED]
            if known[at] != "waiting":
                return []
            return [*self.waits_for(at, known), *(u for u in named if u in back)]

        for start in back:
            seen: set[int] = set()
            pending = waits_for(start)
            while pending:
                at = pending.pop()
                if at == start:
                    return True
                if at not in seen:
                    seen.add(at)
                    pending += waits_for(at)
        return False

    def try_again(self, uid: int, retries: int) -> None:
        """Forget how a task ended, and those that ended as it."""
        known = self.states()
        forgotten = [uid]
        for at in forgotten:
            forgotten += [
                t.uid
                for t in self.tasks.values()
                if t.returns == at and known[t.uid] == known[at] and t.uid not in forgotten
            ]
        for task in self.tasks.values():
            if task.graph == self.tasks[uid].graph and task.condition is not None:
                task.has_been_ready |= bool(self._holds(task.condition, known))
        self.tasks[uid].returns = None
        for at in forgotten:
            task = self.tasks[at]
            task.end, task.losses = None, 0
        self.tasks[uid].retries = retries

    def cancel_graph(self, graph: int) -> None:
        known = self.states()  # before: no task is skipped because its sibling is cancelled first
        for task in self.tasks.values():
            if task.graph == graph and known[task.uid] not in ENDED:
                self._finish(task, "cancelled")
            elif task.graph == graph:
                task.end = known[task.uid]

    def succeed(self, uid: int) -> None:
        self._finish(self.tasks[uid], "succeeded", keep_followers=True)
        known = self.states()
        for task in self.tasks.values():
            if task.following is not None and known[task.uid] != "waiting":
                task.attempt = task.following if known[task.uid] == "running" else None
                task.following = None

    def drop_followers(self, attempt: int | None) -> None:
        """An attempt brings no success, so what follows it is to stop, and what follows that."""
        for task in self.tasks.values():
            if task.following is not None and attempt in task.follows:
                dropped, task.following = task.following, None
                self.drop_followers(dropped)

    def fail(self, uid: int, *, is_final: bool = False) -> None:
        task = self.tasks[uid]
        self.drop_followers(task.attempt)
        task.attempt, task.is_suspended = None, False
        if task.retries and not is_final:
            task.retries -= 1
        else:
            self._finish(task, "failed")

    def lose(self, uid: int, *, is_blamed: bool) -> None:
        task = self.tasks[uid]
        task.following = None
        task.attempt, task.is_suspended = None, False
        task.losses += is_blamed
        if task.losses >= LOSSES_MAX:
            self._finish(task, "failed")

    def _finish(self, task: ModelTask, end: str, *, keep_followers: bool = False) -> None:
        if not keep_followers:
            self.drop_followers(task.attempt or task.following)
        task.following = None
        task.end, task.attempt, task.is_suspended = end, None, False

    def _work_out(self, task: ModelTask, known: dict[int, str]) -> str:
        if task.end is not None:
            return task.end
        if task.attempt is not None:
            return "running"
        if task.returns is not None:
            returned = known[task.returns]
            return returned if returned in ENDED else "waiting"
        free = task.condition is None or task.has_been_ready
        holds = True if free else self._holds(task.condition, known)
        if holds and task.loop in self.broken_loops:
            return "failed"
        if holds and task.following is not None:
            return "running"
        return {True: "ready", False: "skipped", None: "waiting"}[holds]

    def _holds(self, part: tuple, known: dict[int, str]) -> bool | None:
        """True or False for good, None while it is open."""
        if part[0] == "tasks":
            _, outcome, uids, at_least = part
            states = [known[u] for u in uids]
            ended = [s for s in states if s in ENDED]
            hits = len(ended) if outcome == "completed" else ended.count("succeeded")
            if hits >= at_least:
                return True
            return None if hits + len(states) - len(ended) >= at_least else False
        values = [self._holds(p, known) for p in part[1]]
        if part[0] == "all":
            return False if False in values else (None if None in values else True)
        return True if True in values else (None if None in values else False)


# ---- simulated workers -----------------------------------------------------------------------


@dataclass
class Run:
    """One attempt in a simulated worker."""

    attempt_id: int
    uid: int
    follows: frozenset[int] = frozenset()
    awaits: set[int] = field(default_factory=set)
    is_told_to_stop: bool = False


@dataclass
class SimulatedWorker:
    worker_id: int
    loop: str
    slots: int
    is_ready: bool = False
    is_killed: bool = False
    unbegun: dict[int, Run] = field(default_factory=dict)
    begun: dict[int, Run] = field(default_factory=dict)
    to_answer: int | None = None  # how many attempts it was asked to give back
    succeeded: set[int] = field(default_factory=set)

    def hold(self, run: Run) -> None:
        assert self.is_ready
        assert not self.is_killed
        held = self.begun | self.unbegun
        waiting = sum(bool(r.awaits) and not r.is_told_to_stop for r in held.values())
        assert len(held) - waiting < self.slots + HELD_AHEAD_MAX, "not more than it may hold ahead"
        assert all(run.attempt_id > other for other in held), "attempt ids grow"
        self.unbegun[run.attempt_id] = run

    def begin(self) -> None:
        busy = sum(not r.awaits for r in self.begun.values())
        if busy < self.slots:
            for attempt_id, run in self.unbegun.items():
                if not self.is_parked(run):
                    self.begun[attempt_id] = self.unbegun.pop(attempt_id)
                    return

    def is_parked(self, run: Run) -> bool:
        """It follows what has not succeeded in this worker."""
        return not run.follows <= self.succeeded


# ---- the world -------------------------------------------------------------------------------


class World:
    """A scheduler, its simulated workers and the model, and what may happen to them."""

    LOOPS = (
        LoopSpec("default", (2,)),
        LoopSpec("cpu", (1, 1)),
        LoopSpec("local", (3,), is_local=True),
    )
    SECONDS = (1e-5, 1e-3, 1.0)  # by kind of task: the short ones are held ahead
    GRAPHS_MAX = 4
    TASKS_MAX = 60
    RETRIES = (NO_RETRIES, RetrySpec(1), RetrySpec(2, delay_seconds=0.5))

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.scheduler = Scheduler(self.LOOPS)
        self.model = Model()
        self.now = 0.0
        self.graphs: dict[int, GraphRecord] = {}
        self.workers: dict[int, SimulatedWorker] = {}
        self.ended: set[int] = set()
        self.last_attempt_id = 0
        self.stale_reports = 0
        self._uids = count(1)

    ACTS: ClassVar[dict[str, float]] = {  # what may happen, and how often
        "open_graph": 1,
        "create_task": 10,
        "create_chain": 2,
        "add_predecessor": 3,
        "cancel_task": 1.5,
        "cancel_graph": 0.1,
        "try_again": 1.5,
        "close_graph": 1,
        "worker_ready": 4,
        "worker_lost": 0.7,
        "worker_start_failed": 0.05,
        "begin": 7,
        "succeed": 5,
        "fail": 2,
        "return_task": 2,
        "await_task": 4,
        "stop_awaiting": 1,
        "overdue": 0.5,
        "answer_recall": 3,
        "return_follower": 0.3,
        "stop": 0.7,
        "pass_time": 3,
        "settle": 8,
    }

    def act(self, name: str) -> None:
        """Let one thing happen, or nothing where there is nothing it could happen to."""
        getattr(self, name)()
        self.check()

    def check(self) -> None:
        check_invariants(self.scheduler)
        states = {t.uid: t.state for g in self.graphs.values() for t in g.tasks.values()}
        assert states == self.model.states()
        assert self.scheduler.stale_reports == self.stale_reports

    # ---- graphs and tasks -------------------------------------------------------------------

    def open_graph(self) -> None:
        if len(self.scheduler.graphs) < self.GRAPHS_MAX:
            uid = next(self._uids)
            self.graphs[uid] = self.scheduler.on_graph_opened(uid, f"graph-{uid}")

    def create_chain(self) -> None:
        """Short tasks of one loop that may travel together, each on one or two before it."""
        graph = self._pick(list(self.scheduler.graphs.values()))
        if graph is None or len(self.model.tasks) >= self.TASKS_MAX or graph.is_cancelled:
            return
        loop, kind = self._pick(self.LOOPS[:2]).name, self.draw(2)
        chain: list[int] = []
        for _ in range(2 + self.draw(4)):
            uid = next(self._uids)
            spec = TaskSpec(f"t{uid}", kind, loop, retry=self._pick(self.RETRIES))
            inputs = [chain[-1 - self.draw(min(2, len(chain)))] for _ in chain[-2:]]
            condition = None
            if inputs:
                condition = ("tasks", "succeeded", tuple(dict.fromkeys(inputs)), len(set(inputs)))
            self.scheduler.on_task_created(graph, uid, spec, "call", inputs)
            self.model.tasks[uid] = ModelTask(uid, graph.uid, loop, condition, spec.retry.retries)
            chain.append(uid)

    def create_task(self) -> None:
        graph = self._pick(list(self.scheduler.graphs.values()))
        if graph is None or len(self.model.tasks) >= self.TASKS_MAX:
            return
        uid = next(self._uids)
        loop = self._pick(self.LOOPS).name
        spec = TaskSpec(
            f"t{uid}",
            kind=self.draw(len(self.SECONDS)),
            loop=loop,
            priority=self.draw(2),
            retry=self._pick(self.RETRIES),
            is_async=self.draw(2) == 0,
        )
        known = list(graph.tasks)
        condition = self._condition(known) if known and self.draw(2) else None
        inputs = (
            [self._pick(known) for _ in range(self.draw(3))] if known and not self.draw(3) else []
        )
        try:
            self.scheduler.on_task_created(graph, uid, spec, "call", inputs, _built(condition))
        except GraphError:
            assert graph.is_cancelled
            return
        if inputs:
            required = ("tasks", "succeeded", tuple(dict.fromkeys(inputs)), len(set(inputs)))
            condition = required if condition is None else ("all", [required, condition])
        self.model.tasks[uid] = ModelTask(uid, graph.uid, loop, condition, spec.retry.retries)

    def add_predecessor(self) -> None:
        graph = self._pick(list(self.scheduler.graphs.values()))
        if graph is None or not graph.tasks:
            return
        waiting = [t.uid for t in graph.tasks.values() if t.state == "waiting"]
        uid = self._pick(waiting if waiting and self.draw(5) else list(graph.tasks))
        condition = self._condition(list(graph.tasks))
        task = self.model.tasks[uid]
        has_run = task.following is not None or task.returns is not None
        late = self.model.state(uid) != "waiting" or has_run
        cycle = not late and self.model.would_be_cycle(uid, list(_uids(condition)))
        refused: type[Exception] | None = None
        try:
            self.scheduler.on_predecessor_added(graph.tasks[uid], _built(condition))
        except GraphError as error:
            refused = type(error)
        assert refused is (GraphError if late else CycleError if cycle else None)
        if refused is None:
            task.condition = ("all", [task.condition, condition])

    def cancel_task(self) -> None:
        graph = self._pick(list(self.scheduler.graphs.values()))
        task = self._pick(list(graph.tasks.values())) if graph is not None else None
        if task is not None:
            self.model.cancel(task.uid)
            self.scheduler.on_task_cancelled(task)

    def try_again(self) -> None:
        graph = self._pick(list(self.scheduler.graphs.values()))
        ended = [t for t in graph.tasks.values() if t.is_ended] if graph is not None else []
        task = self._pick(ended)
        if task is None:
            return
        expected: type[Exception] | None = None
        if graph.is_cancelled or not self.model.can_be_tried_again(task.uid):
            expected = GraphError
        elif self.model.might_wait_for_itself(task.uid):
            expected = CycleError
        self._take_commands()  # so that its end is told before
        refused: type[Exception] | None = None
        try:
            self.scheduler.on_task_tried_again(task)
        except GraphError as error:
            refused = type(error)
        assert refused is expected
        if refused is None:
            self.model.try_again(task.uid, task.spec.retry.retries)
            self.ended -= {t.uid for t in graph.tasks.values() if not t.is_ended}
            commands = self.scheduler.take_commands()  # those that end once more in the same breath
            self.ended -= {c.task.uid for c in commands if isinstance(c, do.TaskEnded)}
            for command in commands:
                self._obey(command)

    def cancel_graph(self) -> None:
        graph = self._pick(list(self.scheduler.graphs.values()))
        if graph is not None:
            self.model.cancel_graph(graph.uid)
            self.scheduler.on_graph_cancelled(graph)

    def close_graph(self) -> None:
        graph = self._pick([g for g in self.scheduler.graphs.values() if not g.unfinished])
        if graph is not None and graph.tasks:
            self.settle()
            self.scheduler.on_graph_closed(graph)

    def _condition(self, known: list[int], depth: int = 0) -> tuple:
        kind = self.draw(4) if depth < 2 else 0
        if kind < 2:
            uids = tuple(dict.fromkeys(self._pick(known) for _ in range(1 + self.draw(3))))
            outcome = ("succeeded", "completed")[self.draw(2)]
            at_least = len(uids) if self.draw(2) else 1 + self.draw(len(uids))
            return ("tasks", outcome, uids, at_least)
        parts = [self._condition(known, depth + 1) for _ in range(2 + self.draw(2))]
        return ("all" if kind == 2 else "any", parts)

    # ---- workers ----------------------------------------------------------------------------

    def worker_ready(self) -> None:
        worker = self._pick([w for w in self.workers.values() if not w.is_ready])
        if worker is not None:
            worker.is_ready = True
            self.scheduler.on_worker_ready(worker.worker_id, self.now)

    def worker_lost(self) -> None:
        mortal = [w for w in self.workers.values() if w.loop != "local"]
        worker = self._pick(mortal)
        if worker is not None and (worker.is_ready or self.draw(4) == 0):
            self._lose(worker)

    def worker_start_failed(self) -> None:
        worker = self._pick([w for w in self.workers.values() if not w.is_ready])
        if worker is not None and self.draw(4) == 0:
            del self.workers[worker.worker_id]
            self.scheduler.on_worker_start_failed(worker.worker_id, "no module")
            self.model.broken_loops.add(worker.loop)

    def begin(self) -> None:
        worker = self._pick([w for w in self.workers.values() if w.unbegun])
        if worker is not None:
            worker.begin()

    def _lose(self, worker: SimulatedWorker) -> None:
        del self.workers[worker.worker_id]
        tells_begun = self.draw(4) > 0
        ended = self._end_unreported(worker)
        begun = frozenset(worker.begun) if tells_begun else None
        running = None if begun is None else begun - ended
        for run in [*worker.begun.values(), *worker.unbegun.values()]:
            if self._is_wanted(run):
                has_begun = run.attempt_id in worker.begun or not tells_begun
                was_running = has_begun and not (tells_begun and run.attempt_id in ended)
                self.model.lose(run.uid, is_blamed=was_running and not worker.is_killed)
        end = WorkerEnd("gone", running=running, begun=begun)
        self.scheduler.on_worker_lost(worker.worker_id, end, self.now)
        if self.scheduler.loops[worker.loop].failure is not None:
            self.model.broken_loops.add(worker.loop)

    def _end_unreported(self, worker: SimulatedWorker) -> set[int]:
        """Some of what it ran may have ended before it died, and what follows that have begun."""
        ended: set[int] = set()
        for run in list(worker.unbegun.values()):
            awaiting = [a for a in run.follows if a in worker.begun and worker.begun[a].awaits]
            can_have = run.follows and run.follows <= worker.begun.keys() | worker.succeeded
            if can_have and not awaiting and not self.draw(2):
                ended |= run.follows & worker.begun.keys()
                worker.begun[run.attempt_id] = worker.unbegun.pop(run.attempt_id)
        return ended

    # ---- attempts ---------------------------------------------------------------------------

    def succeed(self) -> None:
        if (run := self._end_run(succeeds=True)) is not None:
            is_wanted = self._reports(run)
            if is_wanted:
                self.model.succeed(run.uid)
            task = self.scheduler.on_attempt_succeeded(run.attempt_id, self._seconds(run), self.now)
            assert (task is not None) == is_wanted

    def fail(self) -> None:
        if (run := self._end_run()) is not None:
            failure = (Raised("E", "", ""), TimedOut(1.0))[self.draw(2)]
            if self._reports(run):
                self.model.fail(run.uid)
            self.scheduler.on_attempt_failed(run.attempt_id, failure, self._seconds(run), self.now)

    def return_task(self) -> None:
        if (run := self._end_run()) is None:
            return
        graph = self.graphs[self.model.tasks[run.uid].graph]
        returned = self._pick([*graph.tasks, -1])
        if self._reports(run):
            task = self.model.tasks[run.uid]
            # A running task waits for nothing, so a cycle can only come through what it returned.
            if returned == -1 or self.model.would_be_cycle(run.uid, [returned]):
                self.model.fail(run.uid, is_final=True)
            else:
                self.model.drop_followers(task.attempt)
                task.attempt, task.is_suspended, task.returns = None, False, returned
        self.scheduler.on_attempt_returned_task(
            run.attempt_id, returned, self._seconds(run), self.now
        )

    def await_task(self) -> None:
        run = self._pick_run()
        if run is None or self.model.tasks[run.uid].graph not in self.scheduler.graphs:
            return
        graph = self.graphs[self.model.tasks[run.uid].graph]
        uid = self._pick(list(graph.tasks))
        if run.is_told_to_stop:
            self.scheduler.on_attempt_awaits(run.attempt_id, uid)
            return
        run.awaits.add(uid)
        self.scheduler.on_attempt_awaits(run.attempt_id, uid)
        self._note_suspension(run)
        self._take_commands()  # it may be told at once

    def stop_awaiting(self) -> None:
        run = self._pick_run()
        if run is not None and run.awaits:
            uid = self._pick(sorted(run.awaits))
            run.awaits.discard(uid)
            self._note_suspension(run)
            self.scheduler.on_attempt_stopped_awaiting(run.attempt_id, uid)

    def overdue(self) -> None:
        run = self._pick_run()
        if run is not None:
            if self._is_wanted(run):
                self.model.fail(run.uid)
            self.scheduler.on_attempt_overdue(run.attempt_id, self.now)

    def answer_recall(self) -> None:
        worker = self._pick([w for w in self.workers.values() if w.to_answer is not None])
        if worker is None:
            return
        number, worker.to_answer = worker.to_answer, None
        free = [run.attempt_id for run in worker.unbegun.values() if not worker.is_parked(run)]
        given_back = free[-number:]
        for attempt_id in given_back:
            run = worker.unbegun.pop(attempt_id)
            if self._is_wanted(run):
                self.model.tasks[run.uid].attempt = None
                self.model.drop_followers(attempt_id)
        self.scheduler.on_attempts_given_back(worker.worker_id, given_back, self.now)

    def return_follower(self) -> None:
        """A worker gives one back that came too late to follow, or is to wait for more."""
        followers = [(w, r) for w in self.workers.values() for r in w.unbegun.values() if r.follows]
        worker, run = self._pick(followers) or (None, None)
        if worker is not None:
            del worker.unbegun[run.attempt_id]
            if self._is_wanted(run):
                self.model.tasks[run.uid].following = self.model.tasks[run.uid].attempt = None
                self.model.drop_followers(run.attempt_id)
            self.scheduler.on_follower_given_back(run.attempt_id)

    def stop(self) -> None:
        """A worker does what it was told, and stops an attempt."""
        for worker in self.workers.values():
            for runs in (worker.unbegun, worker.begun):
                for run in runs.values():
                    if run.is_told_to_stop:
                        del runs[run.attempt_id]
                        self.scheduler.on_attempt_stopped(run.attempt_id, self.now)
                        return

    def _pick_run(self) -> Run | None:
        runs = [r for w in self.workers.values() for r in w.begun.values()]
        return self._pick(runs)

    def _end_run(self, *, succeeds: bool = False) -> Run | None:
        run = self._pick_run()
        if run is not None:
            for worker in self.workers.values():
                if worker.begun.pop(run.attempt_id, None) and succeeds:
                    worker.succeeded.add(run.attempt_id)
        return run

    def _seconds(self, run: Run) -> float:
        graph = self.graphs[self.model.tasks[run.uid].graph]
        return self.SECONDS[graph.tasks[run.uid].spec.kind]

    def _is_wanted(self, run: Run) -> bool:
        task = self.model.tasks[run.uid]
        return run.attempt_id in (task.attempt, task.following)

    def _reports(self, run: Run) -> bool:
        is_wanted = self._is_wanted(run)
        self.stale_reports += not is_wanted
        return is_wanted

    def _note_suspension(self, run: Run) -> None:
        if self._is_wanted(run):
            self.model.tasks[run.uid].is_suspended = bool(run.awaits)

    # ---- time and commands ------------------------------------------------------------------

    def pass_time(self) -> None:
        self.now += (1e-4, 0.02, 0.4, 6.0)[self.draw(4)]

    def settle(self) -> None:
        self._take_commands()
        stuck = {g for g in self.scheduler.graphs if self.model.is_stalled(g)}
        self.scheduler.settle(self.now)
        told = self._take_commands()
        assert {c.graph.uid for c in told if isinstance(c, do.GraphStuck)} == stuck
        deadline = self.scheduler.next_deadline()
        assert deadline is None or deadline > self.now, "settle clears what has come"

    def _take_commands(self) -> list[do.Command]:
        commands = self.scheduler.take_commands()
        for command in commands:
            self._obey(command)
        return commands

    def _obey(self, command: do.Command) -> None:
        match command:
            case do.StartAttempt(attempt):
                uid, attempt_id = attempt.task.uid, attempt.attempt_id
                assert attempt_id > self.last_attempt_id
                self.last_attempt_id = attempt_id
                task = self.model.tasks[uid]
                follows = frozenset(followed.attempt_id for followed in attempt.follows)
                worker = self.workers[attempt.worker.worker_id]
                if follows:
                    self._check_follower(uid, follows, worker)
                    task.following, task.follows = attempt_id, follows
                else:
                    assert self.model.state(uid) == "ready", "not before its condition, nor twice"
                    task.attempt = attempt_id
                worker.hold(Run(attempt_id, uid, follows))
            case do.StopAttempt(attempt):
                run = self._find_run(attempt.attempt_id)
                if run is not None:
                    run.is_told_to_stop = True
                    run.awaits.clear()
            case do.RecallAttempts(worker, number):
                simulated = self.workers[worker.worker_id]
                assert simulated.to_answer is None, "asked once at a time"
                assert number >= 1
                simulated.to_answer = number
            case do.StartWorker(worker):
                same = [w for w in self.scheduler.workers.values() if w.loop is worker.loop]
                assert len(same) == len({w.index for w in same})
                self.workers[worker.worker_id] = SimulatedWorker(
                    worker.worker_id, worker.loop.name, worker.slots
                )
            case do.KillWorker(worker):
                assert not worker.loop.is_local
                killed = self.workers[worker.worker_id]
                assert not killed.is_killed
                killed.is_killed = True
            case do.TellAwaited(attempt, task):
                run = self._find_run(attempt.attempt_id)
                assert task.state in ENDED
                if run is not None and not run.is_told_to_stop:
                    run.awaits.discard(task.uid)  # or it has given up just before it was told
                    self._note_suspension(run)
            case do.TaskEnded(task):
                assert task.uid not in self.ended, "a task ends once"
                self.ended.add(task.uid)
            case do.GraphEnded(graph):
                assert all(t.uid in self.ended for t in graph.tasks.values())
            case do.GraphStuck(graph, story):
                assert "awaits" in story
                self.model.cancel_graph(graph.uid)
            case do.CheckAttempt(attempt):
                begun = self.workers[attempt.worker.worker_id].begun
                seconds = 1.0 if attempt.attempt_id in begun else None
                self.scheduler.on_attempt_checked(attempt.attempt_id, seconds, self.now)
            case do.LoopFailed(loop):
                assert loop.name in self.model.broken_loops

    def _check_follower(self, uid: int, follows: frozenset[int], worker: SimulatedWorker) -> None:
        """It waits for nothing but the success of attempts that are ahead of it in its worker."""
        task = self.model.tasks[uid]
        assert self.model.state(uid) == "waiting"
        assert task.following is None
        assert worker.loop == task.loop
        assert follows <= worker.unbegun.keys()
        known = self.model.states()
        followed = {worker.unbegun[attempt_id].uid for attempt_id in follows}
        assert self.model._holds(task.condition, known) is None
        assert self.model._holds(task.condition, known | dict.fromkeys(followed, "succeeded"))
        for other in followed:
            assert self.model._holds(task.condition, known | {other: "failed"}) is False

    def _find_run(self, attempt_id: int) -> Run | None:
        for worker in self.workers.values():
            if run := worker.begun.get(attempt_id) or worker.unbegun.get(attempt_id):
                return run
        return None

    def _pick(self, candidates):
        return candidates[self.draw(len(candidates))] if candidates else None

    # ---- the end ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Let everybody do their work, and nothing new happen, until every task has ended."""
        self.draw = lambda number: 0
        for _ in range(50 + 20 * len(self.model.tasks)):
            self.act("settle")
            if not self._is_busy():
                break
            for worker in list(self.workers.values()):
                if worker.is_killed:
                    self._lose(worker)
            for _ in range(len(self.workers)):
                self.act("worker_ready")
                self.act("answer_recall")
            self.act("stop")
            for worker in self.workers.values():
                worker.begin()
            self._succeed_one()
            self.check()
            self.now = max(self.now, self.scheduler.next_deadline() or 0.0)
        assert all(state in ENDED for state in self.model.states().values())
        assert self.ended == self.model.tasks.keys()
        assert not self.scheduler.attempts
        self.now = max(self.now, self.scheduler.next_deadline() or 0.0)  # perhaps of an ended task
        self.act("settle")
        assert self.scheduler.next_deadline() is None

    def _is_busy(self) -> bool:
        unfinished = any(g.unfinished for g in self.scheduler.graphs.values())
        return unfinished or bool(self.scheduler.attempts)

    def _succeed_one(self) -> None:
        """End an attempt that can go on: one that waits goes on only when it has been told."""
        for worker in self.workers.values():
            for run in worker.begun.values():
                if not run.awaits:
                    del worker.begun[run.attempt_id]
                    worker.succeeded.add(run.attempt_id)
                    if self._reports(run):
                        self.model.succeed(run.uid)
                    self.scheduler.on_attempt_succeeded(
                        run.attempt_id, self._seconds(run), self.now
                    )
                    return


def _uids(condition: tuple) -> Iterator[int]:
    if condition[0] == "tasks":
        yield from condition[2]
    else:
        for part in condition[1]:
            yield from _uids(part)


def _built(condition: tuple | None) -> conditions.AnyCondition | None:
    """The condition as the scheduler is given it."""
    if condition is None:
        return None
    if condition[0] == "tasks":
        return conditions.Tasks(*condition[1:])
    parts = tuple(_built(part) for part in condition[1])
    return (conditions.AllOf if condition[0] == "all" else conditions.AnyOf)(parts)
