"""What must be true when all is over, told without the scheduler.

`Facts` is what the app and the workers know they have asked for. From that, from the history of
the attempts and from the terminal states alone, `judge` tells whether each task ended as it may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trio_actor_graph import (
    GraphError,
    GraphStalled,
    ResultReleased,
    Task,
    TaskCancelled,
    TaskFailed,
    TaskSkipped,
    TaskTimeout,
    WorkerLost,
    WorkerStartError,
)
from trio_actor_graph.graph.conditions import AllOf, AnyCondition, AnyOf, Tasks

from .history import History, Run
from .scripts import Script, value_of

ENDED = {"succeeded", "failed", "skipped", "cancelled"}
LOSSES_MAX = 3
FAILED_STARTS_MAX = 5


@dataclass
class Fact:
    """A task as it was asked for.

    Attributes:
        conditions: all of them must hold; those that a running task has added may be missing.
    """

    script: Script
    inputs: tuple[int, ...]
    conditions: list[AnyCondition]
    creator: Run | None = None


@dataclass
class Facts:
    """What was asked for, by uid."""

    tasks: dict[int, Fact] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)
    returned: dict[int, set[int]] = field(default_factory=dict)
    broken_loops: set[str] = field(default_factory=set)
    are_successors_cancelled: bool = False  # any task may be gone with another
    first_worker_id: int = 0

    def on_created(
        self,
        uid: int,
        script: Script,
        inputs: Sequence[int],
        condition: AnyCondition | None,
        creator: Run | None = None,
    ) -> None:
        conditions = [] if condition is None else [condition]
        self.tasks[uid] = Fact(script, tuple(inputs), conditions, creator)

    def on_link_asked(self, uid: int, condition: AnyCondition) -> None:
        """By a running task, and it may be refused: it only ever asks for a completion."""
        assert isinstance(condition, Tasks)
        assert condition.outcome == "completed"

    def on_returned(self, run: Run, uid: Any) -> None:
        self.returned.setdefault(run.uid, set()).add(uid)


class Verdict:
    """The judgement over the tasks of one graph.

    Args:
        is_cut: the graph as a whole was cancelled, for whatever reason.
    """

    def __init__(self, tasks: Sequence[Task[Any]], facts: Facts, history: History, is_cut: bool):
        self._tasks = {task.uid: task for task in tasks}
        self._states: Mapping[int, str] = {task.uid: task.state for task in tasks}
        self._facts = facts
        self._history = history
        self._is_cut = is_cut

    def judge(self) -> None:
        """Judge every task.

        Raises:
            AssertionError: one ended as it must not.
        """
        for uid, task in self._tasks.items():
            assert task.state in ENDED, f"{task!r} has not ended"
            try:
                self._judge(uid, task)
            except AssertionError as error:
                error.add_note(f"about {task!r}: {task.error!r}")
                raise

    def _judge(self, uid: int, task: Task[Any]) -> None:
        runs = self._history.by_uid.get(uid, [])
        fact = self._facts.tasks[uid]
        holds = self._holds(fact)
        assert holds or not runs, "nothing runs before its condition holds"
        target = self._returned(uid, task)
        if target is not None and task.state == self._states[target]:
            return
        # It may itself be cancelled while it waits for the end of what it has returned.
        assert target is None or task.state == "cancelled", "a tail call ends as its target"
        match task.state:
            case "succeeded":
                self._judge_success(task, fact, runs)
            case "failed":
                self._judge_failure(task, fact, runs)
            case "skipped":
                assert isinstance(task.error, TaskSkipped)
                assert not holds, "skipped, and yet its condition holds"
            case "cancelled":
                assert isinstance(task.error, (TaskCancelled, GraphStalled))
                asked = (
                    self._is_cut
                    or self._facts.are_successors_cancelled
                    or uid in self._facts.cancelled
                )
                assert asked, "cancelled, and nobody had asked for it"

    def _returned(self, uid: int, task: Task[Any]) -> int | None:
        """The task as which it has ended, if it has returned one that counts."""
        record = task._record.returns  # type: ignore[attr-defined]
        if record is None:
            return None
        assert record.uid in self._facts.returned[uid], "it never returned that task"
        return int(record.uid)

    def _holds(self, fact: Fact) -> bool:
        inputs = all(self._states.get(uid) == "succeeded" for uid in fact.inputs)
        return inputs and all(self._is_true(condition) for condition in fact.conditions)

    def _is_true(self, condition: AnyCondition) -> bool:
        match condition:
            case Tasks(outcome, uids, at_least):
                wanted = {"succeeded"} if outcome == "succeeded" else ENDED
                return sum(self._states.get(uid) in wanted for uid in uids) >= at_least
            case AllOf(parts):
                return all(map(self._is_true, parts))
            case AnyOf(parts):
                return any(map(self._is_true, parts))

    def _judge_success(self, task: Task[Any], fact: Fact, runs: Sequence[Run]) -> None:
        told = [run for run in runs if run.outcome == "value" and run.is_told]
        assert told, "it succeeded, and no attempt had said so"
        if not self._history.are_marks_lost:
            assert task.attempt == len(runs), "every attempt that has begun counts, and no other"
        try:
            value = task.result_nowait()
        except ResultReleased:
            return
        (run,) = [run for run in told if run.value == value][:1]
        for uid, awaited in run.awaited:
            assert awaited == self._value(uid), "what was awaited was another value"
        inputs = [self._value(uid) for uid in fact.inputs]
        assert inputs == run.inputs, "it was given another value"
        awaited_values = [value for _, value in run.awaited]
        assert value == value_of(fact.script.number, run.inputs, awaited_values)

    def _value(self, uid: int) -> object:
        task = self._tasks.get(uid)
        if task is None or task.state != "succeeded":
            return None
        try:
            return task.result_nowait()
        except ResultReleased:
            return _Anything()

    def _judge_failure(self, task: Task[Any], fact: Fact, runs: Sequence[Run]) -> None:
        error, script = task.error, fact.script
        losses = sum(task.uid in death.running for death in self._history.deaths)
        match error:
            case WorkerLost():
                is_known = not self._history.are_marks_lost
                assert losses >= LOSSES_MAX or not is_known, f"blamed for {losses} lost workers"
            case TaskTimeout():
                assert script.timeout_seconds is not None
                is_retried = script.retries.spec.is_timeout_retried
                assert len(runs) > script.retries.retries or not is_retried
            case WorkerStartError():
                ends = [d for d in self._history.deaths if d.worker.loop == script.loop]
                is_broken = script.loop in self._facts.broken_loops
                assert is_broken or len(ends) >= FAILED_STARTS_MAX
            case TaskFailed(__cause__=GraphError()):
                assert fact.creator is not None or runs, "refused, and it had asked for nothing"
            case TaskFailed():
                raised = [run for run in runs if run.outcome == "raised" and run.is_told]
                assert raised, "it failed, and no attempt had said so"
                assert script.name in str(error)
                is_final = any(run.is_final for run in raised)
                assert is_final or len(runs) > script.retries.retries, "a retry was due"
            case _:
                raise AssertionError(f"it failed with {error!r}")


class _Anything:
    """Stands for a value that nobody keeps any more."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0
