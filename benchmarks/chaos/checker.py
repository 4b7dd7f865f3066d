"""The rules that a history must keep, whatever was done to the workers.

Nothing of the scheduler is imported: what a condition means, when an attempt counts, who may be
blamed and what a task computes is said here once more, in terms of what was seen from outside.

Times are compared with care. What a body wrote is never earlier than its beginning and never later
than its end; what the app saw is later than it happened. A rule that needs "not before" therefore
uses the earliest moment at which something can have happened, and a limit gets a little slack.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

from benchmarks.chaos.history import Attempt, History, TaskHistory, WorkerHistory
from benchmarks.chaos.model import ENDLESS, ENDLESS_IN_C, RAISES, TERMINAL, value_of

LOSSES_MAX: Final = 3
"""How many workers may be lost under a task before it may be blamed."""

LIMIT_SLACK_SECONDS: Final = 0.1
"""By how much an attempt may seem shorter than its time limit: that counts from its beginning, and
the first line is written when the body is reached, on a busy machine."""

UNTOLD_SECONDS: Final = 0.5
"""How long the end of an attempt may be on its way: a worker collects what it reports."""

AFTER_CANCEL_SECONDS: Final = 1.0
"""How long after its cancel a task may still begin, since the word has to reach its worker."""


@dataclass(frozen=True)
class Violation:
    """A rule broken: of kind "lost", "duplicated" or "unexpected"."""

    kind: str
    rule: str
    key: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What a history is worth."""

    violations: tuple[Violation, ...]

    def number(self, kind: str) -> int:
        """How many tasks (or workers, or graphs) have broken a rule of this kind."""
        return len({v.key for v in self.violations if v.kind == kind})

    @property
    def rules(self) -> Counter[str]:
        return Counter(v.rule for v in self.violations)


def check(history: History) -> Verdict:
    """Hold a history against every rule."""
    facts = Facts(history)
    found = [v for rule in _RULES for v in rule(facts)]
    return Verdict(tuple(found))


class Facts:
    """A history, and what several rules ask of it."""

    def __init__(self, history: History):
        self.history = history
        self.by_process: dict[int, list[Attempt]] = defaultdict(list)
        for attempt in history.attempts():
            self.by_process[attempt.pid].append(attempt)
        self._not_before: dict[str, float] = {}

    @property
    def accepted(self) -> list[TaskHistory]:
        return [task for task in self.history.tasks.values() if task.is_accepted]

    def worker(self, attempt: Attempt) -> WorkerHistory | None:
        """The worker process it ran in; None for the program's own."""
        return self.history.workers.get(attempt.pid)

    def lost_at(self, attempt: Attempt) -> float:
        """When the coordinator heard that the attempt's process is gone; inf for never."""
        worker = self.worker(attempt)
        return inf if worker is None else worker.lost_or_never

    def ended_at(self, attempt: Attempt) -> float:
        """When the attempt wrote its last line or, if it did not, when its process was gone."""
        return self.lost_at(attempt) if attempt.ended is None else attempt.ended

    def is_lost(self, attempt: Attempt) -> bool:
        """Whether its process was lost before it ended, or perhaps before its end was told."""
        return attempt.ended is None and self.lost_at(attempt) < inf

    def may_be_untold(self, attempt: Attempt) -> bool:
        """Whether nobody may have heard of its end: its process was lost then, or deaf by then."""
        worker = self.worker(attempt)
        if worker is None or worker.lost is None or attempt.ended is None:
            return False
        deaf = min(self._deaf_since(worker), worker.lost - UNTOLD_SECONDS)
        return attempt.ended >= deaf - UNTOLD_SECONDS

    def followed(self, attempt: Attempt) -> set[tuple[str, int]]:
        """Key and attempt of what it may have followed in its worker, which was lost with both.

        A short task may run right after what it waits for, on its result, before anybody is told.
        If the worker is lost then, neither counts; so only what does not count itself may have
        been given what does not.
        """
        last = self.history.tasks[attempt.key].last
        counts = last is not None and last.result is not None
        counts = counts and last.result["attempt"] == attempt.attempt
        if counts or not (self.is_lost(attempt) or self.may_be_untold(attempt)):
            return set()
        return {
            (other.key, other.attempt)
            for other in self.by_process[attempt.pid]
            if other.how == "ok" and self.may_be_untold(other)
            if other.ended is not None and other.ended <= attempt.began
        }

    def _deaf_since(self, worker: WorkerHistory) -> float:
        """Since when a worker was cut off, stopped, or held up by one of its tasks."""
        times = [t for t, _ in worker.signals]
        for attempt in self.by_process[worker.pid]:
            plan = self.history.tasks[attempt.key].plan
            if plan.is_bad(attempt.number) and plan.act in ("block", *ENDLESS_IN_C):
                times.append(attempt.began)
        return min(times, default=inf)

    def unseen(self, task: TaskHistory) -> int:
        """How many attempts died with their worker on the way to the body's first line."""
        counted = 0 if task.last is None else task.last.attempts
        return max(0, counted - len(task.attempts))

    def is_over_limit(self, attempt: Attempt) -> bool:
        limit = self.history.tasks[attempt.key].plan.timeout_seconds
        if limit is None:
            return False
        return self.ended_at(attempt) - attempt.began >= limit - LIMIT_SLACK_SECONDS

    def cancelled_at(self, task: TaskHistory) -> float:
        """When the task or its graph was first cancelled; inf for never."""
        graph = self.history.graphs.get(task.graph)
        times = [c.t for c in task.cancels if c.before not in TERMINAL]
        times += [t for t, _ in task.cancelled_with]
        if graph is not None:
            times += [t for t, _ in graph.cancels]
            times += [graph.given_up] if graph.given_up is not None else []
        return min(times, default=inf)

    def waiting_on(self, key: str) -> set[str]:
        """The tasks that wait on this one, directly or not, or have ended as its like."""
        found = {key}
        has_grown = True
        while has_grown:
            more = {t.key for t in self.history.tasks.values() if self._waits_for(t) & found}
            has_grown = not more <= found
            found |= more
        return found - {key}

    def _waits_for(self, task: TaskHistory) -> set[str]:
        condition = task.plan.waits_on
        returned = self.tail_attempt(task)
        tail = {returned.detail} if returned is not None else set()
        return {*task.plan.inputs, *(() if condition is None else condition.all_keys()), *tail}

    def accepted_attempt(self, task: TaskHistory) -> Attempt | None:
        """The attempt whose result the app has got; None if it cannot be told."""
        last = task.last
        if last is None or last.result is None or last.result["key"] != task.key:
            return None
        wanted = last.result["attempt"]
        return next((a for a in task.attempts if a.attempt == wanted), None)

    def tail_attempt(self, task: TaskHistory) -> Attempt | None:
        """The attempt as whose returned task this one has ended, if it has."""
        return next((a for a in reversed(task.attempts) if a.how == "tail"), None)

    def not_before(self, key: str) -> float:
        """The earliest moment at which a task can have ended as it did; inf if it did not."""
        if key not in self._not_before:
            self._not_before[key] = 0.0  # for a task that leads back to itself, which none may
            self._not_before[key] = self._find_not_before(self.history.tasks[key])
        return self._not_before[key]

    def _find_not_before(self, task: TaskHistory) -> float:
        if not task.state:
            return inf
        if task.state == "cancelled":
            returned = self.tail_attempt(task)
            by_child = inf if returned is None else self._not_before_child(returned)
            return min(self.cancelled_at(task), by_child)
        if task.state == "skipped" or not task.attempts:
            return 0.0
        returned = self.tail_attempt(task)
        if returned is not None and returned.ended is not None:
            return max(returned.ended, self._not_before_child(returned))
        if task.state == "succeeded":
            attempt = self.accepted_attempt(task)
            return 0.0 if attempt is None else self.ended_at(attempt)
        last = max(task.attempts, key=lambda a: a.attempt)
        limit = task.plan.timeout_seconds
        by_limit = inf if limit is None else last.began + limit - LIMIT_SLACK_SECONDS
        return min(self.ended_at(last), by_limit)

    def _not_before_child(self, attempt: Attempt) -> float:
        return self.not_before(attempt.detail) if attempt.detail in self.history.tasks else 0.0


# ---- lost ---------------------------------------------------------------------------------------


def _every_task_ends(facts: Facts) -> Iterator[Violation]:
    for task in facts.accepted:
        if task.stuck is not None:
            yield _lost(task.key, "every task ends", f"its graph was given up: {task.stuck}")
        elif not task.state:
            yield _lost(task.key, "every task ends", "it was accepted and never ended")


def _children_of_the_successful_exist(facts: Facts) -> Iterator[Violation]:
    for task in facts.accepted:
        attempt = facts.accepted_attempt(task)
        for key in [] if attempt is None or task.state != "succeeded" else attempt.children:
            child = facts.history.tasks.get(key)
            if child is None or not child.is_accepted:
                yield _lost(key, "children exist", f"{task.key} created it and succeeded")


# ---- duplicated ---------------------------------------------------------------------------------


def _a_terminal_state_stays(facts: Facts) -> Iterator[Violation]:
    for task in facts.accepted:
        for before, after in pairwise(task.sightings):
            if (before.state, before.result) != (after.state, after.result):
                text = f"{before.state} {before.result}, then {after.state} {after.result}"
                yield _duplicated(task.key, "a terminal state stays", text)


def _no_attempt_runs_twice(facts: Facts) -> Iterator[Violation]:
    for task in facts.history.tasks.values():
        for attempt_id, times in Counter(a.attempt for a in task.attempts).items():
            if times > 1:
                text = f"attempt {attempt_id} began {times} times"
                yield _duplicated(task.key, "no attempt runs twice", text)


def _attempts_take_turns(facts: Facts) -> Iterator[Violation]:
    for task in facts.history.tasks.values():
        for first, second in pairwise(sorted(task.attempts, key=lambda a: a.began)):
            if second.began < facts.ended_at(first) and not facts.is_over_limit(first):
                text = f"attempt {second.attempt} began while {first.attempt} ran"
                yield _duplicated(task.key, "attempts take turns", text)


def _the_last_attempt_answers(facts: Facts) -> Iterator[Violation]:
    """Once another attempt was begun, what an earlier one brings back must not count."""
    for task in facts.accepted:
        answered = facts.accepted_attempt(task)
        later = [a for a in task.attempts if answered and a.attempt > answered.attempt]
        if answered is not None and later:
            text = f"the result is of attempt {answered.attempt}; {later[0].attempt} began too"
            yield _duplicated(task.key, "the last attempt answers", text)


# ---- unexpected: what a task ended as -----------------------------------------------------------


def _success_was_run(facts: Facts) -> Iterator[Violation]:
    """A success has an attempt that wrote so, and the value that its function computes."""
    for task in facts.accepted:
        if task.state != "succeeded" or task.last is None:
            continue
        result = task.last.result
        if result is None:
            text = f"its result cannot be read: {task.last.error}"
            yield _unexpected(task.key, "success was run", text)
            continue
        if result["key"] != task.key:  # it must have returned the task whose result it has
            returned = facts.tail_attempt(task)
            child = facts.history.tasks.get(result["key"])
            if returned is None or returned.detail != result["key"] or child is None:
                yield _unexpected(task.key, "success was run", f"its result is {result}")
            elif child.last is None or child.last.result != result:
                yield _unexpected(task.key, "success was run", "not the result it returned")
            continue
        attempt = facts.accepted_attempt(task)
        if attempt is None or attempt.how != "ok" or attempt.pid != result["pid"]:
            yield _unexpected(task.key, "success was run", f"no attempt has written {result}")
        elif result["value"] != _expected_value(facts, task, attempt):
            yield _unexpected(task.key, "results are right", f"{result} is a wrong value")


def _expected_value(facts: Facts, task: TaskHistory, attempt: Attempt) -> int | None:
    """The value computed once more; None if a value it is computed from does not exist."""
    keys = {"await": attempt.children, "fire": [], "tail": []}.get(
        task.plan.shape, list(task.plan.inputs)
    )
    values = []
    for key in keys:
        last = facts.history.tasks[key].last
        if last is None or last.result is None:
            return None
        values.append(last.result["value"])
    return value_of(task.key, values)


def _inputs_are_the_results(facts: Facts) -> Iterator[Violation]:
    """Every attempt was given the very results that the app has got."""
    results = [task.last.result for task in facts.accepted if task.last is not None]
    known = {(result["key"], result["attempt"]) for result in results if result is not None}
    for attempt in facts.history.attempts():
        for key, given in set(attempt.inputs) - known - facts.followed(attempt):
            text = f"attempt {attempt.attempt} was given {key} of attempt {given}"
            yield _unexpected(attempt.key, "inputs are the results", text)


def _failures_are_planned(facts: Facts) -> Iterator[Violation]:
    for task in facts.accepted:
        if task.state == "failed" and task.last is not None:
            reason = _why_not_expected(facts, task, task.last.error)
            if reason:
                text = f"{task.last.error} (cause {task.last.cause or 'none'}): {reason}"
                yield _unexpected(task.key, "failures are planned", text)


def _why_not_expected(facts: Facts, task: TaskHistory, error: str) -> str:
    """Why a failure of this kind is no consequence of the history; "" if it is."""
    returned = facts.tail_attempt(task)
    child = None if returned is None else facts.history.tasks.get(returned.detail)
    if child is not None and child.state == "failed":
        return "" if child.last is not None and child.last.error == error else "not its child's"
    if not task.attempts:
        # Its limit may pass before its first line, when a neighbour holds the interpreter.
        has_limit = error == "TaskTimeout" and task.plan.timeout_seconds is not None
        return "" if has_limit and facts.unseen(task) else "it was never run"
    last = max(task.attempts, key=lambda a: a.attempt)
    if error == "WorkerLost":
        return _why_not_blamed(facts, task, last)
    if error == "TaskTimeout":
        if not facts.is_over_limit(last):
            return "its last attempt was within the limit"
    elif error != "TaskFailed" or last.how != "raise":
        return "its last attempt has not raised"
    failures = sum(a.how == "raise" or facts.is_over_limit(a) for a in task.attempts)
    if failures + facts.unseen(task) <= task.plan.retries:
        return f"only {failures} attempts failed, and it has {task.plan.retries} retries"
    return ""


def _why_not_blamed(facts: Facts, task: TaskHistory, last: Attempt) -> str:
    losses = sum(facts.is_lost(a) or facts.may_be_untold(a) for a in task.attempts)
    if losses + facts.unseen(task) < LOSSES_MAX:
        return f"only {losses} of its workers were lost"
    worker = facts.worker(last)
    assert worker is not None
    by_itself = {act for a in task.attempts for _, act in a.deaths if a is last}
    causes = _causes(facts, worker)
    if not by_itself and not worker.is_harmed and causes:
        return f"the last worker was lost by a neighbour: {', '.join(sorted(causes))}"
    return ""


def _raises_are_planned(facts: Facts) -> Iterator[Violation]:
    """A body raises where its plan says so, or when a child that it awaited did not succeed."""
    for attempt in facts.history.attempts():
        if attempt.how != "raise":
            continue
        plan = facts.history.tasks[attempt.key].plan
        child = [facts.history.tasks[key] for key in attempt.children]
        is_planned = plan.is_bad(attempt.number) and plan.act in RAISES
        has_child = attempt.detail == "ChildError" and any(c.state != "succeeded" for c in child)
        if not is_planned and not has_child:
            text = f"attempt {attempt.attempt} raised {attempt.detail}"
            yield _unexpected(attempt.key, "raises are planned", text)


def _cancelled_was_cancelled(facts: Facts) -> Iterator[Violation]:
    for task in facts.accepted:
        for cancel in task.cancels:
            if cancel.before not in TERMINAL and cancel.after != "cancelled":
                text = f"it was {cancel.before}, and {cancel.after} after its cancel"
                yield _unexpected(task.key, "a cancel ends the task", text)
        if task.state != "cancelled" or facts.cancelled_at(task) < inf:
            continue
        returned = facts.tail_attempt(task)
        child = None if returned is None else facts.history.tasks.get(returned.detail)
        if child is None or child.state != "cancelled":
            yield _unexpected(task.key, "somebody cancelled it", "nobody has cancelled it")


def _cancel_takes_successors(facts: Facts) -> Iterator[Violation]:
    """It ends what waits on the task, and nothing else; certainly what waits for its result."""
    for task in facts.accepted:
        for cancel in task.cancels:
            if not cancel.successors or cancel.before in TERMINAL:
                continue
            waiting = facts.waiting_on(task.key)
            for key in sorted(set(cancel.also) - waiting):
                text = f"it ended with the cancel of {task.key}, and did not wait on it"
                yield _unexpected(key, "a cancel takes successors", text)
            for other in facts.accepted:
                if task.key in other.plan.inputs and other.state not in ("cancelled", "skipped"):
                    text = f"it waits for the result of {task.key}, and is {other.state}"
                    yield _unexpected(other.key, "a cancel takes successors", text)


def _skipped_cannot_run(facts: Facts) -> Iterator[Violation]:
    for task in facts.accepted:
        if task.state != "skipped":
            continue
        returned = facts.tail_attempt(task)
        child = None if returned is None else facts.history.tasks.get(returned.detail)
        if child is not None and child.state == "skipped":
            continue
        if task.attempts:
            yield _unexpected(task.key, "skipped was not run", "it was run and then skipped")
        if _can_run(task, lambda key, outcome: _has_ended(facts, key, outcome)):
            yield _unexpected(task.key, "skipped cannot run", "its condition holds")


def _graphs_end_well(facts: Facts) -> Iterator[Violation]:
    for graph in facts.history.graphs.values():
        if graph.error:
            yield _unexpected(graph.name, "graphs end well", f"leaving it raised {graph.error}")
    if facts.history.crash:
        text = facts.history.crash.strip().splitlines()[-1]
        yield _unexpected("program", "the program goes on", text)
    elif facts.history.closing == inf:
        yield _unexpected("program", "the program goes on", "it did not come to its end")


# ---- unexpected: when, where and how often something ran ----------------------------------------


def _conditions_held(facts: Facts) -> Iterator[Violation]:
    """A task began only after what it waits for could have ended as it did."""
    for task in facts.accepted:
        for attempt in task.attempts:
            followed = {key for key, _ in facts.followed(attempt)}

            def has(
                key: str,
                outcome: str,
                began: float = attempt.began,
                followed: set[str] = followed,
            ) -> bool:
                ended = _has_ended(facts, key, outcome) and facts.not_before(key) <= began
                return ended or key in followed

            if not _can_run(task, has):
                text = f"attempt {attempt.attempt} began before its condition held"
                yield _unexpected(task.key, "conditions held", text)


def _can_run(task: TaskHistory, has: Callable[[str, str], bool]) -> bool:
    plan = task.plan
    if not all(has(key, "succeeded") for key in plan.inputs):
        return False
    return plan.waits_on is None or plan.waits_on.holds(has)


def _has_ended(facts: Facts, key: str, outcome: str) -> bool:
    task = facts.history.tasks.get(key)
    state = "" if task is None else task.state
    return state == "succeeded" if outcome == "succeeded" else state in TERMINAL


def _predecessors_are_told_right(facts: Facts) -> Iterator[Violation]:
    for attempt in facts.history.attempts():
        followed = {key for key, _ in facts.followed(attempt)}
        for name, state in attempt.seen:
            task = facts.history.tasks.get(name)
            if state == "succeeded" and name in followed:
                continue
            if state in TERMINAL and task is not None and task.state and task.state != state:
                text = f"attempt {attempt.attempt} was told {name} {state}, not {task.state}"
                yield _unexpected(attempt.key, "predecessors are told right", text)


def _attempts_have_reasons(facts: Facts) -> Iterator[Violation]:
    """Another attempt follows on a failure with a retry left, or on the loss of a worker."""
    for task in facts.history.tasks.values():
        attempts = sorted(task.attempts, key=lambda a: a.attempt)
        certain = 0
        for attempt in attempts[:-1]:
            has_failed = attempt.how == "raise" or facts.is_over_limit(attempt)
            is_lost = facts.is_lost(attempt) or facts.may_be_untold(attempt)
            certain += has_failed and not is_lost
            if not has_failed and not is_lost:
                text = f"attempt {attempt.attempt} was followed by another, for no reason"
                yield _unexpected(task.key, "attempts have reasons", text)
        if certain > task.plan.retries:
            text = f"{certain} retries after failures, and it has {task.plan.retries}"
            yield _unexpected(task.key, "retries are counted", text)


def _cancelled_does_not_begin(facts: Facts) -> Iterator[Violation]:
    for task in facts.accepted:
        latest = facts.cancelled_at(task) + AFTER_CANCEL_SECONDS
        for attempt in task.attempts:
            worker = facts.worker(attempt)
            was_stopped = worker is not None and bool(worker.signals)
            if attempt.began > latest and not was_stopped:
                text = f"attempt {attempt.attempt} began {attempt.began - latest + 1:.1f} s after"
                yield _unexpected(task.key, "cancelled does not begin", text)


def _tasks_run_in_their_loop(facts: Facts) -> Iterator[Violation]:
    for attempt in facts.history.attempts():
        worker = facts.worker(attempt)
        loop = facts.history.tasks[attempt.key].plan.loop
        if worker is not None and worker.loop != loop:
            yield _unexpected(attempt.key, "tasks run in their loop", f"it ran in {worker.loop}")


def _limits_are_kept(facts: Facts) -> Iterator[Violation]:
    """At no moment do more tasks of a loop run than it may; those that await another do not."""
    changes: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for attempt in facts.history.attempts():
        loop = facts.history.tasks[attempt.key].plan.loop
        for began, ended in _running(facts, attempt):
            changes[loop] += [(began, 1, attempt.key), (ended, -1, attempt.key)]
    for loop, all_changes in changes.items():
        running = 0
        for t, change, key in sorted(all_changes):
            running += change
            if running > facts.history.limits.get(loop, inf):
                text = f"{running} tasks of loop {loop!r} ran at {t:.3f}"
                yield _unexpected(key, "limits are kept", text)
                break


def _running(facts: Facts, attempt: Attempt) -> Iterator[tuple[float, float]]:
    """The times in which it certainly held its slot."""
    ended = facts.ended_at(attempt)
    if ended == inf:
        ended = max(attempt.began, facts.history.closing)
    began = attempt.began
    for wait in attempt.waits:
        yield began, wait[0]
        if len(wait) == 1 or attempt.how == "cancelled":
            return  # one that is stopped goes on without a slot
        began = wait[1]
    yield began, ended


# ---- unexpected: workers ------------------------------------------------------------------------


def _losses_have_causes(facts: Facts) -> Iterator[Violation]:
    """No worker goes without somebody having done something to it."""
    for worker in facts.history.workers.values():
        if worker.lost is None or worker.lost >= facts.history.closing:
            continue
        if not worker.is_harmed and not _causes(facts, worker):
            key = f"worker {worker.pid}"
            yield _unexpected(key, "losses have causes", f"{worker.loop}: {worker.how}")


def _causes(facts: Facts, worker: WorkerHistory) -> set[str]:
    """What happened in a worker that explains its loss: acts of tasks, limits, cancels."""
    causes = set()
    lost = worker.lost_or_never
    for attempt in facts.by_process[worker.pid]:
        task = facts.history.tasks[attempt.key]
        causes |= {f"{attempt.key} {act}" for _, act in attempt.deaths}
        if attempt.ended is not None and attempt.ended < lost - 1.0:
            continue
        limit = task.plan.timeout_seconds
        if limit is not None and lost - attempt.began >= limit - LIMIT_SLACK_SECONDS:
            causes.add(f"{attempt.key} over its limit")
        if task.plan.is_bad(attempt.number) and task.plan.act in ENDLESS:
            causes.add(f"{attempt.key} {task.plan.act}")
        if facts.cancelled_at(task) < lost:
            causes.add(f"{attempt.key} cancelled")
    return causes


_RULES: Final[tuple[Callable[[Facts], Iterator[Violation]], ...]] = (
    _every_task_ends,
    _children_of_the_successful_exist,
    _a_terminal_state_stays,
    _no_attempt_runs_twice,
    _attempts_take_turns,
    _the_last_attempt_answers,
    _success_was_run,
    _inputs_are_the_results,
    _failures_are_planned,
    _raises_are_planned,
    _cancelled_was_cancelled,
    _cancel_takes_successors,
    _skipped_cannot_run,
    _graphs_end_well,
    _conditions_held,
    _predecessors_are_told_right,
    _attempts_have_reasons,
    _cancelled_does_not_begin,
    _tasks_run_in_their_loop,
    _limits_are_kept,
    _losses_have_causes,
)


def _lost(key: str, rule: str, text: str) -> Violation:
    return Violation("lost", rule, key, text)


def _duplicated(key: str, rule: str, text: str) -> Violation:
    return Violation("duplicated", rule, key, text)


def _unexpected(key: str, rule: str, text: str) -> Violation:
    return Violation("unexpected", rule, key, text)
