"""`python -m benchmarks [WORKLOAD ...]`: measure, and print tables with ratios and goals.

The exit status is 0 also when goals are not met: that is told, and is no error of the suite.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from benchmarks.contenders import BY_KEY, CONTENDERS, Contender
from benchmarks.environments import python_for
from benchmarks.goals import OURS
from benchmarks.report import about, as_json, goal_table, headline, workload_table
from benchmarks.running import Results, calibrate, run_workload, tell_on_stderr
from benchmarks.workloads import BY_ID, WORKLOADS, Workload

WIDTH = 120
"""Of tables that go to a file or a pipe."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.list:
        print_list()
        return
    contenders = options.contenders
    workloads = options.workloads or WORKLOADS
    pythons = {contender.key: python_for(contender, tell_on_stderr) for contender in contenders}
    work = calibrate(options.tiny)
    facts = about(pythons, options.repeats, work, options.tiny)
    all_results = [
        run_workload(one, contenders, pythons, options.repeats, work, tell_on_stderr, options.tiny)
        for one in workloads
    ]
    if options.json:
        print(json.dumps(as_json(facts, all_results), indent=2))
    else:
        print_tables(headline(facts), all_results, [contender.key for contender in contenders])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "workloads", nargs="*", type=workload, metavar="WORKLOAD", help=f"of {', '.join(BY_ID)}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument(
        "--contenders",
        type=chosen,
        default=list(CONTENDERS),
        metavar="A,B",
        help=f"only these, of {', '.join(BY_KEY)} (default: all); {OURS} is always among them",
    )
    parser.add_argument("--list", action="store_true", help="tell what there is, and do nothing")
    parser.add_argument("--tiny", action="store_true", help="sizes that only try the suite itself")
    return parser.parse_args(arguments)


def workload(text: str) -> Workload:
    if text not in BY_ID:
        raise argparse.ArgumentTypeError(f"unknown: {text}; there are {', '.join(BY_ID)}")
    return BY_ID[text]


def chosen(text: str) -> list[Contender]:
    keys = {OURS, *text.split(",")}
    unknown = keys - BY_KEY.keys()
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return [contender for contender in CONTENDERS if contender.key in keys]


def print_list() -> None:
    for workload in WORKLOADS:
        print(f"{workload.id:14}{workload.what}")
    print()
    for contender in CONTENDERS:
        print(f"{contender.key:14}{contender.name}: {' '.join(contender.workloads)}")


def print_tables(head: str, all_results: list[Results], keys: list[str]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(head, highlight=False)
    for results in all_results:
        console.print(workload_table(results, keys), "")
    console.print(goal_table(all_results))


def leave(signal_number: int, frame: object) -> None:
    """By an exception, so that what is being measured is ended too."""
    sys.exit(128 + signal_number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    main()
