"""All routes."""

from __future__ import annotations

from typing import Final

from trio_actor_graph.web import graph_routes, observe_routes, server_routes, task_routes
from trio_actor_graph.web.routing import Route

ROUTES: Final[tuple[Route, ...]] = (
    *graph_routes.ROUTES,
    *task_routes.ROUTES,
    *observe_routes.ROUTES,
    *server_routes.ROUTES,
)
