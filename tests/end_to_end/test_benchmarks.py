"""End to end: the benchmarks run each workload, at tiny sizes, and survive what peers may do.

No time is asserted: how fast what is belongs to the benchmarks themselves.
"""

from __future__ import annotations

import json
import sys
from time import monotonic
from typing import Any

import pytest

from benchmarks import __main__ as command_line
from benchmarks import processes
from benchmarks.contenders import CONTENDERS
from benchmarks.environments import Unavailable
from benchmarks.processes import MeasurementFailed, Script, measure
from benchmarks.workloads import WORKLOADS, Workload

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

IN_OUR_ENVIRONMENT = [each for each in CONTENDERS if not each.requirements]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.id)
def test_a_workload_is_measured_by_all_who_need_no_environment(
    workload: Workload, capsys: pytest.CaptureFixture[str]
):
    keys = ",".join(each.key for each in IN_OUR_ENVIRONMENT)
    command_line.main([workload.id, "--tiny", "--repeats", "1", "--json", "--contenders", keys])
    document = json.loads(capsys.readouterr().out)
    told = document["workloads"][workload.id]
    part = {each.key for each in IN_OUR_ENVIRONMENT if workload.id in each.workloads}
    assert {key: outcome["failure"] for key, outcome in told["contenders"].items()} == (
        dict.fromkeys(part)
    )
    figures = {figure.name for figure in workload.variants[0].figures}
    assert {key: {*outcome["values"]} for key, outcome in told["contenders"].items()} == (
        dict.fromkeys(part, figures)
    )
    assert told["goals"]
    assert document["about"]["contenders"]["ours"]["versions"].keys() >= {"trio", "tractor"}


def test_the_tables_name_goals_and_sizes_that_mean_nothing(capsys: pytest.CaptureFixture[str]):
    command_line.main(["ping", "--tiny", "--repeats", "1", "--contenders", "pool"])
    captured = capsys.readouterr()
    assert "TINY SIZES" in captured.out
    assert "no figure of trio-parallel" in captured.out
    assert captured.err.splitlines() == [
        "ping 1/1 trio-actor-graph",
        "ping 1/1 Pool.imap(chunksize=1)",
    ]


def test_a_peer_that_cannot_be_installed_does_not_stop_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    really = command_line.python_for
    monkeypatch.setattr(
        command_line,
        "python_for",
        lambda each, tell: Unavailable("no wheel") if each.key == "ray" else really(each, tell),
    )
    command_line.main(["fanout", "--tiny", "--repeats", "1", "--json", "--contenders", "ray"])
    document = json.loads(capsys.readouterr().out)
    told = document["workloads"]["fanout"]["contenders"]
    assert told["ray"]["failure"] == "not installed: no wheel"
    assert told["ours"]["failure"] is None
    assert document["about"]["contenders"]["ray"]["unavailable"] == "no wheel"


def test_what_there_is_can_be_listed(capsys: pytest.CaptureFixture[str]):
    command_line.main(["--list"])
    listed = capsys.readouterr().out.split()
    assert {each.id for each in WORKLOADS} | {each.key for each in CONTENDERS} <= {*listed}


@pytest.mark.parametrize("arguments", [["nonsense"], ["--contenders", "nonsense"]])
def test_what_there_is_not_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        command_line.main(arguments)
    assert "unknown: nonsense" in capsys.readouterr().err


def run_case(case: str, seconds_max: float = 30, **sizes: Any) -> dict[str, Any]:
    script = Script(sys.executable, "tests.end_to_end.benchmark_cases", case, sizes)
    return measure(script, seconds_max)


def test_the_last_line_of_a_script_is_its_answer():
    answer = run_case("chatters", tasks=3)
    assert answer.pop("wall") > 0
    assert answer == {"seconds": 1.5, "tasks": 3}


def test_a_script_that_fails_is_told_by_its_last_lines():
    with pytest.raises(MeasurementFailed, match=r"^exit status 1; .* \| ValueError: no such luck$"):
        run_case("fails")


def test_a_script_that_hangs_is_killed_with_what_it_has_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "LEFTOVER_SECONDS", 0.2)
    began = monotonic()
    with pytest.raises(MeasurementFailed, match=r"^killed after 2 s; stderr: empty$"):
        run_case("hangs", seconds_max=2)
    assert monotonic() - began < 30


def test_what_a_script_leaves_behind_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "LEFTOVER_SECONDS", 0.2)
    assert run_case("leaves")["seconds"] == 1.5
