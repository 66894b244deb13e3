"""How busy the loop is: running and waiting for a CPU both count, idling does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from cardan.instants import Monotonic
from cardan_router.telemetry import LoopBusy, busy
from cardan_router.telemetry.busy import working_s

if TYPE_CHECKING:
    from pathlib import Path


class Work:
    """A thread that has worked for so long."""

    def __init__(self) -> None:
        self.worked_s = 100.0
        self.busy = LoopBusy(lambda: self.worked_s)
        self.now = 0.0

    def pass_s(self, seconds: int, share: float) -> None:
        for _ in range(seconds):
            self.busy.look(Monotonic(self.now))
            self.now += 1.0
            self.worked_s += share


def test_it_is_the_share_of_the_last_ten_seconds() -> None:
    work = Work()
    assert work.busy.ratio() == 0.0
    work.pass_s(30, 0.25)
    assert work.busy.ratio() == pytest.approx(0.25)
    work.pass_s(6, 0.75)
    assert work.busy.ratio() == pytest.approx(0.5)
    work.pass_s(20, 1.0)
    assert work.busy.ratio() == pytest.approx(1.0)


def test_it_stays_a_share_when_the_looks_come_late() -> None:
    work = Work()
    work.busy.look(Monotonic(0.0))
    work.worked_s += 80.0
    work.busy.look(Monotonic(100.0))
    assert work.busy.ratio() == pytest.approx(0.8)
    work.worked_s += 10.01  # clocks of two kinds need not agree to the millisecond
    work.busy.look(Monotonic(110.0))
    assert work.busy.ratio() == 1.0


def test_the_kernel_counts_this_thread() -> None:
    before_s = working_s()
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    assert working_s() - before_s >= 0.015


def test_a_kernel_that_counts_nothing_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = tmp_path / "schedstat"
    silent.write_text("0 0 0\n")
    monkeypatch.setattr(busy, "SCHEDSTAT", silent)
    assert working_s() > 0


def test_without_the_kernels_word_cpu_time_must_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(busy, "SCHEDSTAT", tmp_path / "none")
    assert working_s() == pytest.approx(time.process_time(), abs=1.0)
