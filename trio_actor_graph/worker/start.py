"""The start of a worker's process, from its lifeline to its actor: imports, and nothing else.

What a worker imports decides how soon it can run a task, so everything it will need is imported
here, in one go and with the garbage collector off: hardly anything that an import makes is garbage,
and the collector would look through all of it again and again. The coordinator gets ready
meanwhile, and then says on a pipe which command this interpreter is to stand for.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
from importlib import import_module


def run() -> None:
    """Import what a worker needs, then wait for the command `-m MODULE ARGUMENTS` and do it."""
    orders = int(sys.argv[1])
    os.set_inheritable(orders, False)
    is_collecting = gc.isenabled()
    gc.disable()
    from trio_actor_graph.worker import boot

    import_module("trio_actor_graph.actors")  # the actor framework comes with it
    import_module("trio_actor_graph.worker.main")
    if is_collecting:
        gc.freeze()
        gc.enable()
    with os.fdopen(orders, "rb") as pipe:
        line = pipe.readline()
    if not line.endswith(b"\n"):
        os._exit(boot.EXIT_COORDINATOR_GONE)
    option, module, *arguments = json.loads(line)
    assert option == "-m"
    sys.argv[1:] = arguments
    vars(runpy)["_run_module_as_main"](module)
