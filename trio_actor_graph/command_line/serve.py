"""What `trio-actor-graph serve` does: open a coordinator, and serve it over HTTP until a signal."""

from __future__ import annotations

import argparse
import inspect
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Final, cast

from trio_actor_graph.command_line.target import BadArguments, find_target, takes

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.web.server import HttpServer

EXIT_INTERRUPTED: Final = 128 + signal.SIGINT

Factory = Callable[[], "AbstractAsyncContextManager[Coordinator]"]

SERVE_HELP: Final = """\
Open a coordinator, and serve it over HTTP until Ctrl-C or SIGTERM.

The function is called without arguments and returns what `open_coordinator(...)` returns. Other
programs push tasks of the functions that it registers, read their results and follow the events.
By default the server listens at a Unix socket that only this user can use; with --port it listens
on this machine, and wants the token from a file that only this user can read.

  # service.py
  from trio_actor_graph import WorkerLoop, open_coordinator

  def count(text): ...

  def coordinator():
      return open_coordinator([WorkerLoop("default", processes=4)], functions=[count])
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `serve` takes."""
    parser.add_argument("target", metavar="MODULE:FUNCTION", help="what returns the coordinator")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--socket", metavar="PATH", help="where to put the Unix socket")
    where.add_argument(
        "--port", type=int, metavar="N", help="listen at this port instead; 0 takes a free one"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="with --port: at which address"
    )
    parser.add_argument(
        "--token-file",
        metavar="PATH",
        help="with --port: the file of the token, made if it is not there; by default a new one",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="listen at an address that other machines can reach, although nothing is encrypted",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a name by which clients call the server, besides localhost; repeatable",
    )


def serve(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes, and return the exit status.

    Raises:
        BadArguments: there is no such function, or it does not return a coordinator; or the server
            cannot listen there.
    """
    import trio

    factory = _load_factory(arguments.target)
    signals: list[int] = []
    errors: list[Exception] = []
    trio.run(_serve_until_signal, factory, arguments, signals, errors)
    if errors:
        raise errors[0]
    return EXIT_INTERRUPTED if signals == [signal.SIGINT] else 0


async def _serve_until_signal(
    factory: Factory, arguments: argparse.Namespace, signals: list[int], errors: list[Exception]
) -> None:
    """Serve until a signal comes, which is noted, or something goes wrong, which is noted too."""
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async with trio.open_nursery() as nursery:

            async def stop_at_signal() -> None:
                async for number in received:
                    if not signals:
                        signals.append(number)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(stop_at_signal)
            try:
                await _serve(factory, arguments)
            except Exception as error:  # noqa: BLE001  a nursery would wrap it in a group
                errors.append(error)
            nursery.cancel_scope.cancel()


async def _serve(factory: Factory, arguments: argparse.Namespace) -> None:
    import trio

    from trio_actor_graph.errors import GraphError

    opened = _call(factory, arguments.target)
    if not isinstance(opened, AbstractAsyncContextManager):
        raise BadArguments(
            f"{arguments.target!r} must return what open_coordinator() does, not {opened!r}"
        )
    async with opened as coordinator, AsyncExitStack() as stack:
        try:
            serving = coordinator.serve_http(
                arguments.socket,
                host=arguments.host,
                port=arguments.port,
                token_path=arguments.token_file,
                allow_remote=arguments.allow_remote,
                hosts=arguments.name,
            )
            server = await stack.enter_async_context(serving)
        except GraphError as error:
            raise BadArguments(_in_a_shell(str(error))) from None
        _tell_where(server)
        await trio.sleep_forever()


def _call(factory: Factory, target: str) -> AbstractAsyncContextManager[Coordinator]:
    try:
        return factory()
    except TypeError:
        # Asked only now, because a decorator may give what the signature of the function wants.
        if takes(factory, 0):
            raise
        raise BadArguments(
            f"{target!r} is called without arguments, but wants some: {inspect.signature(factory)}"
        ) from None


def _in_a_shell(complaint: str) -> str:
    """What `serve_http` says of its arguments, in the words of this command."""
    return complaint.replace("allow_remote=True", "--allow-remote")


def _tell_where(server: HttpServer) -> None:
    if server.socket_path is not None:
        print(f"serving at {server.socket_path}")  # noqa: T201
        print(f"  curl --unix-socket {server.socket_path} http://localhost/v1/health")  # noqa: T201
    else:
        print(f"serving at {server.url}")  # noqa: T201
        print(f"  the token is in {server.token_path}; in a browser: {server.url}/login")  # noqa: T201
    sys.stdout.flush()


def _load_factory(target: str) -> Factory:
    _, function = find_target(target, "MODULE:FUNCTION")
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise BadArguments(f"{target!r} is not a function that returns a coordinator")
    return cast("Factory", function)
