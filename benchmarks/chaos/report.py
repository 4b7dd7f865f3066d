"""What a run has shown: what counts as a failure, and the tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from io import StringIO
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.chaos import measure
from benchmarks.chaos.checker import Verdict, Violation
from benchmarks.chaos.history import History, TaskHistory
from benchmarks.chaos.measure import Times
from benchmarks.chaos.planted import CONTROL, PLANTS

KINDS: Final = ("lost", "duplicated", "unexpected")

CRASH_LINES_MAX: Final = 30
"""How much is shown of the traceback of a program that has crashed: its end."""

SHOWN_MAX: Final = 5
"""How many violations are told with the story of their task."""

STDERR_SHOWN_MAX: Final = 2_000


@dataclass
class Run:
    """One run of the program, judged."""

    seconds: float
    history: History
    verdict: Verdict
    torn: int


@dataclass
class Result:
    """Everything that was run."""

    seed: int
    run: Run | None = None
    plants: dict[str, Run] = field(default_factory=dict)
    noticed_alone: dict[str, Times] = field(default_factory=dict)
    again_alone: dict[str, Times] = field(default_factory=dict)
    leaving: dict[str, Times] = field(default_factory=dict)
    dying: dict[str, Times] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)
    stderr: str = ""
    seconds_in_all: float = 0.0


def failures(result: Result) -> list[str]:
    """Why the benchmark has failed, one line each; none if it has not."""
    found = []
    if result.run is not None:
        numbers = {kind: result.run.verdict.number(kind) for kind in KINDS}
        found += [f"{number} {kind}" for kind, number in numbers.items() if number]
        found += [
            f"no {kind!r} has bitten ({bites.injected} injected)"
            for kind, bites in measure.faults(result.run.history).items()
            if not bites.bitten
        ]
    for name, run in result.plants.items():
        if name == CONTROL:
            found += [f"without a bug: {rule} ({n})" for rule, n in run.verdict.rules.items()]
        elif not run.history.plant_bites:
            found.append(f"the planted bug {name!r} has never struck")
        elif not run.verdict.violations:
            found.append(f"the planted bug {name!r} was not caught")
    return found + [f"left behind: {line}" for line in result.leftovers]


# ---- JSON ---------------------------------------------------------------------------------------


def as_json(result: Result) -> dict[str, Any]:
    """The figures, and every violation."""
    values: dict[str, Any] = {"seed": result.seed, "seconds": round(result.seconds_in_all, 1)}
    if result.run is not None:
        history = result.run.history
        values |= {
            "counts": _counts(result.run),
            "faults": {kind: asdict(b) for kind, b in measure.faults(history).items()},
            "detection": _times_as_json(measure.detection(history)),
            "recovery": _times_as_json(measure.recovery(history)),
            "stopping": _times_as_json(measure.stopping(history)),
            "figures": history.figures,
            "violations": [asdict(v) for v in result.run.verdict.violations],
        }
    return values | {
        "planted": {
            name: {
                "strikes": run.history.plant_bites,
                "caught by": dict(run.verdict.rules),
            }
            for name, run in result.plants.items()
        },
        "noticed_alone": _times_as_json(result.noticed_alone),
        "again_alone": _times_as_json(result.again_alone),
        "leaving": _times_as_json(result.leaving),
        "dying": _times_as_json(result.dying),
        "leftovers": result.leftovers,
        "stderr": result.stderr[:STDERR_SHOWN_MAX],
        "failures": failures(result),
    }


def _times_as_json(times: dict[str, Times]) -> dict[str, dict[str, float]]:
    return {kind: asdict(found) for kind, found in times.items()}


# ---- text ---------------------------------------------------------------------------------------


def text(result: Result) -> str:
    """The tables, then what was wrong."""
    out = Console(file=StringIO(), width=100, highlight=False)
    if result.run is not None:
        _tell_run(out, result.seed, result.run)
    if result.plants:
        _tell_plants(out, result.plants)
    if result.noticed_alone:
        _tell_times(out, "one death at a time until it is noticed", result.noticed_alone)
        _tell_times(out, "and until the task runs in another worker", result.again_alone)
    if result.leaving:
        _tell_times(out, "leaving open_coordinator", result.leaving)
    if result.dying:
        _tell_times(out, "signal to the program until no worker is alive", result.dying)
    out.print(f"left behind: {', '.join(result.leftovers) or 'nothing'}")
    if result.stderr.strip():
        out.print(f"on stderr: {result.stderr.strip()[:STDERR_SHOWN_MAX]}", markup=False)
    for run in (result.run, result.plants.get(CONTROL)):
        if run is not None:
            _tell_violations(out, run)
    wrong = failures(result)
    took = f"{result.seconds_in_all:.0f} s"
    out.print(f"FAILED after {took}:" if wrong else f"passed, in {took}")
    for line in wrong:
        out.print(f"  {line}", markup=False)
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def _tell_run(out: Console, seed: int, run: Run) -> None:
    counts = _table(f"seed {seed}, {run.seconds:.0f} s", "what", "number")
    for name, number in _counts(run).items():
        counts.add_row(name, f"{number:,}")
    for when in ("before", "open", "after"):
        usage = run.history.figures.get(f"usage {when}")
        if usage is not None:
            cells = f"{usage['rss KB'] / 1024:.1f} MB, {usage['descriptors']} descriptors"
            counts.add_row(f"coordinator, {when}", cells)
    out.print(counts)
    faults = _table("faults", "kind", "injected", "bitten")
    for kind, bites in measure.faults(run.history).items():
        faults.add_row(kind, str(bites.injected), str(bites.bitten))
    out.print(faults)
    _tell_times(out, "death of a worker until it is noticed", measure.detection(run.history))
    recovery = measure.recovery(run.history)
    _tell_times(out, "death of a worker, with work waiting, until its successor is ready", recovery)
    _tell_times(out, "unwanted work goes on for", measure.stopping(run.history))


def _counts(run: Run) -> dict[str, int]:
    history = run.history
    states = [task.state for task in history.tasks.values() if task.is_accepted]
    return {
        "graphs": len(history.graphs),
        "tasks accepted": len(states),
        **{state: states.count(state) for state in sorted(set(states) - {""})},
        "attempts": sum(1 for _ in history.attempts()),
        "workers": sum(worker.loop != "local" for worker in history.workers.values()),
        "stale reports dropped": history.figures.get("stale reports", 0),
        "half lines": run.torn,
        **{kind: run.verdict.number(kind) for kind in KINDS},
    }


def _tell_plants(out: Console, plants: dict[str, Run]) -> None:
    table = _table("bugs planted on purpose", "bug", "strikes", "caught", "by the rules")
    for name, run in plants.items():
        rules = ", ".join(f"{rule} ({n})" for rule, n in run.verdict.rules.most_common(3))
        caught = "yes" if rules and run.history.plant_bites else "NO"
        if name == CONTROL:
            caught = "" if not rules else "WRONGLY"
        about = f"{name}: {PLANTS[name].about}"
        table.add_row(about, str(run.history.plant_bites), caught, rules)
    out.print(table)


def _tell_times(out: Console, title: str, times: dict[str, Times]) -> None:
    table = _table(title, "kind", "number", "p50 ms", "p99 ms", "max ms")
    for kind, found in times.items():
        cells = (f"{1000 * t:,.1f}" for t in (found.p50, found.p99, found.longest))
        table.add_row(kind, str(found.number), *cells)
    out.print(table)


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="left" if "rules" in name else "right")
    return table


# ---- stories ------------------------------------------------------------------------------------


def _tell_violations(out: Console, run: Run) -> None:
    for violation in run.verdict.violations[:SHOWN_MAX]:
        for line in _story(run.history, violation):
            out.print(line, markup=False, soft_wrap=True)
    for line in run.history.crash.splitlines()[-CRASH_LINES_MAX:]:
        out.print(line, markup=False, soft_wrap=True)


def _story(history: History, violation: Violation) -> Iterable[str]:
    yield f"{violation.kind}: {violation.key}: {violation.rule}: {violation.text}"
    task = history.tasks.get(violation.key)
    if task is None:
        return
    yield f"    {task.plan}"
    yield from (f"    {t:.3f} {what}" for t, what in sorted(_events(history, task)))


def _events(history: History, task: TaskHistory) -> Iterable[tuple[float, str]]:
    for attempt in task.attempts:
        name = f"attempt {attempt.attempt} (number {attempt.number}, process {attempt.pid})"
        yield attempt.began, f"{name} began"
        for t, act in attempt.deaths:
            yield t, f"{name} is about to {act}"
        if attempt.ended is not None:
            yield attempt.ended, f"{name} ended: {attempt.how} {attempt.detail}"
        worker = history.workers.get(attempt.pid)
        if worker is not None:
            yield from ((t, f"process {worker.pid}: {kind}") for t, kind in worker.signals)
            if worker.lost is not None:
                yield worker.lost, f"process {worker.pid} lost: {worker.how}"
    for t, key in task.cancelled_with:
        yield t, f"cancelled with {key}"
    for cancel in task.cancels:
        yield cancel.t, f"cancelled: {cancel.before}, then {cancel.after}"
    for t, _ in history.graphs[task.graph].cancels if task.graph in history.graphs else ():
        yield t, "its graph cancelled"
    for sighting in task.sightings:
        yield sighting.t, f"{sighting.state} {sighting.result or sighting.error}"
