"""Scripts as the benchmarks run them, that behave in some way: `python -m ... CASE SIZES`."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from benchmarks.protocol import answer


def measure(case: str, **sizes: Any) -> dict[str, Any]:
    if case == "chatters":
        print("what a peer prints of itself")
    elif case == "fails":
        raise ValueError("no such luck")
    elif case == "leaves":
        leave_a_daemon()
    elif case == "hangs":
        leave_a_daemon()
        time.sleep(120)
    return {"seconds": 1.5, **sizes}


def leave_a_daemon() -> None:
    """One that has left the script's session, as Ray's do."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)


if __name__ == "__main__":
    answer(measure)
