"""End to end: the Python client uses a real server, which may go away and come back."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import trio
from contract.checkpoints import Cut, at_each_checkpoint
from http_cases import FUNCTIONS, HERE, serving, until

from trio_actor_graph import (
    GraphError,
    ResultReleased,
    RetryPolicy,
    TaskCancelled,
    TaskFailed,
    TaskSkipped,
    open_coordinator,
)
from trio_actor_graph.client import NewTask, RequestFailed, TasksCondition, open_client
from trio_actor_graph.web.types import GapEvent, GraphEvent, TaskEvent


async def test_a_graph_is_made_run_read_and_deleted() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        graph = await client.create_graph("sums", [NewTask("add", args=(1, 2), key="a")])
        (first,) = graph.pushed
        second, third = await graph.push(
            NewTask("echo", args=([first],), kwargs={"deep": {"x": first}}, key="k"),
            NewTask("add", args=({"$result": first.uid},), priority=2, name="third"),
        )
        assert await second.result() == {"args": [[3]], "kwargs": {"deep": {"x": 3}}}
        assert await third.result() == 4
        view = await graph.read()
        assert (view.name, view.state, view.counts["succeeded"]) == ("sums", "idle", 3)
        assert [task.uid for task in await graph.tasks()] == [first.uid, second.uid, third.uid]
        assert [task.uid for task in await graph.tasks(["succeeded"], name="third")] == [third.uid]
        assert (await third.read()).priority == 2
        assert "succeeded" in await third.explain()
        assert [each.uid for each in await client.graphs()] == [graph.uid]
        assert (await graph.picture()).lstrip().startswith("<")
        assert (await graph.critical_path()).steps
        assert await graph.logs(level="INFO") == ()
        assert await first.logs("descendants") == ()
        assert "add" in {each.name for each in await client.task_types()}
        assert [each.name for each in await client.workers()] == ["default/0"]
        assert (await client.health()).status == "ok"
        await graph.delete()
        assert await client.graphs() == ()


async def test_pages_are_put_together() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        graph = await client.create_graph()
        pushed = await graph.push(*[NewTask("add", args=(n,)) for n in range(2500)])
        assert [task.uid for task in await graph.tasks()] == [task.uid for task in pushed]


async def test_errors_are_those_of_the_package() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        graph = await client.create_graph()
        bad, after, never, odd = await graph.push(
            NewTask("fail", args=("boom",), key="bad"),
            NewTask("add", args=({"$result": "bad"},)),
            NewTask("forever"),
            NewTask("odd"),
        )
        with pytest.raises(TaskFailed, match="boom") as failed:
            await bad.result()
        assert failed.value.task_uid == bad.uid
        assert "ValueError: boom" in failed.value.remote_traceback
        with pytest.raises(TaskSkipped):
            await after.result()
        assert (await never.cancel()).task.state == "cancelled"
        with pytest.raises(TaskCancelled):
            await never.result()
        with pytest.raises(RequestFailed, match="Odd") as refused:
            await odd.result()
        assert (refused.value.status, refused.value.kind) == (406, "not-json")
        assert pickle.loads(pickle.dumps(refused.value)).problem == refused.value.problem
        with pytest.raises(RequestFailed) as wrong:
            await graph.push(NewTask("no such"))
        assert wrong.value.problem.errors[0].path == "$.tasks[0].function"
        with pytest.raises(TypeError, match="object"):
            await graph.push(NewTask("add", args=(object(),)))
        with pytest.raises(RequestFailed, match="no graph"):
            await client.graph(10**9).read()
        async with s.coordinator.open_graph() as mine:
            task = mine.create_task("add", 1)
        with pytest.raises(ResultReleased):
            await client.graph(mine.uid).task(task.uid).result()


async def test_tasks_are_retried_and_wait_for_more() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        graph = await client.create_graph()
        once, never = await graph.push(NewTask("fail_once"), NewTask("forever"))
        (waiting,) = await graph.push(
            NewTask("add", args=(1,), waits_on=TasksCondition(completed=(never.uid,)))
        )
        with pytest.raises(TaskFailed):
            await once.result()
        info = await waiting.add_predecessor(TasksCondition(succeeded=(once.uid,)))
        assert info.task.predecessors == (never.uid, once.uid)
        await once.retry()
        assert await once.result() == 2


async def test_remote_tasks_stand_in_conditions_and_for_one() -> None:
    """Nested too, beside keys of the same push; alone a task means its success."""
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        graph = await client.create_graph()
        first, second, never = await graph.push(
            NewTask("add", args=(1,)), NewTask("add", args=(2,)), NewTask("forever")
        )
        condition = TasksCondition(
            all_of=(
                TasksCondition(succeeded=(first, second.uid, "k"), at_least=2),
                TasksCondition(any_of=(TasksCondition(completed=(first, never), at_least=1),)),
            )
        )
        several, _ = await graph.push(
            NewTask("add", args=(5,), waits_on=condition), NewTask("forever", key="k")
        )
        assert await several.result() == 6
        alone, late = await graph.push(
            NewTask("add", args=(7,), waits_on=first), NewTask("add", args=(8,), waits_on=never)
        )
        assert await alone.result() == 8
        assert (await alone.read()).waits_on == TasksCondition(succeeded=(first,))
        assert (await late.add_predecessor(several)).task.predecessors == (never.uid, several.uid)
        info = await late.add_predecessor(TasksCondition(completed=(second,)))
        assert info.task.predecessors == (never.uid, several.uid, second.uid)
        made = await client.create_graph(tasks=[NewTask("forever", key="a")])
        (waiting,) = await made.push(NewTask("add", args=(1,), waits_on=made.pushed[0]))
        assert (await waiting.read()).task.state == "waiting"


async def test_what_cannot_be_meant_is_told_before_it_is_sent() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        graph = await client.create_graph()
        (task,) = await graph.push(NewTask("add", args=(1,)))
        anything: Any = task
        with pytest.raises(TypeError, match=r"succeeded takes a tuple of tasks"):
            TasksCondition(succeeded=anything)
        for new, words in [
            (NewTask(anything), "NewTask.function takes a text"),
            (NewTask("add", key=anything), "NewTask.key takes a text"),
            (NewTask("add", waits_on=cast("Any", [task])), "of several tasks: TasksCondition"),
            (NewTask("add", waits_on=cast("Any", task.uid)), "waits_on takes a TasksCondition"),
            (NewTask("add", retries=cast("Any", RetryPolicy(1))), "a number or RetryOptions"),
            (anything, "tasks to push are NewTask, not <RemoteTask"),
        ]:
            with pytest.raises(TypeError, match=words):
                await graph.push(new)
            with pytest.raises(TypeError, match=words):
                await client.create_graph(tasks=[new])
        with pytest.raises(TypeError, match="waits_on takes a TasksCondition"):
            await task.add_predecessor(cast("Any", task.uid))
        assert len(await client.graphs()) == 1
        assert len(await graph.tasks()) == 1


async def test_a_unix_socket_and_a_token_file(tmp_path: Path) -> None:
    async with serving(port=None) as s:
        assert s.server.socket_path is not None
        async with open_client(s.server.socket_path) as client:
            assert (await client.health()).graphs == 0
    async with serving(token_path=tmp_path / "token") as s:
        async with open_client(s.server.url, token_path=tmp_path / "token") as client:
            assert (await client.health()).graphs == 0
        async with open_client(s.server.url, token="wrong") as client:
            with pytest.raises(RequestFailed, match="token"):
                await client.health()
            with pytest.raises(RequestFailed, match="token"):
                async with client.events():
                    pass
    with pytest.raises(GraphError, match="neither"):
        async with open_client("ftp://nowhere"):
            pass


async def test_events_are_typed_and_end_when_they_are_left() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        async with client.events(kinds=["task", "graph"]) as events:
            graph = await client.create_graph("g", [NewTask("add", args=(1,))])
            seen = []
            with trio.fail_after(20):
                async for event in events:
                    seen.append(event)
                    if isinstance(event, GraphEvent) and event.happening == "finished":
                        break
            states = [event.state for event in seen if isinstance(event, TaskEvent)]
            assert states == ["waiting", "ready", "running", "succeeded"]
            last = events.last_id
        await graph.push(NewTask("add", args=(1,)))
        async with graph.events(after=last) as events:
            with trio.fail_after(20):
                event = await anext(events)
            assert isinstance(event, TaskEvent)
            assert event.happening == "created"
        await graph.delete()
        with pytest.raises(RequestFailed, match="no graph"):
            async with graph.events():
                pass


async def test_events_that_were_left_are_over() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        async with client.events() as events:
            await client.create_graph("g")
            assert isinstance(await anext(events), GraphEvent)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        assert [event async for event in events] == []


async def test_events_go_on_when_the_server_has_come_back(tmp_path: Path) -> None:
    token_path = tmp_path / "token"
    async with serving(token_path=token_path) as s:
        port = int(s.server.url.rpartition(":")[2])
    async with (
        open_coordinator(HERE, functions=FUNCTIONS) as coordinator,
        open_client(f"http://127.0.0.1:{port}", token_path=token_path) as client,
    ):
        events = client.events()
        async with coordinator.serve_http(port=port, token_path=token_path):
            await events.__aenter__()
            await client.create_graph("first")
            with trio.fail_after(20):
                assert isinstance(await anext(events), GraphEvent)
        # Its graph is closed with the server. That may still be told, or not any more.
        async with coordinator.serve_http(port=port, token_path=token_path):
            with trio.fail_after(20):
                while not isinstance(event := await anext(events), GapEvent):
                    pass
            assert event.missed is None
            await client.create_graph("second")
            with trio.fail_after(20):
                event = await anext(events)
            assert isinstance(event, GraphEvent)
            assert event.name == "second"
        await events.aclose()


async def test_a_server_that_stays_away_is_an_error() -> None:
    async with serving() as s:
        url, token = s.server.url, s.server.token
        async with open_client(url, token=token) as client:
            events = client.events(give_up_seconds=0.3)
            await events.__aenter__()
            with pytest.raises(httpx.TransportError):
                async with open_client("http://127.0.0.1:1") as nobody:
                    await nobody.health()
            # It stops while somebody reads.
            s.server.stopping.set()
            await s.server.connections.stop()
            with pytest.raises(httpx.TransportError), trio.fail_after(20):
                await anext(events)
            await events.aclose()


async def test_events_lose_nothing_by_being_cancelled() -> None:
    """Also before the first of them, when there is no event yet to follow after."""
    async with (
        serving() as s,
        open_client(s.server.url, token=s.server.token) as client,
        client.events(kinds=["graph"]) as events,
    ):
        with trio.move_on_after(0.1):
            await anext(events)
        await client.create_graph("first")
        with trio.fail_after(20):
            event = await anext(events)
        assert isinstance(event, GraphEvent)
        assert (event.name, event.happening) == ("first", "opened")


async def test_following_events_may_be_cancelled_anywhere() -> None:
    """Whatever the moment, the next ones are as if nothing had been: none lost, none twice."""
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:

        async def story(cut: Cut) -> None:
            async with client.events(kinds=["graph"]) as events:
                graphs = [await client.create_graph() for _ in range(2)]
                seen = []
                with cut.here():
                    seen.append(await anext(events))
                while len(seen) < 2:
                    seen.append(await anext(events))
            told = [event.graph_uid for event in seen if isinstance(event, GraphEvent)]
            assert told == [graph.uid for graph in graphs]
            for graph in graphs:
                await graph.delete()
            await until(lambda: not s.server.ring.readers)

        with trio.fail_after(40):
            assert await at_each_checkpoint(story) >= 1


async def test_opening_a_stream_of_events_may_be_cancelled_anywhere() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:

        async def story(cut: Cut) -> None:
            with cut.here():
                async with client.events():
                    pass
            await until(lambda: not s.server.ring.readers)
            assert (await client.health()).status == "ok"

        with trio.fail_after(40):
            assert await at_each_checkpoint(story) >= 1


async def test_waiting_for_a_result_may_be_cancelled_anywhere() -> None:
    """The connection it had is not missing afterwards."""
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        graph = await client.create_graph()

        async def story(cut: Cut) -> None:
            (task,) = await graph.push(NewTask("sleep", args=(0.02,)))
            with cut.here():
                await task.result()
            assert await task.result() == 0.02

        with trio.fail_after(40):
            assert await at_each_checkpoint(story) >= 1


async def answer_each_with(
    listener: trio.SocketListener, answer: bytes, asked: list[bytes]
) -> None:
    """A server that says the same to everybody and hangs up."""

    async def answer_one(connection: trio.SocketStream) -> None:
        async with connection:
            asked.append(await connection.receive_some())
            await connection.send_all(answer)

    await trio.serve_listeners(answer_one, [listener])


async def test_another_server_in_its_place_is_an_error() -> None:
    """As a proxy may be that says, without an error's status, what is no answer of this API."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_each_with, listener, head + b"<p>Sign in first", [])
        async with open_client(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(RequestFailed, match="none of this API"):
                await client.health()
            with pytest.raises(RequestFailed, match="none of this API"):
                await client.graph(1).task(1).result()
        nursery.cancel_scope.cancel()


async def test_streams_that_end_at_once_are_not_opened_in_a_rush() -> None:
    """It waits longer and longer, and gives up as if there was no server."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    asked: list[bytes] = []
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_each_with, listener, head, asked)
        async with (
            open_client(f"http://127.0.0.1:{port}") as client,
            client.events(give_up_seconds=1) as events,
        ):
            with trio.fail_after(20), pytest.raises(httpx.RemoteProtocolError, match="ended"):
                await anext(events)
        nursery.cancel_scope.cancel()
    # 0.2 s, 0.4 s, and then it would be too late.
    assert 1 < len(asked) <= 3
