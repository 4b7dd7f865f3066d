"""`python -m benchmarks`: run everything, print a table with ratios."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

OURS = "trio-actor-graph"
CONTENDERS = {
    OURS: "benchmarks.measure_ours",
    "ProcessPoolExecutor": "benchmarks.measure_executor",
}
WORKLOADS = {"fanout": 10_000, "ping": 500}  # tasks a run


def measure(module: str, workload: str, tasks: int) -> list[float]:
    """One measurement in a process of its own: seconds, one or as many as there are tasks."""
    command = [sys.executable, "-m", module, workload, str(tasks)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    seconds: list[float] = json.loads(done.stdout)
    return seconds


def run(workload: str, repeats: int) -> dict[str, list[list[float]]]:
    """All repeats of all contenders, in turns."""
    runs: dict[str, list[list[float]]] = {name: [] for name in CONTENDERS}
    for _ in range(repeats):
        for name, module in CONTENDERS.items():
            runs[name].append(measure(module, workload, WORKLOADS[workload]))
    return runs


def figures(workload: str, runs: list[list[float]]) -> dict[str, float]:
    """Tasks a second for a fan-out; median and 99th percentile in us for single tasks."""
    if workload == "fanout":
        return {"tasks/s": WORKLOADS[workload] / median(seconds for (seconds,) in runs)}
    return {
        "median us": median(median(seconds) for seconds in runs) * 1e6,
        "p99 us": median(quantiles(seconds, n=100)[98] for seconds in runs) * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default: 5)")
    options = parser.parse_args()
    results = {
        workload: {name: figures(workload, r) for name, r in run(workload, options.repeats).items()}
        for workload in WORKLOADS
    }
    about = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "trio": version("trio"),
        "tractor": version("tractor"),
        "repeats": options.repeats,
    }
    if options.json:
        print(json.dumps({"about": about, "results": results}, indent=2))
        return
    table = Table(title=", ".join(f"{key} {value}" for key, value in about.items()))
    for heading in ("workload", "figure", *CONTENDERS, "ratio"):
        table.add_column(heading)
    for workload, by_contender in results.items():
        for figure, ours in by_contender[OURS].items():
            others = [by_contender[name][figure] for name in CONTENDERS]
            cells = [f"{value:,.0f}" for value in others]
            table.add_row(workload, figure, *cells, f"{ours / others[-1]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
