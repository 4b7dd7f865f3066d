"""`python -m benchmarks.chaos`: the run, the planted bugs, the stops; then the table."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos import report, stops
from benchmarks.chaos.checker import check
from benchmarks.chaos.history import PATH_VARIABLE, History, read_events
from benchmarks.chaos.planted import PLANT_VARIABLE, PLANTS
from benchmarks.chaos.surroundings import Surroundings

HANG_SECONDS: Final = 40.0
"""How long a graph may take: the longest chain of deaths, time limits and new workers, twice."""

PLANTED_SECONDS: Final = 8.0
PLANTED_HANG_SECONDS: Final = 8.0

DEATHS: Final = 25
"""How often one worker dies of each kind while nothing else happens."""

REPEATS: Final = 3


def main() -> int:
    options = parse()
    began = time.monotonic()
    with Surroundings() as surroundings:
        if options.plant:
            plants = {options.plant: run_planted(surroundings, options.plant, options.seed)}
            result = report.Result(options.seed, plants=plants)
        else:
            result = run_all(surroundings, options)
        result.leftovers = surroundings.leftovers()
        result.stderr = surroundings.said()
    result.seconds_in_all = time.monotonic() - began
    print(json.dumps(report.as_json(result), indent=2) if options.json else report.text(result))
    return 1 if report.failures(result) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="of faults (default: 120)")
    parser.add_argument("--seed", type=int, help="the same graphs and faults as a run before")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--plant", choices=PLANTS, help="only this bug")
    parser.add_argument("--no-plants", action="store_true", help="no planted bugs")
    parser.add_argument("--keep", type=Path, help="copy the history of the run to this file")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(1_000_000)
    return options


def run_all(surroundings: Surroundings, options: argparse.Namespace) -> report.Result:
    tell(f"seed {options.seed}: {options.seconds:g} s of faults")
    run = run_program(
        surroundings,
        {"seed": options.seed, "seconds": options.seconds, "hang_seconds": HANG_SECONDS},
        keep=options.keep,
    )
    result = report.Result(options.seed, run=run)
    if not options.no_plants:
        for name in PLANTS:
            result.plants[name] = run_planted(surroundings, name, options.seed)
    tell("deaths, one at a time")
    result.noticed_alone, result.again_alone = stops.deaths(surroundings, DEATHS)
    tell("leaving coordinators, and killing programs")
    result.leaving = stops.leaving(surroundings, REPEATS)
    result.dying = stops.dying(surroundings, REPEATS)
    # A killed program cannot remove its folder; the next one to start does.
    stops.leaving(surroundings, 1)
    return result


def run_planted(surroundings: Surroundings, name: str, seed: int) -> report.Run:
    tell(f"planted: {name}")
    plant = PLANTS[name]
    settings = {
        "seed": seed,
        "seconds": PLANTED_SECONDS,
        "hang_seconds": PLANTED_HANG_SECONDS,
        "faults": plant.faults,
        "weights": plant.weights,
    }
    return run_program(surroundings, settings, plant=name)


def run_program(
    surroundings: Surroundings, settings: dict[str, Any], plant: str = "", keep: Path | None = None
) -> report.Run:
    """Run the program to its end, or to where it hangs, and judge what it has written."""
    path = surroundings.folder / f"history {plant}"
    extra = {PATH_VARIABLE: str(path), PLANT_VARIABLE: plant}
    program = surroundings.start("benchmarks.chaos.program", json.dumps(settings), extra=extra)
    began = time.monotonic()
    try:
        program.communicate(timeout=settings["seconds"] + 2 * settings["hang_seconds"] + 30)
    except subprocess.TimeoutExpired:
        tell("the program does not come to its end: it is killed")
        surroundings.kill_processes()
        program.communicate()
    seconds = time.monotonic() - began
    if plant:  # what a bug leaves behind is no finding
        surroundings.kill_processes()
    events, torn = read_events(path)
    if keep is not None:
        keep.write_bytes(path.read_bytes())
    history = History.of(events)
    return report.Run(seconds, history, check(history), torn)


def tell(text: str) -> None:
    print(f"chaos: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
