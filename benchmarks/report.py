"""What a run has found, as tables for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from benchmarks.contenders import BY_KEY, NAMES
from benchmarks.environments import Python, Unavailable
from benchmarks.goals import Verdict, summary
from benchmarks.running import Outcome, Pythons, Results

MET = {True: "met", False: "NOT met", None: "not measured"}


def about(
    pythons: Pythons, repeats: int, work: dict[str, float], is_tiny: bool = False
) -> dict[str, Any]:
    """Where and when the figures were taken, and of what."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "architecture": platform.machine(),
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "load_before": os.getloadavg()[0],  # what others did here when the run began
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        },
        "python": platform.python_version(),
        "repeats": repeats,
        "tiny": is_tiny,
        "iterations_per_second": work["iterations_per_second"],
        "contenders": {key: contender_story(key, python) for key, python in pythons.items()},
    }


def contender_story(key: str, python: Python | Unavailable) -> dict[str, Any]:
    story: dict[str, Any] = {"name": NAMES[key], "repeats_max": BY_KEY[key].repeats_max}
    if isinstance(python, Unavailable):
        return {**story, "unavailable": python.reason}
    return {**story, "versions": python.versions}


def processor() -> str:
    """The processor's name, where the kernel tells it."""
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    except OSError:
        return platform.processor()
    return names[0] if names else platform.processor()


def headline(facts: dict[str, Any]) -> str:
    """The facts in a line or two."""
    machine = facts["machine"]
    versions = [
        f"{name} {version}"
        for contender in facts["contenders"].values()
        for name, version in contender.get("versions", {}).items()
    ]
    return (
        f"{facts['date']}, {machine['cores']} x {machine['processor']}, {machine['system']} "
        f"{machine['release']}, load before {machine['load_before']:.1f}, "
        f"Python {facts['python']}\n{', '.join(dict.fromkeys(versions))}\n"
        f"Medians of up to {facts['repeats']} runs; in brackets how many times better ours is."
        + ("\nTINY SIZES: these figures only show that the suite works." if facts["tiny"] else "")
    )


def workload_table(results: Results, keys: Iterable[str]) -> Table:
    """The figures of every contender, and how many times better ours are."""
    workload = results.workload
    table = new_table(f"{workload.id}: {workload.what}")
    table.add_column("contender", no_wrap=True)
    for figure in workload.figures.values():
        table.add_column(figure.name, justify="right")
    table.add_column("runs", justify="right")
    table.add_column("remark", overflow="fold")
    for key in keys:
        if key in results.outcomes or BY_KEY[key].is_general:
            table.add_row(NAMES[key], *row(results, key))
    return table


def new_table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", min_width=len(title))


def row(results: Results, key: str) -> list[str]:
    """A contender's cells; "-" where it has no part or no figure."""
    outcome = results.outcomes.get(key)
    if outcome is None:
        return [*["-"] * len(results.workload.figures), "-", "has no part in it"]
    cells = [figure_cell(results, key, name) for name in results.workload.figures]
    return [*cells, str(outcome.repeats), outcome.failure or outcome.remark or ""]


def figure_cell(results: Results, key: str, name: str) -> str:
    median = results.outcomes[key].medians.get(name)
    if median is None:
        return "-"
    text = results.workload.figures[name].text(median)
    advantage = results.advantage(key, name)
    return text if advantage is None else f"{text} ({advantage:.2f}x)"


def goal_table(all_results: Iterable[Results]) -> Table:
    """Each goal with what was measured."""
    table = new_table("Goals")
    for heading in ("workload", "goal", "measured", ""):
        table.add_column(heading, overflow="fold")
    for results in all_results:
        for verdict in results.verdicts:
            style = "red" if verdict.is_met is False else None
            cells = (results.workload.id, verdict.goal, verdict.text, MET[verdict.is_met])
            table.add_row(*cells, style=style)
    table.caption = summary([v for results in all_results for v in results.verdicts])
    return table


def as_json(facts: dict[str, Any], all_results: Iterable[Results]) -> dict[str, Any]:
    """Everything, with the value of each repeat."""
    return {
        "about": facts,
        "workloads": {results.workload.id: results_json(results) for results in all_results},
        "summary": summary([v for results in all_results for v in results.verdicts]),
    }


def results_json(results: Results) -> dict[str, Any]:
    workload = results.workload
    return {
        "what": workload.what,
        "sizes": [dict(variant.sizes) for variant in workload.variants],
        "figures": {name: {"better": f.better} for name, f in workload.figures.items()},
        "contenders": {
            key: outcome_json(results, key, outcome) for key, outcome in results.outcomes.items()
        },
        "goals": [verdict_json(verdict) for verdict in results.verdicts],
    }


def outcome_json(results: Results, key: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "medians": outcome.medians,
        "ours_better": {name: results.advantage(key, name) for name in outcome.medians},
        "values": outcome.values,
        "remark": outcome.remark,
        "failure": outcome.failure,
    }


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "goal": verdict.goal,
        "bound": verdict.bound,
        "measured": verdict.measured,
        "text": verdict.text,
        "is_met": verdict.is_met,
    }
