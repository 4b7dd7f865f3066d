"""End to end: the command line as a user types it, in a terminal and without one."""

from __future__ import annotations

import ast
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trio_actor_graph.demo.pages import MODULES

RunProgram = Callable[..., Any]

PAGES = len(MODULES)
DEMO_TASKS = 2 * (PAGES + 1) + 1  # get_html and count_words of each page and of the missing one

PIPELINE = """
import logging
import sys
import time

from trio_actor_graph import WorkerLoop, completed, current_task

log = logging.getLogger("pipeline")


async def fetch(number):
    if number % 5 == 0:
        raise ValueError(f"no page [{number % 5}]")
    return number


def square(number):
    return number**2


def total():
    assert "rich" not in sys.modules
    return sum(p.result for p in current_task().predecessors if p.state == "succeeded")


def nap():
    time.sleep(30)


def setup(index):
    raise OSError("no such database")


LOOPS = [
    WorkerLoop("http", concurrency=4, functions=[fetch]),
    WorkerLoop("default", processes=1),
]


async def build(graph):
    squares = [graph.create_task(square, graph.create_task(fetch, n)) for n in range(10)]
    return graph.create_task(total, waits_on=completed(squares))


async def two(graph, coordinator):
    await graph.create_task(fetch, 1).result()
    return {w.worker_loop: (w.slots, w.pid is not None) for w in coordinator.workers}


async def loops(graph, coordinator):
    for n in range(20):
        graph.create_task(square, n, worker_loop="more")
    await graph.wait_finished()
    return sorted((w.worker_loop, w.index, w.slots) for w in coordinator.workers)


async def name(graph):
    return graph.name


async def raises(graph):
    await graph.create_task(fetch, 5).result()


async def has_a_bug(graph):
    await graph.create_task(fetch, 1).result()
    return graph.nonsense


async def sleeps(graph):
    graph.create_task(nap)


def chatty(number):
    log.debug("looking at %d", number)
    log.info("number %d", number)
    print("printed", number)


async def logs(graph):
    first = graph.create_task(chatty, 1)
    graph.create_task(chatty, 2, waits_on=first, name="second")
    graph.create_task(fetch, 5, name="fails")


class OnlyThere:
    def __reduce__(self):
        return load, ()


def load():
    raise OSError("no such device")


def make_odd():
    return OnlyThere()


async def odd(graph):
    graph.create_task(fetch, 5)
    return graph.create_task(make_odd)


def not_async(graph):
    pass


async def takes_none():
    pass
"""


@pytest.fixture
def command(run_program: RunProgram) -> RunProgram:
    """Runs `python -m trio_actor_graph` with the arguments."""

    def run(*arguments: str, **options: Any) -> Any:
        package = Path("trio_actor_graph")
        return run_program(package, *arguments, python_options=["-m"], **options)

    return run


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A folder with a module `pipeline` in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text(PIPELINE)
    return folder


# The demo


def test_demo_counts_reports_the_missing_page_and_succeeds(
    command: RunProgram, run_program: RunProgram
) -> None:
    """The demo's numbers are those of one process that does all by itself."""
    run = command("demo")

    assert (run.stderr, run.returncode) == ("", 0)
    heading, progress, words, failures, times = run.stdout.split("\n\n")
    assert f"{PAGES} pages of Python's documentation" in heading
    lines = progress.splitlines()
    assert re.fullmatch(
        rf" *\d+\.\d s  {DEMO_TASKS} of {DEMO_TASKS} tasks ended, 1 failed, 1 skipped", lines[-1]
    )
    assert len(lines) <= run.elapsed + 1
    assert [line.split() for line in words.splitlines()[1:]] == [
        [word, f"{number:,}"] for word, number in _expected_top_words(run_program)
    ]
    assert re.fullmatch(
        r"1 task failed\n"
        r"  task 'get_html' \(\d+\) failed: trio_actor_graph\.demo\.words\.FetchError: "
        r"404 Not Found: http://127\.0\.0\.1:\d+/antigravity\.html\n"
        r"    at .*/demo/words\.py:\d+ in get_html\n"
        r"1 task skipped\n"
        r"  task 'count_words' \(\d+\) was skipped because task 'get_html' \(\d+\) failed",
        failures,
    )
    runs: dict[str, int] = {}
    task = ""
    for name, number in re.findall(r"^  (\w*) +\w+/\d+ +(\d+) ", times, re.MULTILINE):
        task = name or task
        runs[task] = runs.get(task, 0) + int(number)
    assert runs == {"get_html": PAGES + 1, "count_words": PAGES, "combine": 1}


def _expected_top_words(run_program: RunProgram) -> list[tuple[str, int]]:
    run = run_program(
        """
        from collections import Counter
        from urllib.request import urlopen
        import trio
        from trio_actor_graph.demo.pages import MODULES, open_page_server
        from trio_actor_graph.demo.words import count_words

        async def main():
            total = Counter()
            async with open_page_server() as site:
                for module in sorted(MODULES):
                    with urlopen(f"{site}/{module}.html") as answer:
                        total.update(count_words(answer.read().decode()))
            print(total.most_common(10))

        trio.run(main)
        """
    )
    assert run.stderr == ""
    expected: list[tuple[str, int]] = ast.literal_eval(run.stdout)
    assert len(expected) == 10
    return expected


def test_demo_draws_a_live_table_in_a_terminal(run_program: RunProgram) -> None:
    """On a terminal there is a table that is drawn over itself, then the same report."""
    run = _run_in_terminal(run_program, "demo")

    assert (run.stderr, run.returncode) == ("", 0)
    text = _without_colours(run.stdout)
    ended = [int(n) for n in re.findall(rf"(\d+) of {DEMO_TASKS} tasks ended", text)]
    assert ended == sorted(ended)
    assert ended[-1] == DEMO_TASKS
    assert len(set(ended)) > 5
    assert re.search(r"task +waiting +ready +running +succeeded", text)
    assert re.search(r"get_html +- +\d+ +10 +\d+", text)  # ten at a time
    assert re.search(r"http/0 +\d+ +10 of 10", text)
    assert re.search(r"cpu/1 +\d+ +[01] of 1", text)
    assert "\x1b[1A" in run.stdout  # drawn over
    assert run.stdout.rindex("\x1b[?25h") > run.stdout.rindex("\x1b[?25l")  # the cursor is back
    report = text[text.rindex("top words") :]
    assert re.search(r"404 Not Found:\s+http://127\.0\.0\.1:\d+/antigravity\.html", report)
    assert "where the time went" in report


def test_demo_is_interrupted_quietly(start_program: RunProgram) -> None:
    """Ctrl-C ends the demo, its workers and its server at once, without a word."""
    demo = start_program(Path("trio_actor_graph"), "demo", python_options=["-m"])
    demo.wait_stdout(r"tasks ended")
    demo.interrupt()
    run = demo.wait(5)

    assert (run.stderr, run.returncode) == ("", 128 + signal.SIGINT)
    assert "top words" not in run.stdout


# run


def test_run_prints_the_result_the_failures_and_the_times(
    command: RunProgram, pipeline: Path
) -> None:
    """A returned task stands for its result; failures are told once for all that are alike."""
    run = command("run", "pipeline:build", cwd=pipeline)

    assert (run.stderr, run.returncode) == ("", 1)
    progress, failures, times, value = run.stdout.split("\n\n")
    assert progress.endswith("21 of 21 tasks ended, 2 failed, 2 skipped")
    assert re.fullmatch(
        r"2 tasks failed\n"
        r"  task 'fetch' \(\d+\) failed: ValueError: no page \[0\] \(and 1 other the same way\)\n"
        rf"    at {pipeline}/pipeline\.py:\d+ in fetch\n"
        r"2 tasks skipped\n"
        r"(  task 'square' \(\d+\) was skipped because task 'fetch' \(\d+\) failed\n?){2}",
        failures,
    )
    assert [row.split()[:3] for row in sorted(times.splitlines()[2:])] == [
        ["fetch", "http/0", "10"],
        ["square", "default/0", "8"],
        ["total", "default/0", "1"],
    ]
    assert value == f"{sum(n**2 for n in range(10) if n % 5)}\n"


def test_run_quiet_leaves_stdout_to_the_result(command: RunProgram, pipeline: Path) -> None:
    """With --quiet the result is all of stdout, and the failures are on stderr."""
    run = command("run", "pipeline:build", "--quiet", cwd=pipeline)

    assert run.returncode == 1
    assert run.stdout == "260\n"
    assert run.stderr.startswith("\n2 tasks failed\n")
    assert "where the time went" not in run.stderr


def test_run_gives_the_coordinator_to_a_function_that_takes_two(
    command: RunProgram, pipeline: Path
) -> None:
    """(graph, coordinator), and the loops are those of the module."""
    run = command("run", "pipeline:two", "--quiet", cwd=pipeline)

    assert (run.stdout, run.stderr, run.returncode) == ("{'http': (4, True)}\n", "", 0)


def test_run_loop_options_change_and_add_loops(command: RunProgram, pipeline: Path) -> None:
    """--loop takes concurrency and processes, and keeps what the module says of the functions."""
    run = command(
        "run", "pipeline:two", "--quiet", "--loop", "http=7", "--loop", "x=1", cwd=pipeline
    )
    assert (run.stdout, run.stderr, run.returncode) == ("{'http': (7, True)}\n", "", 0)

    run = command("run", "pipeline:loops", "--quiet", "--loop", "more=3x2", cwd=pipeline)
    assert run.stdout == "[('more', 0, 2), ('more', 1, 1)]\n"
    assert (run.stderr, run.returncode) == ("", 0)


def test_run_draws_traces_and_tells_the_critical_path(
    command: RunProgram, pipeline: Path, tmp_path: Path
) -> None:
    options = ("--draw", f"{tmp_path}/g.svg", "--trace", f"{tmp_path}/t.json", "--critical-path")
    run = command("run", "pipeline:build", *options, cwd=pipeline)
    assert run.returncode == 1, run.stderr  # a page is missing
    assert re.search(r"\d\.\d{3} s in \d+ steps, of which", run.stdout), run.stdout
    assert re.search(
        r"^ +\d+\.\d{3} +\d+\.\d{3}  total \(\d+\) in default/0", run.stdout, re.MULTILINE
    )
    assert (tmp_path / "g.svg").read_text().startswith("<svg")
    assert json.loads((tmp_path / "t.json").read_text())["otherData"]["graph"] == "pipeline:build"


@pytest.mark.parametrize(
    ("option", "file", "told"),
    [
        ("--draw", "g.gif", "'g.gif' is not a .svg or .png or .html or .dot or .mmd file"),
        ("--trace", "t.txt", "'t.txt' is not a .json or .json.gz file"),
        ("--trace", "missing/t.json", "'missing/t.json': there is no folder 'missing'"),
        ("--trace", ".json", "'.json' is not a .json or .json.gz file"),
    ],
)
def test_run_says_before_it_runs_what_it_cannot_write(
    command: RunProgram, pipeline: Path, option: str, file: str, told: str
) -> None:
    run = command("run", "pipeline:build", option, file, cwd=pipeline)
    assert (run.stdout, run.returncode) == ("", 2)
    assert told in run.stderr


def test_run_tells_the_result_also_if_a_file_cannot_be_written(
    command: RunProgram, pipeline: Path
) -> None:
    """And writes the other one. What the suffix says, it says in capitals too."""
    (pipeline / "g.dot").mkdir()
    files = ("--draw", "g.dot", "--trace", "T.JSON")
    run = command("run", "pipeline:name", "--quiet", *files, cwd=pipeline)
    assert (run.stdout, run.returncode) == ("pipeline:name\n", 1)
    assert run.stderr.startswith("trio-actor-graph run: g.dot cannot be written: ")
    assert len(run.stderr.splitlines()) == 1
    assert json.loads((pipeline / "T.JSON").read_text())["otherData"]["tasks"] == 0


def test_run_says_what_a_picture_needs(command: RunProgram, pipeline: Path) -> None:
    """Without the library that lays out there is no traceback, and all else is there."""
    (pipeline / "igraph.py").write_text("raise ModuleNotFoundError('no', name='igraph')")
    run = command("run", "pipeline:name", "--quiet", "--draw", "g.svg", cwd=pipeline)
    assert (run.stdout, run.returncode) == ("pipeline:name\n", 1)
    assert run.stderr == (
        "trio-actor-graph run: g.svg cannot be written: a .svg picture needs igraph and pillow, "
        "the extra 'draw' (no): uv add trio-actor-graph --extra draw; the README has the line for "
        "pip; .dot and .mmd need nothing\n"
    )


def test_run_tells_all_also_if_the_result_cannot_be_loaded(
    command: RunProgram, pipeline: Path
) -> None:
    run = command("run", "pipeline:odd", cwd=pipeline)
    assert run.returncode == 1
    assert "1 task failed\n" in run.stdout
    assert re.fullmatch(
        r"PayloadError: the result of 'make_odd' \(task \d+\) cannot be decoded: "
        r"OSError: no such device\n",
        run.stderr,
    )


@pytest.mark.parametrize(
    ("options", "name"), [((), "pipeline:name"), (("--name", "nightly"), "nightly")]
)
def test_run_names_the_graph(
    command: RunProgram, pipeline: Path, options: tuple[str, ...], name: str
) -> None:
    """The graph is called as asked, else as what built it. A graph without tasks is no error."""
    run = command("run", "pipeline:name", *options, "--quiet", cwd=pipeline)

    assert (run.stdout, run.stderr, run.returncode) == (f"{name}\n", "", 0)


def test_run_tells_in_short_that_the_function_met_a_failed_task(
    command: RunProgram, pipeline: Path
) -> None:
    """The failed task is in the report already, so there is no second traceback."""
    run = command("run", "pipeline:raises", cwd=pipeline)

    assert run.returncode == 1
    assert "1 task failed\n" in run.stdout
    assert re.fullmatch(
        rf"TaskFailed at {pipeline}/pipeline\.py:\d+ in raises: "
        r"task 'fetch' \(\d+\) failed: ValueError: no page \[0\]\n",
        run.stderr,
    )


def test_run_shows_the_traceback_of_a_bug_in_the_function(
    command: RunProgram, pipeline: Path
) -> None:
    """Only frames of the user's code are shown, and what had run is reported."""
    run = command("run", "pipeline:has_a_bug", cwd=pipeline)

    assert run.returncode == 1
    assert "where the time went" in run.stdout
    first, frame, *_, last = run.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert re.fullmatch(rf'  File "{pipeline}/pipeline\.py", line \d+, in has_a_bug', frame)
    assert last == "AttributeError: 'TaskGraph' object has no attribute 'nonsense'"
    assert run.stderr.count("  File ") == 1


def test_run_reports_a_loop_that_cannot_start_once(command: RunProgram, pipeline: Path) -> None:
    """All tasks of the loop share one failure: its cause, and where it is."""
    (pipeline / "broken.py").write_text(
        "from pipeline import *\n"
        "LOOPS = [WorkerLoop('default', setup=setup)]\n"
        "async def build(graph):\n"
        "    for n in range(3):\n"
        "        graph.create_task(square, n)\n"
    )
    run = command("run", "broken:build", cwd=pipeline)

    assert (run.stderr, run.returncode) == ("", 1)
    assert re.search(
        r"\n3 tasks failed\n"
        r"  worker loop 'default' cannot start: OSError: no such database "
        r"\(and 2 others the same way\)\n"
        rf"    at {pipeline}/pipeline\.py:\d+ in setup\n$",
        run.stdout,
    )


def test_run_is_interrupted_quietly(start_program: RunProgram, pipeline: Path) -> None:
    """Ctrl-C stops a plain function in the middle, and nothing is left behind."""
    program = start_program(
        Path("trio_actor_graph"), "run", "pipeline:sleeps", python_options=["-m"], cwd=pipeline
    )
    program.wait_stdout(r"0 of 1 tasks ended, 1 running")
    program.interrupt()
    run = program.wait(5)

    assert (run.stderr, run.returncode) == ("", 128 + signal.SIGINT)


def test_run_is_interrupted_quietly_in_a_terminal(run_program: RunProgram, pipeline: Path) -> None:
    """A Ctrl-C that is typed does the same, and the terminal gets its cursor back."""
    run = _run_in_terminal(run_program, "run", "pipeline:sleeps", cwd=pipeline, interrupt="1 of 1")

    assert (run.stderr, run.returncode) == ("", 128 + signal.SIGINT)
    assert run.stdout.rindex("\x1b[?25h") > run.stdout.rindex("\x1b[?25l")
    assert "Traceback" not in run.stdout


# Bad arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing:build"], "there is no module 'nothing', neither in {folder} nor installed"),
        (["pipeline.x:build"], "there is no module 'pipeline.x', neither in"),
        (["pipeline:nothing"], "module 'pipeline' ({folder}/pipeline.py) has no 'nothing'"),
        (["pipeline:not_async"], "'pipeline:not_async' is not an async function"),
        (["pipeline:LOOPS"], "'pipeline:LOOPS' is not an async function"),
        (["pipeline:takes_none"], "can be called neither with a graph nor with a graph and a"),
        (["pipeline"], "'pipeline' is not MODULE:ASYNC_FUNCTION"),
        (["pipeline:build", "--loop", "http"], "'http' is not NAME=CONCURRENCY[xPROCESSES]"),
        (["pipeline:build", "--loop", "http=1x3"], "concurrency 1 leaves some of its 3 processes"),
        (["pipeline:build", "--loop", "http=0"], "concurrency must be an integer from 1"),
    ],
)
def test_run_says_what_is_wrong_with_its_arguments(
    command: RunProgram, pipeline: Path, arguments: list[str], message: str
) -> None:
    """Exit status 2, no traceback, nothing on stdout."""
    run = command("run", *arguments, cwd=pipeline)

    assert message.format(folder=pipeline) in run.stderr
    assert "Traceback" not in run.stderr
    assert (run.stdout, run.returncode) == ("", 2)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("import json\n\n1 / 0\n", ['broken.py", line 3', "ZeroDivisionError: division by zero"]),
        ("import no_such_thing\n", ['broken.py", line 1', "No module named 'no_such_thing'"]),
        ("raise SystemExit(0)\n", ['broken.py", line 1', "module 'broken' cannot be imported"]),
        ("LOOPS = 5\nasync def build(graph): ...\n", ["LOOPS: worker_loops must be an iterable"]),
    ],
)
def test_run_says_what_is_wrong_with_the_module(
    command: RunProgram, tmp_path: Path, text: str, messages: list[str]
) -> None:
    """A module that fails at import is not a missing one: its traceback is shown."""
    (tmp_path / "broken.py").write_text(text)
    run = command("run", "broken:build", cwd=tmp_path)

    for message in messages:
        assert message in run.stderr
    assert "/trio_actor_graph/" not in run.stderr  # a frame of ours
    assert (run.stdout, run.returncode) == ("", 2)


# The rest


def test_help_shows_examples(command: RunProgram) -> None:
    """--help is enough to begin; no command at all shows the same, as an error."""
    run = command("--help")
    assert (run.stderr, run.returncode) == ("", 0)
    assert "trio-actor-graph run pipeline:build --loop http=20" in run.stdout

    nothing = command()
    assert (nothing.stdout, nothing.stderr, nothing.returncode) == ("", run.stdout, 2)

    run = command("run", "--help")
    assert (run.stderr, run.returncode) == ("", 0)
    assert "`await function(graph, coordinator)` if it\ntakes two" in run.stdout


def test_version_names_what_it_runs_on(command: RunProgram) -> None:
    """A bug report needs the versions of trio and tractor too."""
    run = command("--version")

    assert (run.stderr, run.returncode) == ("", 0)
    assert re.fullmatch(
        r"trio-actor-graph \S.* \(Python [\d.]+, trio [\d.]+, tractor \S+\)\n", run.stdout
    )


def test_a_broken_display_does_not_concern_the_run(run_program: RunProgram) -> None:
    """Whatever the terminal does, live or not, the body returns and raises what it would."""
    run = run_program(
        """
        import io
        import time
        import trio
        from rich.console import Console
        from trio_actor_graph import open_coordinator
        from trio_actor_graph.observe.progress import show_progress

        class Broken(io.StringIO):
            def __init__(self, terminal):
                super().__init__()
                self.terminal = terminal
            def isatty(self):
                return self.terminal
            def write(self, text):
                raise OSError(5, "the terminal is gone")

        async def main():
            loops = {"default": 1}
            for terminal in (True, False):
                console = Console(file=Broken(terminal), force_terminal=terminal)
                async with open_coordinator(loops) as coordinator:
                    async with coordinator.open_graph("g") as graph:
                        async with show_progress(graph, coordinator, console):
                            print(await graph.create_task(len, "four").result())
                            await trio.sleep(0.3)
                    try:
                        async with coordinator.open_graph("h") as graph:
                            async with show_progress(graph, coordinator, console):
                                raise KeyError("the body's own")
                    except KeyError as error:
                        print(repr(error))

        trio.run(main)
        """
    )

    assert (run.stderr, run.returncode) == ("", 0)
    assert run.stdout == '4\nKeyError("the body\'s own")\n' * 2


# Logs


def test_logs_shows_the_lines_of_tasks_as_a_tree(command: RunProgram, pipeline: Path) -> None:
    """What they have printed, too; and exits as `run` does."""
    run = command("logs", "pipeline:logs", cwd=pipeline)

    assert (run.stderr, run.returncode) == ("", 1)
    text = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "TIME", run.stdout)
    tree = re.sub(r"(?<=[a-z]) \d+(?= succeeded)", "", text[text.index("pipeline:logs ") :])
    assert tree.splitlines()[:7] == [
        "pipeline:logs  4 lines of 2 tasks",
        "└── chatty succeeded",
        "    TIME INFO     pipeline number 1",
        "    TIME INFO     trio_actor_graph.stdout printed 1",
        "    └── second succeeded",
        "        TIME INFO     pipeline number 2",
        "        TIME INFO     trio_actor_graph.stdout printed 2",
    ]
    assert "1 task failed" in tree


def test_logs_shows_those_asked_for(command: RunProgram, pipeline: Path) -> None:
    run = command("logs", "pipeline:logs", "--level", "debug", "--task", "second", cwd=pipeline)

    assert "looking at 2" in run.stdout
    assert "looking at 1" not in run.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--task", "third"], "no task 'third': there were 'chatty', 'second', 'fails'"),
        (["--level", "loud"], "'loud' is not a level"),
    ],
)
def test_logs_says_what_there_is_not(
    command: RunProgram, pipeline: Path, arguments: list[str], told: str
) -> None:
    run = command("logs", "pipeline:logs", *arguments, cwd=pipeline)

    assert run.returncode == 2
    assert told in run.stderr


def _run_in_terminal(
    run_program: RunProgram, *arguments: str, interrupt: str = "", **options: Any
) -> Any:
    """Runs the command line in a pseudo-terminal; what appears there is the stdout of what we get.

    Args:
        interrupt: once this has appeared, Ctrl-C is typed.
    """
    return run_program(
        """
        import os, pty, sys

        seen = b""
        interrupt = sys.argv[1].encode()

        def read(terminal):
            global seen, interrupt
            data = os.read(terminal, 65536)
            seen += data
            if interrupt and interrupt in seen:
                interrupt = b""
                os.write(terminal, b"\\x03")
            return data

        command = [sys.executable, "-m", "trio_actor_graph", *sys.argv[2:]]
        sys.exit(os.waitstatus_to_exitcode(pty.spawn(command, read)))
        """,
        interrupt,
        *arguments,
        env={"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", "NO_COLOR": ""},
        **options,
    )


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
