"""Core: figures of the benchmarks become medians, ratios, verdicts and tables; nothing is run."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from benchmarks import contenders, environments, report
from benchmarks.bodies import longest_first, uneven_iterations
from benchmarks.contenders import BY_KEY, CONTENDERS, NAMES
from benchmarks.environments import Python, Unavailable, python_for
from benchmarks.goals import (
    Figure,
    Limit,
    NoWorseThanAny,
    Steady,
    Times,
    Verdict,
    Within,
    summary,
)
from benchmarks.running import Outcome, Results, sizes_of
from benchmarks.workloads import BY_ID, PEERS, WORKLOADS

FIGURES = {
    "tasks/s": Figure("tasks/s", "more"),
    "us": Figure("us", "less", 1),
}
WHO = {"ours": "ours", "ray": "Ray", "dask": "Dask", "bare": "the bare program"}
MEDIANS = {
    "ours": {"tasks/s": 1000.0, "us": 20.0},
    "ray": {"tasks/s": 50.0, "us": 1000.0},
    "dask": {"tasks/s": 100.0},
    "bare": {"us": 16.0},
}


def judge(goal) -> list[Verdict]:
    return list(goal.judge(FIGURES, MEDIANS, WHO))


def shown(table: Table) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize(("figure", "ours", "theirs"), [("tasks/s", 100, 50), ("us", 50, 100)])
def test_an_advantage_is_above_one_for_the_better(figure: str, ours: float, theirs: float):
    assert FIGURES[figure].advantage(ours, theirs) == 2
    assert FIGURES[figure].advantage(theirs, ours) == 0.5


def test_a_figure_of_nothing_is_infinitely_good():
    assert FIGURES["us"].advantage(0, 5) == float("inf")


def test_times_is_judged_for_each_contender():
    assert judge(Times("tasks/s", 20, ("ray", "dask"))) == [
        Verdict("tasks/s: at least 20x better than Ray", 20, 20, "20.00x", is_met=True),
        Verdict("tasks/s: at least 20x better than Dask", 20, 10, "10.00x", is_met=False),
    ]


def test_better_does_not_include_equal():
    goal = Times("us", 1, ("ours",))
    assert judge(goal) == [Verdict("us: better than ours", 1, 1, "1.00x", is_met=False)]


def test_a_goal_against_who_was_not_measured_is_neither_met_nor_missed():
    assert judge(Times("us", 5, ("parsl", "dask"))) == [
        Verdict("us: at least 5x better than parsl", 5, None, "no figure of parsl", is_met=None),
        Verdict("us: at least 5x better than Dask", 5, None, "no figure of Dask", is_met=None),
    ]


def test_no_worse_than_any_is_judged_by_the_best_that_was_measured():
    assert judge(NoWorseThanAny("tasks/s", ("ray", "dask", "parsl"))) == [
        Verdict("tasks/s: no worse than every peer", 1, 10, "10.00x the best, Dask", is_met=True)
    ]
    assert judge(NoWorseThanAny("us", ("ours",), is_better=True)) == [
        Verdict("us: better than every peer", 1, 1, "1.00x the best, ours", is_met=False)
    ]
    assert judge(NoWorseThanAny("us", ("parsl",))) == [
        Verdict("us: no worse than every peer", 1, None, "no figure of any peer", is_met=None)
    ]


def test_within_counts_how_many_times_the_bare_figure_ours_is():
    assert judge(Within("us", 1.3, "bare")) == [
        Verdict("us: at most 1.3x the bare program", 1.3, 1.25, "1.250x", is_met=True)
    ]
    assert [verdict.is_met for verdict in judge(Within("us", 1.2, "bare"))] == [False]


def test_limits_have_the_side_of_their_figure():
    assert judge(Limit("us", 20)) == [Verdict("us: at most 20", 20, 20, "20.0", is_met=True)]
    assert judge(Limit("tasks/s", 1001)) == [
        Verdict("tasks/s: at least 1,001", 1001, 1000, "1,000", is_met=False)
    ]


def test_steady_compares_two_figures_of_ours():
    medians = {"ours": {"tasks/s": 75.0, "us": 100.0}}
    goal = Steady("tasks/s", "us", 0.75)
    (verdict,) = goal.judge(FIGURES, medians, WHO)
    assert verdict == Verdict("tasks/s: at least 75% of us", 0.75, 0.75, "75%", is_met=True)


def test_the_summary_says_what_is_not_met():
    verdicts = [
        Verdict("a", 1, 1, "", is_met=True),
        Verdict("b", 1, 1, "", is_met=False),
        Verdict("c", 1, None, "", is_met=None),
    ]
    assert summary(verdicts) == "1 goals met, 1 NOT met, 1 not measured"


def test_the_median_of_the_repeats_counts():
    assert Outcome({"us": [1.0, 9.0, 2.0]}).medians == {"us": 2.0}
    assert Outcome({"us": [1.0, 9.0, 2.0]}).repeats == 3


def test_who_failed_in_a_later_repeat_has_no_figure():
    assert Outcome({"us": [1.0]}, failure="failed: killed after 180 s").medians == {}


def fanout_results() -> Results:
    return Results(
        BY_ID["fanout"],
        {
            "ours": Outcome({"tasks/s": [50_000.0, 60_000.0, 10_000.0]}),
            "pool": Outcome({"tasks/s": [25_000.0]}),
            "ray": Outcome(failure="not installed: there is no such wheel"),
            "dask": Outcome({"tasks/s": [500.0]}, remark="at 8 depth"),
        },
    )


def test_a_table_has_ratios_and_tells_who_is_missing_and_why():
    lines = shown(report.workload_table(fanout_results(), [*NAMES])).splitlines()
    rows = {cells[0]: cells[1:] for line in lines if (cells := cells_of(line))}
    assert rows["trio-actor-graph"] == ["50,000", "3", ""]
    assert rows["Pool.imap(chunksize=1)"] == ["25,000 (2.00x)", "1", ""]
    assert rows["Dask"] == ["500 (100.00x)", "1", "at 8 depth"]
    assert rows["Ray"] == ["-", "0", "not installed: there is no such wheel"]
    assert rows["Parsl"] == ["-", "-", "has no part in it"]
    assert "the bare program" not in rows  # it is no scheduler, and has no part in this


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_the_table_of_goals_marks_what_is_not_met():
    lines = shown(report.goal_table([fanout_results()])).splitlines()
    rows = [cells for line in lines if (cells := cells_of(line))]
    assert rows == [
        ["fanout", f"tasks/s: at least {goal}", measured, how]
        for goal, measured, how in [
            (
                "5x better than ProcessPoolExecutor.submit",
                "no figure of ProcessPoolExecutor.submit",
                "not measured",
            ),
            ("1.5x better than Pool.imap(chunksize=1)", "2.00x", "met"),
            ("20x better than Ray", "no figure of Ray", "not measured"),
            ("50x better than Dask", "100.00x", "met"),
        ]
    ]
    assert lines[-1].strip() == "2 goals met, 0 NOT met, 2 not measured"


def test_json_has_the_value_of_each_repeat():
    document = json.loads(json.dumps(report.as_json({}, [fanout_results()])))
    told = document["workloads"]["fanout"]["contenders"]
    assert told["ours"] == {
        "medians": {"tasks/s": 50_000.0},
        "ours_better": {"tasks/s": None},
        "values": {"tasks/s": [50_000.0, 60_000.0, 10_000.0]},
        "remark": None,
        "failure": None,
    }
    assert told["pool"]["ours_better"] == {"tasks/s": 2.0}
    assert told["ray"]["failure"] == "not installed: there is no such wheel"


def test_every_goal_names_figures_and_contenders_that_exist():
    for workload in WORKLOADS:
        for goal in workload.goals:
            assert goal.figure in workload.figures
            assert list(goal.judge(workload.figures, {}, NAMES))
            named = getattr(goal, "contenders", getattr(goal, "peers", ()))
            assert {*named} <= BY_KEY.keys()
            if isinstance(goal, Times):
                assert all(workload.id in BY_KEY[who].workloads for who in named)


def test_every_contender_takes_part_in_workloads_that_exist():
    for contender in CONTENDERS:
        assert {*contender.workloads} <= BY_ID.keys()
        assert contender.fewer.keys() <= {*contender.workloads}
    assert {*PEERS} <= BY_KEY.keys()
    assert {*BY_KEY["ours"].workloads} == BY_ID.keys()


def test_a_contender_gets_the_workload_s_sizes_with_its_own_exceptions():
    dynamic, cpu = BY_ID["dynamic"], BY_ID["cpu"]
    work = {"iterations": 7, "iterations_per_second": 700}
    ordinary = dynamic.variants[0].sizes
    assert sizes_of(ordinary, dynamic, BY_KEY["ours"], work, is_tiny=False) == {"depth": 12}
    assert sizes_of(ordinary, dynamic, BY_KEY["dask"], work, is_tiny=False) == {"depth": 8}
    assert sizes_of(ordinary, dynamic, BY_KEY["dask"], work, is_tiny=True) == {"depth": 2}
    assert sizes_of({"tasks": 200}, cpu, BY_KEY["ours"], work, is_tiny=False) == {
        "tasks": 200,
        "iterations": 7,
    }


def test_uneven_work_is_the_same_for_all_and_spread_evenly_over_decades():
    iterations = uneven_iterations(500, 1e9)
    assert iterations == uneven_iterations(500, 1e9)
    assert 1_000 <= min(iterations) <= max(iterations) <= 200_000_000
    below_a_millisecond = sum(number < 1_000_000 for number in iterations)
    assert 250 <= below_a_millisecond <= 320  # 3 of 5.3 decades


def test_the_best_schedule_gives_the_longest_away_first():
    assert longest_first([1, 2, 3, 4, 6], 2) == [[6, 2], [4, 3, 1]]


def make_contender() -> contenders.Contender:
    return contenders.Contender("odd_peer", "Odd", "benchmarks.odd", (), requirements=("odd",))


def test_a_peer_without_an_environment_is_reported_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def run(command: list[str], folder: str) -> str:
        raise subprocess.CalledProcessError(1, command, stderr="first\nno odd\nto be had\n")

    monkeypatch.setattr(environments, "REPOSITORY", tmp_path)
    monkeypatch.setattr(environments, "_exclude_newer", lambda: "2026-11-22")
    monkeypatch.setattr(environments, "_find_uv", lambda: "uv")
    monkeypatch.setattr(environments, "_run", run)
    assert python_for(make_contender(), print) == Unavailable("first | no odd | to be had")


def test_an_environment_is_made_once_and_again_when_its_requirements_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    commands: list[list[str]] = []

    def run(command: list[str], folder: str) -> str:
        commands.append(command)
        if command[1] == "venv":
            Path(command[-1]).mkdir()
        return "{}"

    told: list[str] = []
    monkeypatch.setattr(environments, "REPOSITORY", tmp_path)
    monkeypatch.setattr(environments, "_exclude_newer", lambda: "2026-11-22")
    monkeypatch.setattr(environments, "_find_uv", lambda: "uv")
    monkeypatch.setattr(environments, "_run", run)
    python = str(tmp_path / ".venv-bench-odd-peer" / "bin" / "python")
    for _ in range(2):
        assert python_for(make_contender(), told.append) == Python(python, {})
    assert told == ["making an environment for Odd"]
    install = ["uv", "pip", "install", "--python", python, "odd", "--exclude-newer", "2026-11-22"]
    assert [command for command in commands if command[0] == "uv"][1:] == [install]
    monkeypatch.setattr(environments, "_exclude_newer", lambda: "2026-11-23")
    python_for(make_contender(), told.append)
    assert len(told) == 2
