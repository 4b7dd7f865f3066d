"""Core: each part of the package imports what its place allows, and nothing else.

Read by `ast`, so nothing is imported here, and imports inside functions count as well. Those under
`if TYPE_CHECKING:` do not: they are never run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "trio_actor_graph"
ROOT = Path(__file__).parents[2]

# Modules of the standard library that wait, draw lots, or look at or change the world around.
OUTSIDE = (
    *("asyncio", "concurrent", "datetime", "http", "io", "logging", "multiprocessing", "os"),
    *("pathlib", "queue", "random", "secrets", "select", "selectors", "shutil", "signal"),
    *("socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"),
)


@dataclass(frozen=True)
class Rule:
    """What the modules below `where` may not import, or the only things that they may."""

    where: str
    why: str
    never: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None  # of third parties and of this package; None for anything
    yet: tuple[str, ...] = ()  # what they may import in spite of `never`
    but: tuple[str, ...] = ()  # modules below `where` that the rule is not for


def ours(*names: str) -> tuple[str, ...]:
    return tuple(f"{PACKAGE}.{name}" for name in names)


RULES = [
    Rule(
        "errors",
        "everybody imports it",
        only=(),
        never=OUTSIDE,
    ),
    Rule("extras", "who lacks one has little else", only=(), never=OUTSIDE),
    Rule(
        "graph",
        "the core is pure",
        only=("msgspec", *ours("errors", "graph")),
        never=OUTSIDE,
        but=("graph.lifecycle_doc",),
    ),
    Rule(
        "messages",
        "messages are data",
        only=("msgspec", *ours("errors", "graph", "outcome")),
        never=(*OUTSIDE, *ours("graph.scheduler", "graph.records", "graph.commands")),
    ),
    Rule(
        "",
        "actors.py is the only file that knows tractor",
        never=("tractor",),
        but=("actors",),
    ),
    Rule(
        "worker",
        "a worker starts light, and knows nothing of who sends it tasks",
        never=ours(
            "classic",
            "coordinator",
            "engine",
            "graph.scheduler",
            "graph.records",
            "graph.placement",
            "graph.stories",
            "handles",
            "observe",
            "results",
            "web",
        ),
    ),
    Rule(
        "engine",
        "an engine runs attempts and decides nothing",
        never=ours("classic", "coordinator", "graph.scheduler", "handles", "observe", "web"),
    ),
    Rule("engine.settings", "actors.py stands on it", only=()),
    Rule("engine.deferred", "actors.py stands on it", only=()),
    Rule(
        "engine.actor_life",
        "actors.py stands on it",
        only=("trio", *ours("engine.actor_process", "engine.shared_runtime")),
    ),
    Rule("engine.shared_runtime", "actors.py stands on it", only=("trio", *ours("errors"))),
    Rule(
        "engine.actor_process",
        "actors.py stands on it",
        only=("trio", *ours("engine.settings", "worker.boot")),
    ),
    Rule(
        "observe",
        "an observer reads, and changes nothing",
        never=(
            "tractor",
            *ours("actors", "coordinator", "engine", "graph.scheduler", "web", "worker"),
        ),
        yet=ours("coordinator.Coordinator"),
    ),
    Rule(
        "observe.drawing",
        "a picture is made of records, and decides nothing",
        only=(
            *("PIL", "igraph", "msgspec"),
            *ours("errors", "extras", "graph", "observe.drawing", "observe.files"),
        ),
        never=("logging", "random", "subprocess", "time", *ours("graph.scheduler")),
    ),
    *(
        Rule(
            f"observe.drawing.{module}",
            "what a picture shows is worked out without the world around",
            never=OUTSIDE,
        )
        for module in (
            *("dot", "folding", "grouping", "layout", "measuring", "mermaid", "picture", "scene"),
            *("seeing", "stages", "style", "svg", "untangling", "wiring"),
        )
    ),
    *(
        Rule(
            f"observe.drawing.{module}",
            "it can be drawn where igraph and Pillow are missing",
            only=("msgspec", *ours("errors", "graph", "observe.drawing")),
        )
        for module in (
            *("dot", "folding", "grouping", "measuring", "mermaid", "picture", "seeing", "stages"),
            *("style", "wiring"),
        )
    ),
    Rule(
        "web",
        "the HTTP face stands on the public names, and unpickles nothing",
        never=("cloudpickle", "pickle", *ours("actors", "engine", "graph.scheduler", "worker")),
        yet=ours("engine.sockets.private_folder"),
    ),
    Rule(
        "client",
        "a client runs where no server is installed, and knows of it what travels",
        only=(
            "httpx",
            "msgspec",
            "trio",
            *ours("client", "errors", "extras", "graph.states", "web.types"),
        ),
    ),
    Rule(
        "web.types",
        "what travels is data",
        only=("msgspec", *ours("checks", "graph.states")),
        never=OUTSIDE,
    ),
    Rule(
        "classic",
        "the original API stands on the public names",
        never=("tractor", *ours("actors", "engine", "graph.scheduler", "worker")),
    ),
    Rule(
        "command_line",
        "the command line stands on the public names",
        never=("tractor", *ours("actors", "engine", "graph.scheduler", "worker")),
    ),
    Rule(
        "__main__",
        "the commands are small: the rest is in command_line",
        only=ours("command_line", "demo"),
    ),
    Rule(
        "coordinator",
        "the coordinator stands below its faces",
        never=("hypercorn", "starlette", *ours("classic", "testing", "web")),
        yet=ours("web.limits.HttpLimits", "web.server.open_server"),  # when somebody asks for them
    ),
    Rule(
        "logs",
        "workers and observers use it",
        only=("msgspec", *ours("errors")),
        never=tuple(name for name in OUTSIDE if name != "logging"),
    ),
    Rule(
        "log_delivery",
        "it makes records and lines, and leaves the rest to the coordinator",
        never=("trio", *ours("coordinator", "engine", "graph.scheduler", "handles", "observe")),
    ),
    Rule(
        "carrying",
        "workers use it, and no library is imported to see whether it is used",
        only=("opentelemetry", *ours("complaints", "errors", "payload")),
    ),
    Rule("payload", "values to bytes and back", never=("trio", *ours("coordinator", "worker"))),
    Rule("buffers", "shared memory knows nothing of whose values are in it", only=ours("buffers")),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.where or "everywhere")
def test_each_part_imports_what_it_may(rule: Rule):
    wrong = [
        f"{module} imports {imported}"
        for module, path in modules(rule.where)
        if not any(is_within(module, f"{PACKAGE}.{name}") for name in rule.but)
        for imported in imports_of(path)
        if not is_allowed(imported, rule)
    ]
    assert wrong == [], rule.why


def test_the_core_is_looked_at():
    """A rule that finds no file would hold for ever."""
    names = [name for name, _ in modules("graph")]
    assert f"{PACKAGE}.graph.scheduler" in names


@pytest.mark.parametrize(
    ("line", "imported"),
    [
        ("import trio", ["trio"]),
        ("import a.b as c, d", ["a.b", "d"]),
        ("from trio import Event, sleep", ["trio.Event", "trio.sleep"]),
        ("def f():\n    import time", ["time"]),
        ("from trio_actor_graph.graph import states", ["trio_actor_graph.graph.states"]),
        ("if TYPE_CHECKING:\n    import trio\nelse:\n    import time", ["time"]),
    ],
)
def test_imports_are_found(line: str, imported: list[str], tmp_path: Path):
    (tmp_path / "module.py").write_text(line)
    assert list(imports_of(tmp_path / "module.py")) == imported


def modules(where: str) -> Iterator[tuple[str, Path]]:
    """The module or the modules of the folder `where`: none while it does not exist."""
    place = ROOT / PACKAGE / where.replace(".", "/")
    paths = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    for path in paths:
        if path.exists():
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def imports_of(path: Path) -> Iterator[str]:
    """What the file imports; `from a import b` may mean a module, so it is given as `a.b`."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
        else:
            pending.extend(ast.iter_child_nodes(node))


def is_allowed(imported: str, rule: Rule) -> bool:
    if imported in rule.yet:
        return True
    if any(is_within(imported, name) for name in rule.never):
        return False
    is_standard = imported.partition(".")[0] in sys.stdlib_module_names
    if is_standard or rule.only is None:
        return True
    return any(is_within(imported, name) for name in rule.only)


def is_within(name: str, above: str) -> bool:
    return name == above or name.startswith(f"{above}.")
