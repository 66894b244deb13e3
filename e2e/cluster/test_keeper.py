"""A cluster's keeper and those who hold it: whoever leaves in the middle leaves nothing behind, and
nothing that another one hears.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from e2e.cluster import held, up
from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import ROOT, runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster
# It starts a keeper, and is sent a signal before it has heard of it.
STARTER = """\
import os, sys
from e2e.cluster import held
spawn = held._spawn
def interrupted(*arguments):
    spawn(*arguments)
    os.kill(os.getpid(), int(sys.argv[2]))
held._spawn = interrupted
held.hold(sys.argv[1])
"""


def until(condition: Callable[[], object], what: str, deadline_s: float = 15.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_a_keeper_whose_starter_leaves_before_it_is_there_ends(signum: signal.Signals) -> None:
    name = f"early{signum:d}-{os.getpid()}"
    argv = [sys.executable, "-c", STARTER, name, str(int(signum))]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == -signum, ended.stderr
    until(lambda: not (runs() / name).exists(), "the folder is gone")
    line, new = held.hold(name)
    assert new
    line.let_go()
    until(lambda: not (runs() / name).exists(), "the folder is gone again")


def test_a_keeper_that_cannot_start_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    name = f"never-{os.getpid()}"
    with pytest.raises(ClusterError, match="keeper"):
        held.hold(name)
    held.sweep()
    assert not (runs() / name).exists()


def test_after_ctrl_c_in_a_question_nobody_hears_its_answer(tmp_path: Path) -> None:
    ours, keeper = socket.socketpair()
    line = held.Held(tmp_path, ours)
    main = threading.main_thread().ident
    assert main

    def press() -> None:
        keeper.recv(1000)
        signal.pthread_kill(main, signal.SIGINT)

    with keeper:
        person = threading.Thread(target=press)
        person.start()
        with pytest.raises(KeyboardInterrupt):
            line.ask("status")
        person.join()
        with contextlib.suppress(BrokenPipeError):
            keeper.sendall(b'{"ready": true}\n')
        with pytest.raises(ClusterError, match="is gone"):
            line.ask("pids")
    line.let_go()


def test_a_cluster_whose_line_was_cut_is_left_without_a_word(api: Cluster) -> None:
    second = up.take(api.name, full=False)
    second.let_go()  # as Ctrl-C in a question does
    up.leave(second)
    assert "default" in api.kubectl("get", "namespaces", "-o", "name")
