"""What tasks have logged, as a tree for people: each task below what led to it, with its lines.

Only tasks with lines are shown, and those that led to them. The tree is built of plain values, so
it can be shown wherever lines and tasks are known.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.text import Text
from rich.tree import Tree

from trio_actor_graph.graph.reading import led_by

if TYPE_CHECKING:
    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.logs import LogLine

TASKS_MAX: Final = 500
"""How many tasks with lines are shown: more than anybody scrolls through."""

LINES_MAX: Final = 40
"""How many lines of a task are shown, half of them its first, half its last."""

DEPTH_MAX: Final = 12
"""How deep tasks are indented; deeper ones stand below one another."""

TEXT_MAX: Final = 2_000
"""How many characters of a line are shown."""

EXCEPTION_LINES_MAX: Final = 15
"""How many lines of a traceback are shown, the last ones."""

_STATE_STYLES: Final = {
    "succeeded": "green",
    "failed": "bold red",
    "skipped": "magenta",
    "cancelled": "magenta",
    "running": "cyan",
}


class TaskNode(NamedTuple):
    """A task in the tree.

    Attributes:
        parent: the uid of the task that led to it; None for none.
    """

    uid: int
    name: str
    state: str
    parent: int | None


def nodes_of(graph: TaskGraph) -> list[TaskNode]:
    """The tasks of a graph."""
    nodes = []
    for task in graph.record.tasks.values():
        before = led_by(task)
        parent = None if before is None else before.uid
        nodes.append(TaskNode(task.uid, task.spec.name, task.state, parent))
    return nodes


def log_tree(
    title: str, nodes: Iterable[TaskNode], lines: Iterable[LogLine], dropped: int = 0
) -> Tree:
    """The lines, each below its task, for rich to print.

    Args:
        title: what it is a tree of.
        nodes: all tasks of which there may be lines, and those that led to them.
        lines: the lines, in order.
        dropped: how many lines there were that are not among them, because there were too many.
    """
    by_uid = {node.uid: node for node in nodes}
    of_task: dict[int, list[LogLine]] = {}
    number = 0
    for line in lines:
        number += 1
        if line.task_uid in by_uid:
            of_task.setdefault(line.task_uid, []).append(line)
    uids = sorted(of_task)
    shown, hidden = uids[:TASKS_MAX], uids[TASKS_MAX:]
    tree = Tree(_title(title, number, len(of_task), dropped), guide_style="dim")
    _Branches(tree, by_uid, of_task).add_all(shown)
    if hidden:
        count = sum(len(of_task[uid]) for uid in hidden)
        tree.add(Text(f"... {len(hidden):,} more tasks with {count:,} lines", "dim"))
    return tree


class _Branches:
    """Puts tasks into the tree, those that led to them first. Chains may be long: no recursion."""

    def __init__(self, tree: Tree, nodes: dict[int, TaskNode], lines: dict[int, list[LogLine]]):
        self._tree = tree
        self._nodes = nodes
        self._lines = lines
        self._branches: dict[int, tuple[Tree, int]] = {}  # and their depth
        self._above: dict[int, Tree] = {}

    def add_all(self, uids: Iterable[int]) -> None:
        for uid in uids:
            for node in reversed(self._missing(uid)):
                self._add(node)

    def _missing(self, uid: int) -> list[TaskNode]:
        """A task and what led to it, as far as it is not in the tree; the task first."""
        path: dict[int, TaskNode] = {}
        at: int | None = uid
        while at is not None and at in self._nodes and at not in self._branches and at not in path:
            path[at] = self._nodes[at]
            at = path[at].parent
        return list(path.values())

    def _add(self, node: TaskNode) -> None:
        above, depth = self._branches.get(node.parent or 0, (self._tree, 0))
        if depth >= DEPTH_MAX:
            branch = self._above[node.parent or 0].add(_label(node, self._lines.get(node.uid, ())))
            self._above[node.uid] = self._above[node.parent or 0]
            self._branches[node.uid] = (branch, depth)
            return
        branch = above.add(_label(node, self._lines.get(node.uid, ())))
        self._above[node.uid] = above
        self._branches[node.uid] = (branch, depth + 1)


def _title(title: str, lines: int, tasks: int, dropped: int) -> Text:
    text = Text(plain(title), "bold")
    text.append(f"  {lines:,} lines of {tasks:,} tasks", "not bold dim")
    if dropped:
        text.append(f", {dropped:,} lines were dropped", "not bold red")
    return text


def _label(node: TaskNode, lines: Sequence[LogLine]) -> Text:
    text = Text(plain(node.name), "bold")
    text.append(f" {node.uid}", "not bold dim")
    text.append(f" {node.state}", f"not bold {_STATE_STYLES.get(node.state, 'dim')}")
    half = LINES_MAX // 2
    if len(lines) <= LINES_MAX:
        first, last = lines, lines[:0]
    else:
        first, last = lines[:half], lines[-half:]
    attempt = 1
    for line in (*first, None, *last):
        if line is None:
            if last:
                hidden = len(lines) - len(first) - len(last)
                text.append(f"\n... {hidden:,} more lines", "not bold dim")
            continue
        if line.attempt > attempt:
            attempt = line.attempt
            text.append(f"\nattempt {attempt}", "not bold yellow")
        text.append("\n").append_text(line_text(line))
    return text


def line_text(line: LogLine, *, with_task: bool = False) -> Text:
    """A line with its time, level and logger, and the last lines of its traceback below.

    Args:
        line: the line.
        with_task: the task and the number of its attempt stand before the logger.
    """
    text = Text()
    at = time.localtime(line.created) if abs(line.created) < 1e11 else time.gmtime(0)
    text.append(
        f"{time.strftime('%H:%M:%S', at)}.{int(line.created % 1 * 1000):03}", "not bold dim"
    )
    text.append(f" {plain(line.level_name)[:8]:<8}", f"not bold {_level_style(line.level)}")
    if with_task and line.task_uid is not None:
        attempt = f" attempt {line.attempt}" if line.attempt > 1 else ""
        text.append(f" {plain(line.task_name)} {line.task_uid}{attempt}", "bold")
    text.append(f" {plain(line.logger)}", "not bold cyan")
    text.append(f" {plain(line.text[:TEXT_MAX])}", "not bold")
    if len(line.text) > TEXT_MAX:
        text.append(f" ... {len(line.text) - TEXT_MAX:,} more characters", "not bold dim")
    for name, value in line.extra.items():
        text.append(f" {plain(name)}={plain(value[:TEXT_MAX])}", "not bold dim")
    if line.exception is not None:
        rows = line.exception.splitlines()
        if len(rows) > EXCEPTION_LINES_MAX:
            text.append("\n  ...", "not bold red")
        for row in rows[-EXCEPTION_LINES_MAX:]:
            text.append(f"\n  {plain(row[:TEXT_MAX])}", "not bold red")
    return text


def _level_style(level: int) -> str:
    if level >= 50:
        return "bold white on red"
    if level >= 40:
        return "bold red"
    if level >= 30:
        return "yellow"
    return "green" if level >= 20 else "dim"


def plain(text: str) -> str:
    """The text without what a terminal would take for commands; line ends stay."""
    if text.isprintable():
        return text
    return "".join(
        c
        if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs")
        else f"\\x{ord(c):02x}"
        for c in text
    )
