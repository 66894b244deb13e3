"""Runs a `cardan` subcommand that ends when its standard input does: the demo's end of a leash.

    python -m cardan_sim.demo.leash engine --listen 127.0.0.1:0

The demo holds the other end of that pipe and never writes to it. However the demo goes, also by
SIGKILL, the kernel closes its end, and we read the end of the file. Nothing is polled, and unlike
Linux's parent-death signal it works wherever there are pipes, and whichever thread started us.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
import time
from typing import Final

_STDIN: Final = 0
# As long as the demo itself gives a child that it ends in order.
_TERM_GRACE_S: Final = 5.0


def _watch() -> None:
    """End this process when nobody holds the other end: SIGTERM, and SIGKILL if that takes long."""
    while os.read(_STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_TERM_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Watch standard input, and be `cardan` with the rest of the command line."""
    threading.Thread(target=_watch, name="leash", daemon=True).start()
    runpy.run_module("cardan_cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
