"""How much one server takes on: everything that a client could make grow has a bound with a name.

`Coordinator.serve_http(limits=HttpLimits(...))` changes them. What the OpenAPI document says (the
size of a batch and of a page, how long one request may wait) stands in `types` and is fixed.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from trio_actor_graph.errors import GraphError

HEAD_BYTES_MAX: Final = 32 * 1024
"""Request line and headers: browsers send 1 KiB or 2, common servers refuse more than 8 to 64."""

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""A request's body: a full batch of tasks, each with a kilobyte and a half of arguments."""

JSON_DEPTH_MAX: Final = 64
"""How deep objects and lists may be nested: twice what conditions may, and far beyond what people
write; what is deeper is meant to hurt a parser."""

JSON_VALUES_MAX: Final = 250_000
"""How many values a body's JSON may have: 25 for each task of a full batch. What has to be done
with so many takes the program's only thread a second at most."""

CONNECTIONS_MAX: Final = 256
"""Open connections: each costs a descriptor, and programs often may have just 1,024."""

IDLE_SECONDS: Final = 30.0
"""How long a connection may be without a whole request head, also before the first: longer than a
browser pauses, and it makes clients that send a byte now and then a finite nuisance."""

READ_SECONDS: Final = 30.0
"""How long the body of one request may take to arrive: the largest at 4 Mbit/s."""

WRITE_SECONDS: Final = 30.0
"""How long a client may take nothing of what is sent to it before its connection is cut."""

SUBSCRIBERS_MAX: Final = 64
"""Streams of events at a time: each writes up to fifty times a second."""

EVENTS_MAX: Final = 50_000
"""How many events are kept for readers that are slow or come back: some 30 MB, and a second of the
fastest run that was measured."""

EVENTS_BYTES_MAX: Final = 64 * 1024 * 1024
"""How large they may be in all: twice what so many usual ones take, and 10,000 log lines of the
largest size that an event has."""

EVENTS_KEPT_SECONDS: Final = 60.0
"""How long events are still gathered when the last reader has gone, so that it can come back and
miss nothing. Afterwards nothing is gathered, and a run costs what it costs without a server."""

HEARTBEAT_SECONDS: Final = 15.0
"""How often a stream without events says that it is alive: proxies cut what is silent for 30 s."""

RESULT_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest result, as it is stored and as JSON: encoding it takes some 50 ms of the program's
only thread, in which nothing else happens."""

KEYS_MAX: Final = 10_000
"""How many Idempotency-Keys are remembered, and `KEYS_BYTES_MAX` for what was answered to them."""

KEYS_BYTES_MAX: Final = 64 * 1024 * 1024
"""See `KEYS_MAX`: the answer to a full batch is 300 KB."""

KEYS_SECONDS: Final = 24 * 3600.0
"""How long they are remembered: a client that was down for the night can still ask again."""

SESSIONS_MAX: Final = 100
"""How many browsers may be signed in; the one that was quiet for longest has to do so again."""

SESSION_SECONDS: Final = 12 * 3600.0
"""How long a browser stays signed in after its last request: a day at work."""

REMOTE_GRAPHS_MAX: Final = 1_000
"""How many graphs may be open that were created over HTTP."""

CLOSED_GRAPHS_MAX: Final = 50
"""How many graphs that the app has closed can still be read, without their results."""

CLOSED_TASKS_MAX: Final = 100_000
"""How many tasks they may have in all: some 100 MB."""

CLOSED_LOG_LINES_MAX: Final = 100_000
"""How many log lines they may have in all: about 60 MB."""

CLOSED_LOG_BYTES_MAX: Final = 64 * 1024 * 1024
"""And how large those may be in all: as much as one graph may have (`logs.BYTES_MAX`)."""

OBSERVED_TASKS_MAX: Final = 100_000
"""How many tasks a graph may have whose picture, trace or critical path is asked for: the program
has no time for anything else while that is gathered, about a second for so many."""

OBSERVED_EDGES_MAX: Final = 300_000
"""How many predecessors those tasks may have in all, for the same reason."""


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one server; see the constants of this module for what each is and why."""

    head_bytes: int = HEAD_BYTES_MAX
    body_bytes: int = BODY_BYTES_MAX
    json_depth: int = JSON_DEPTH_MAX
    json_values: int = JSON_VALUES_MAX
    connections: int = CONNECTIONS_MAX
    idle_seconds: float = IDLE_SECONDS
    read_seconds: float = READ_SECONDS
    write_seconds: float = WRITE_SECONDS
    subscribers: int = SUBSCRIBERS_MAX
    events: int = EVENTS_MAX
    events_bytes: int = EVENTS_BYTES_MAX
    events_kept_seconds: float = EVENTS_KEPT_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    result_bytes: int = RESULT_BYTES_MAX
    keys: int = KEYS_MAX
    keys_bytes: int = KEYS_BYTES_MAX
    keys_seconds: float = KEYS_SECONDS
    sessions: int = SESSIONS_MAX
    session_seconds: float = SESSION_SECONDS
    remote_graphs: int = REMOTE_GRAPHS_MAX
    closed_graphs: int = CLOSED_GRAPHS_MAX
    closed_tasks: int = CLOSED_TASKS_MAX
    closed_log_lines: int = CLOSED_LOG_LINES_MAX
    closed_log_bytes: int = CLOSED_LOG_BYTES_MAX
    observed_tasks: int = OBSERVED_TASKS_MAX
    observed_edges: int = OBSERVED_EDGES_MAX

    def __post_init__(self) -> None:
        for name, value in msgspec.structs.asdict(self).items():
            is_time = name.endswith("_seconds")
            is_number = isinstance(value, (int, float) if is_time else int)
            least = 0 if name.startswith(("closed_", "events_kept")) else 1e-9
            if not is_number or isinstance(value, bool) or not least <= value < math.inf:
                what = "positive number" if is_time else "positive whole number"
                raise GraphError(f"HttpLimits: {name} must be a {what}, not {value!r}")
