"""What a killed process may cost, and what nothing excuses; a load that never starts ends."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.cluster.paths import ROOT
from e2e.deploy import release
from e2e.deploy.changes import CHANGES, UNNOTICED_S, Killed, judge, most_unnoticed
from e2e.deploy.load import Failure, Report

if TYPE_CHECKING:
    from e2e.deploy.clients import Outcome

pytestmark = pytest.mark.cluster
DEATH = 1000.0
GATEWAY = Killed(DEATH, ("cut", "reset"), is_listed=True)


def failed(outcome: Outcome, began: float, ended: float) -> Failure:
    """A failure by its times, seconds after the death."""
    sent_at = None if outcome == "refused" else DEATH + began
    return Failure(outcome, "fresh", "", DEATH + began, sent_at, DEATH + ended, reused=False)


def lost(*failures: Failure, killed: Killed | None = GATEWAY) -> int:
    """How many of them nothing excuses."""
    outcomes: dict[Outcome, int] = {"ok": 1000}
    report = Report(outcomes, {}, 200.0, 500, 0.2, 0.4, 2.0, 1, 1, list(failures))
    return len(judge(CHANGES[0], 1.0, report, killed).lost)


def test_what_a_process_carried_when_it_died_is_excused() -> None:
    assert lost(failed("cut", -2.0, 0.01), failed("reset", -0.01, 0.3)) == 0
    assert lost(failed("cut", -2.0, 0.01), killed=None) == 1


def test_what_was_cut_before_or_began_after_the_death_is_lost() -> None:
    assert lost(failed("cut", -4.0, -1.0)) == 1
    assert lost(failed("reset", 0.1, 0.2)) == 1
    assert lost(failed("cut", -1.0, 2.5)) == 1
    assert lost(failed("told", -1.0, 0.1)) == 1


def test_the_node_may_not_know_for_a_while_and_not_for_everybody() -> None:
    refused = failed("refused", 0.4, 0.4)
    assert lost(failed("refused", -2.0, -2.0)) == 1
    assert lost(failed("refused", UNNOTICED_S + 0.1, UNNOTICED_S + 0.1)) == 1
    assert lost(*[refused] * most_unnoticed(200.0)) == 0
    assert lost(*[refused] * (most_unnoticed(200.0) + 7)) == 7
    assert lost(refused, killed=Killed(DEATH, ("cut", "reset"))) == 1


def test_a_load_that_nobody_answers_ends_and_says_why() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        port = free.getsockname()[1]
        code = (
            "import sys; from e2e.deploy import load; load.START_S = 0.2; "
            f"sys.argv[1:] = ['127.0.0.1', '{port}', 'm', '--rate', '50']; load.main()"
        )
        argv, pipe = [sys.executable, "-c", code], subprocess.PIPE
        with subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stderr=pipe, text=True) as load:
            try:
                assert load.wait(timeout=30) == 1
                assert load.stderr
                assert load.stderr.read().startswith("no good answer in 0 s: {'refused': ")
            finally:
                load.kill()


THREADS = """\
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_has_ended_with_its_last_thread_and_not_with_its_first() -> None:
    with subprocess.Popen([sys.executable, "-c", THREADS]) as process:
        folder = Path(f"/proc/{process.pid}")
        try:
            release.until(lambda: ") Z" in (folder / "stat").read_text(), "the first thread's end")
            assert not release.has_ended(folder)
        finally:
            process.kill()
        release.until(lambda: release.has_ended(folder), "the end")
