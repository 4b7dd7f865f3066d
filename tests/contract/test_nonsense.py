"""Contract: a worker that talks nonsense is told apart, and harms nobody."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest

from trio_actor_graph import ProtocolError
from trio_actor_graph import messages as msg
from trio_actor_graph.graph.failures import Raised

from .board import Board
from .bodies import echo, hold
from .conftest import Engine

RAISED = Raised("ValueError", "no", "")
NO_RESULT = b"\x80\x05N."


def creation(attempt_id: int, uid: int, function: int | str) -> msg.CreateTask:
    return msg.CreateTask(attempt_id, uid, function, False, "t", b"", (), None, 0, None, None, None)


# Each gets the id of an attempt that runs and of the worker that runs it.
NONSENSE: dict[str, Callable[[int, int], msgspec.Struct]] = {
    "a time that is none": lambda a, w: msg.AttemptSucceeded(a, NO_RESULT, math.nan),
    "a time before the beginning": lambda a, w: msg.AttemptFailed(a, RAISED, -1.0),
    "a time without end": lambda a, w: msg.AttemptReturnedTask(a, 1, math.inf),
    "stopped, and nobody had said so": lambda a, w: msg.AttemptStopped(a),
    "unable, after it was ready": lambda a, w: msg.WorkerUnable("no"),
    "a task with a number of others": lambda a, w: creation(a, 5, 1),
    "a task of an unknown function": lambda a, w: creation(a, (w << 36) + 99, 10**9),
    "a task of an unknown name": lambda a, w: creation(a, (w << 36) + 99, "nobody"),
    "a function with a number of others": lambda a, w: msg.DefineFunction(5, "m:f", b""),
    "what only the coordinator says": lambda a, w: msg.CancelAttempt(a),
}


@pytest.mark.parametrize("case", NONSENSE)
async def test_nonsense_is_refused_and_changes_nothing(
    engine: Engine, board: Board, case: str
) -> None:
    """It is the engine's to drop the worker; here, all goes on as if nothing had been said."""
    async with engine.open() as coordinator, coordinator.open_graph("g") as graph:
        held = graph.create_task(hold, board, "gate", 7)
        await board.wait_for("gate runs")
        ((attempt_id, attempt),) = coordinator._scheduler.attempts.items()
        worker_id = attempt.worker.worker_id
        with pytest.raises(ProtocolError):
            coordinator.on_messages(worker_id, [NONSENSE[case](attempt_id, worker_id)])
        board.open("gate")
        assert await held.result() == 7
        assert await graph.create_task(echo, 1).result() == 1
        assert len(graph.tasks) == 2


async def test_a_worker_cannot_speak_of_the_attempts_of_others(
    engine: Engine, board: Board
) -> None:
    """Whatever it says of them: their own worker's word counts."""
    async with engine.open() as coordinator, coordinator.open_graph("g") as graph:
        held = graph.create_task(hold, board, "gate", 7)
        await board.wait_for("gate runs")
        ((attempt_id, attempt),) = coordinator._scheduler.attempts.items()
        stranger = attempt.worker.worker_id + 1
        for message in (
            msg.AttemptSucceeded(attempt_id, NO_RESULT, 0.1),
            msg.AttemptFailed(attempt_id, RAISED, 0.1),
            msg.AttemptReturnedTask(attempt_id, held.uid, 0.1),
            msg.AttemptsReturned((attempt_id,)),
            msg.AttemptOverdue(attempt_id),
            msg.AwaitTask(attempt_id, held.uid, is_seen=True),
            msg.CancelTask(attempt_id, held.uid),
            creation(attempt_id, (stranger << 36) + 1, 1),
        ):
            with pytest.raises(ProtocolError, match="default/0"):
                coordinator.on_messages(stranger, [message])
        board.open("gate")
        assert await held.result() == 7
