"""End to end: who sends something wrong over HTTP is told what, where, and what would be right."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from http_cases import Serving, is_problem, serving

from trio_actor_graph.web import types
from trio_actor_graph.web.docstrings import described
from trio_actor_graph.web.mistakes import wrong_json
from trio_actor_graph.web.types import NewTasks

STATES = "'cancelled', 'failed', 'ready', 'running', 'skipped', 'succeeded', 'waiting'"


@pytest.fixture
async def s() -> AsyncIterator[Serving]:
    async with serving() as s:
        yield s


async def post(s: Serving, body: bytes) -> str:
    """What is told of a body that is no JSON of tasks."""
    headers = {"Content-Type": "application/json"}
    answer = await s.http.post("/v1/graphs", content=body, headers=headers)
    detail: str = is_problem(answer, 400, "bad-json")["detail"]
    return detail


# ---- words -----------------------------------------------------------------------------------


async def test_a_word_that_is_none_of_some_is_told_with_them(s: Serving) -> None:
    graph, (task,) = await s.create({"function": "add", "args": [1]})
    for path, parameters, detail in [
        (
            "/v1/graphs",
            {"state": ["idle", "happy"]},
            (
                "a parameter: Invalid enum value 'happy', it must be one of 'cancelled', 'closed', "
                "'idle', 'running', 'stalled' - at `$.state[1]`"
            ),
        ),
        (
            f"/v1/graphs/{graph}/tasks",
            {"state": "happy"},
            (
                f"a parameter: Invalid enum value 'happy', it must be one of {STATES} "
                "- at `$.state[0]`"
            ),
        ),
        (
            f"/v1/graphs/{graph}/tasks/{task}/logs",
            {"scope": "all"},
            (
                "a parameter: Invalid enum value 'all', it must be one of 'ancestors', "
                "'descendants', 'task' - at `$.scope`"
            ),
        ),
        ("/v1/graphs", {"limit": "x"}, "a parameter: Expected `int`, got `str` - at `$.limit`"),
    ]:
        problem = is_problem(await s.http.get(path, params=parameters), 400, "bad-parameter")
        assert problem["detail"] == detail
        assert "parameter" in problem["title"]
        assert "HTTP" not in problem["title"]


async def test_a_level_that_is_none_is_told_with_those_that_are(s: Serving) -> None:
    """In order; those that libraries have added too."""
    graph, _ = await s.create()
    answer = await s.http.get(f"/v1/graphs/{graph}/logs", params={"level": "LOUD"})
    detail = is_problem(answer, 400, "bad-parameter")["detail"]
    told = re.fullmatch(
        r"there is no log level 'LOUD': it must be one of (.+), or a number from 0 to [\d,]+",
        detail,
    )
    assert told is not None
    levels = [logging.getLevelName(name) for name in told[1].split(", ")]
    assert levels == sorted(levels)
    assert {10, 20, 30, 40, 50} <= set(levels)


async def test_words_in_bodies_too(s: Serving) -> None:
    assert await post(s, b'{"on_failure": "raise"}') == (
        "Invalid enum value 'raise', it must be one of 'cancel', 'continue' - at `$.on_failure`"
    )
    assert "unknown field" in await post(s, b'{"on_failures": "raise"}')


# ---- text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        rb"\ud800",
        rb"\ud800abcdefgh",
        rb"\uDFFFabcdefgh",
        rb"\ud800\u0041",
        rb"\ud800\ud83d\ude00",
        rb"\\\\\ud800",
    ],
)
async def test_half_a_surrogate_pair_is_named(s: Serving, text: bytes) -> None:
    """In a name, where `text` stands, or in an argument."""
    for before in (b'{"name": "', b'{"tasks": [{"function": "echo", "args": ["'):
        after = b'"}' if b"tasks" not in before else b'"]}]}'
        detail = await post(s, before + text + after)
        at = len(before) + text.lower().index(rb"\ud")
        escape = text[at - len(before) :][:6].decode()
        assert detail.startswith(f"the escape {escape} at byte {at} is half of a surrogate pair")


async def test_whole_pairs_and_written_backslashes_are_fine(s: Serving) -> None:
    body = rb'{"name": "\ud83d\ude00 \\ud800"}'
    headers = {"Content-Type": "application/json"}
    answer = await s.http.post("/v1/graphs", content=body, headers=headers)
    assert answer.json()["graph"]["name"] == "\U0001f600 \\ud800"
    assert await post(s, rb'{"name": "\\ud800"') == "Input data was truncated"
    assert "malformed" in await post(s, rb'{"name": "\\ud800" x}')


@pytest.mark.parametrize("before", [b'{"name": "', b'{"nam', b'{"name": "xyz\xc3\xa4'])
async def test_bytes_that_are_no_utf_8_are_told_by_their_place(s: Serving, before: bytes) -> None:
    assert await post(s, before + b'\xff": 1}') == (
        f"it is not UTF-8: invalid start byte, 0xff, at byte {len(before)}"
    )


def test_a_large_body_of_escapes_is_looked_through_at_once() -> None:
    """Sixteen megabytes of what looks like the begin of something takes no second."""
    for part in (b"\\", b"\\u", b"\\ud800\\udc00", b"\\\\ud800"):
        body = part * (16 * 2**20 // len(part))
        assert wrong_json(ValueError("as it was"), body, NewTasks) == "as it was"


# ---- the document ----------------------------------------------------------------------------


async def schemas_of(s: Serving) -> dict[str, Any]:
    found: dict[str, Any] = (await s.get("/openapi.json"))["components"]["schemas"]
    return found


async def test_descriptions_are_no_docstrings(s: Serving) -> None:
    """The head describes the schema, and what is said of each attribute describes that."""
    schemas = await schemas_of(s)
    for name, schema in schemas.items():
        texts = [schema["description"]]
        texts += [each.get("description", "") for each in schema["properties"].values()]
        for text in texts:
            assert "Attributes:" not in text, name
            assert "``" not in text, name
            assert "\n " not in text, name
        head, attributes = described(getattr(types, name))
        assert schema["description"] == head
        documented = {n for n, each in schema["properties"].items() if "description" in each}
        assert documented == set(attributes)
        doc = inspect.getdoc(getattr(types, name)) or ""
        assert sum(map(len, texts)) > 0.6 * len(doc)  # nothing of it is lost
    new = schemas["NewTask"]
    assert new["description"] == "One task to push."
    assert new["properties"]["priority"]["description"].startswith(
        "of the tasks that are ready, those with larger numbers run first"
    )
    assert new["properties"]["kwargs"] == {
        **new["properties"]["kwargs"],
        "description": new["properties"]["args"]["description"],
    }
    assert '`{"$result": TASK}`' in new["properties"]["args"]["description"]


async def test_all_that_can_be_sent_is_described(s: Serving) -> None:
    schemas = await schemas_of(s)
    for name in ("NewGraph", "NewTask", "RetryOptions", "TasksCondition"):
        for field, schema in schemas[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"
