"""What a picture shows, before anybody decides where it goes or how it is written.

A picture is plain data: nodes and edges, with all texts already cleaned and cut, so that no writer
has to fear a name of ten thousand characters or one that holds a control character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from trio_actor_graph.graph.states import TASK_STATES, TaskState

ConditionState: TypeAlias = Literal["waiting", "open", "shut"]
NodeState: TypeAlias = TaskState | Literal["open", "shut"]
NodeKind: TypeAlias = Literal["task", "group", "condition", "conditions"]
EdgeKind: TypeAlias = Literal["succeeded", "completed", "created", "returned"]

NODE_STATES: Final[tuple[NodeState, ...]] = (*TASK_STATES, "open", "shut")
EDGE_KINDS: Final[tuple[EdgeKind, ...]] = ("succeeded", "completed", "created", "returned")

NAME_CHARACTERS_MAX: Final = 200
"""How much of a name is kept for tooltips and tables. A box shows less, see `style`."""

ERROR_CHARACTERS_MAX: Final = 300
"""How much of an error's first line is kept."""

_FOREMOST: Final[tuple[NodeState, ...]] = (
    "failed",
    "running",
    "ready",
    "waiting",
    "cancelled",
    "skipped",
    "shut",
    "succeeded",
    "open",
)


class Run(NamedTuple):
    """How a task went so far, for tooltips and tables.

    Attributes:
        seconds: how long its last attempt took that has ended; None for none.
        worker: where that ran; "" for nowhere.
        error: the first line of what went wrong; "" for nothing.
    """

    attempts: int = 0
    seconds: float | None = None
    worker: str = ""
    error: str = ""


class Node(NamedTuple):
    """One box of a picture.

    Attributes:
        key: unique in its picture, and fit for an identifier: "t12", "c3", "g7".
        label: its name; of a condition, what it asks for.
        state: of a group, the state of its members that most deserves a look.
        counts: its tasks, or conditions, by state; of a single one, itself.
        stage: the length of the longest way that leads to it.
        function: a number for its function; -1 for a condition.
        uid: the task's; 0 for what is not a single task.
        run: how it went, if it is a single task.
        members: of a group, what was folded into it, in the order of creation.
        edges_inside: how many edges run between members of a group.
    """

    key: str
    kind: NodeKind
    label: str
    state: NodeState
    counts: Mapping[NodeState, int]
    stage: int = 0
    function: int = -1
    uid: int = 0
    run: Run = Run()
    members: tuple[Node, ...] = ()
    edges_inside: int = 0

    @property
    def total(self) -> int:
        """How many tasks, or conditions, it stands for."""
        return sum(self.counts.values())

    @property
    def is_condition(self) -> bool:
        return self.kind in ("condition", "conditions")


class Edge(NamedTuple):
    """An arrow between two nodes, by their keys, in the direction of work.

    Attributes:
        number: how many edges of tasks were merged into it.
    """

    source: str
    target: str
    kind: EdgeKind
    number: int = 1


class Picture(NamedTuple):
    """A graph as it was at one moment.

    Attributes:
        counts: all tasks by state, those that a group hides too.
    """

    title: str
    counts: Mapping[TaskState, int]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @property
    def summary(self) -> str:
        """What it shows, in one sentence for those who cannot see it."""
        total = sum(self.counts.values())
        parts = [f"{number:,} {state}" for state, number in self.counts.items() if number]
        states = f": {', '.join(parts)}" if parts else ""
        tasks = "1 task" if total == 1 else f"{total:,} tasks"
        return f"Task graph {self.title}, {tasks}{states}."


def foremost_state(counts: Mapping[NodeState, int]) -> NodeState:
    """The state among these that most deserves a look: failures, then what is under way."""
    for state in _FOREMOST:
        if counts.get(state):
            return state
    return "waiting"


def clean(text: str, characters_max: int) -> str:
    """A text on one line, without what XML, terminals or the direction of writing would trip over.

    Line ends and tabs become blanks; control characters, lone surrogates and marks that turn the
    direction of writing become U+FFFD. What is too long ends in an ellipsis.
    """
    cut = text[: characters_max + 1]  # before looking at every character of a text of any length
    shown = "".join(map(_clean_character, cut)) if not _is_plain(cut) else cut
    return shown if len(shown) <= characters_max else shown[: characters_max - 1] + "…"


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _clean_character(character: str) -> str:
    if character.isspace():
        return " "
    # Cc control, Cf format, Cs surrogate, Co private use, Cn not assigned. Two joiners of the
    # group Cf (U+200C, U+200D) belong to letters and emoji.
    if unicodedata.category(character)[0] == "C" and character not in "\u200c\u200d":
        return "\ufffd"
    return character
