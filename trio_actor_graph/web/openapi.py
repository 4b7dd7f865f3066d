"""The OpenAPI 3.1 document, written out of the table of routes and of the types it names."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from trio_actor_graph.web import types as web_types
from trio_actor_graph.web.answers import JSON
from trio_actor_graph.web.docstrings import described
from trio_actor_graph.web.idempotency import KEY_CHARACTERS_MAX
from trio_actor_graph.web.problems import KINDS
from trio_actor_graph.web.problems import MEDIA_TYPE as PROBLEM
from trio_actor_graph.web.routing import Route
from trio_actor_graph.web.types import Event, Problem

_REF: Final = "#/components/schemas/{name}"

ANY_ROUTE: Final = (
    "bad-request",
    "bad-parameter",
    "unauthorized",
    "forbidden-host",
    "forbidden-origin",
    "request-timeout",
    "body-too-large",
    "head-too-large",
    "internal",
    "shutting-down",
    "too-many-connections",
)
"""What any route may answer, whatever it does."""

ANY_BODY: Final = ("bad-json", "unsupported-media-type")


def openapi_document(routes: Sequence[Route], version: str, needs_token: bool) -> bytes:
    """The document as JSON.

    Args:
        needs_token: clients have to send one.
    """
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(types, schemas, strict=True))
    for name, schema in components.items():
        _describe(schema, getattr(web_types, name))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "trio-actor-graph",
            "version": version,
            "description": "Task graphs of one coordinator: their state, results and events, and "
            "new tasks. Times are Unix seconds, durations are seconds.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return msgspec.json.encode(document)


def _describe(schema: dict[str, Any], struct: type) -> None:
    """Write down what the docstring of a struct says where readers of a schema look for it."""
    head, attributes = described(struct)
    schema["description"] = head
    for name, text in attributes.items():
        schema["properties"][name]["description"] = text


def _types(routes: Iterable[Route]) -> Iterable[Any]:
    yield Problem
    yield Event
    for route in routes:
        if route.body is not None:
            yield route.body
        yield from (answer for answer in route.answers.values() if _is_struct(answer))


def _is_struct(answer: Any) -> bool:
    return isinstance(answer, type) and issubclass(answer, msgspec.Struct)


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_headers(route)],
        "responses": _responses(route, schema_of),
    }
    if route.description:
        operation["description"] = route.description
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.is_body_optional,
            "content": {JSON: {"schema": schema_of[route.body]}},
        }
    return operation


def _path_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in route.path_names:
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"The uid of the {name}.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 2**53 - 1},
        }


def _query_parameters(route: Route) -> Iterable[dict[str, Any]]:
    _, components = msgspec.json.schema_components([route.query], ref_template=_REF)
    for name, schema in components[route.query.__name__]["properties"].items():
        described = _find(schema, "description")
        parameter = {"name": name, "in": "query", "required": False, "schema": _flat(schema)}
        if described is not None:
            parameter["description"] = described
        yield parameter


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema: one that may be left out cannot be null on top of it."""
    schema = {key: value for key, value in schema.items() if key != "description"}
    options = [each for each in schema.pop("anyOf", []) if each.get("type") != "null"]
    if options:
        schema = {key: value for key, value in options[0].items() if key != "description"}
    elif schema.get("default", ...) is None:
        del schema["default"]
    return schema


def _find(schema: dict[str, Any], key: str) -> Any:
    if key in schema:
        return schema[key]
    return next((each[key] for each in schema.get("anyOf", ()) if key in each), None)


def _headers(route: Route) -> Iterable[dict[str, Any]]:
    for name, description in route.headers.items():
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": {"type": "string"},
        }
    if route.has_key:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "Any text of your own: the request is done once, and all that have the "
            "same key get the answer of the first.",
            "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX},
        }


def _responses(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    responses = {}
    for status, answer in route.answers.items():
        responses[str(status)] = _response(status, answer, schema_of)
    kinds = [*route.problems, *ANY_ROUTE, *(ANY_BODY if route.body is not None else ())]
    if route.has_key:
        kinds.append("key-reused")
    by_status: dict[int, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(KINDS[kind].status, []).append(kind)
    for status, names in sorted(by_status.items()):
        responses[str(status)] = {
            "description": "; ".join(f"{KINDS[name].title} (/problems/{name})" for name in names),
            "content": {PROBLEM: {"schema": schema_of[Problem]}},
        }
    return responses


def _response(status: int, answer: Any, schema_of: dict[Any, Any]) -> dict[str, Any]:
    if answer is None:
        return {"description": _DESCRIPTIONS[status]}
    if isinstance(answer, str):
        text: dict[str, Any] = {"schema": {"type": "string"}}
        return {"description": f"{answer.partition(';')[0]}.", "content": {answer: text}}
    if not _is_struct(answer):
        return {"description": "JSON.", "content": {JSON: {"schema": {}}}}
    description = (inspect.getdoc(answer) or "").partition("\n")[0]
    return {"description": description, "content": {JSON: {"schema": schema_of[answer]}}}


_DESCRIPTIONS: Final = {204: "It is done.", 304: "Nothing has changed."}
