"""The access log: whole lines, never a wait, bounded when nobody reads."""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import TYPE_CHECKING, Any

from cardan_router.access_log import MAX_PENDING_BYTES, AccessLog

from tests.fakes.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def lines(path: Path) -> list[dict[str, object]]:
    """What has been logged."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_request_is_one_line_whatever_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), lambda: None)
    log.write({"request_id": 'a\nb\r"{}\x00', "status": 200})
    log.write({"request_id": "c"})
    log.close()
    assert [entry["request_id"] for entry in lines(path)] == ['a\nb\r"{}\x00', "c"]


async def test_a_flush_is_enough_for_a_line_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), lambda: None)
    log.write({"n": 1})
    log.flush()
    await until(lambda: lines(path) == [{"n": 1}])
    log.close()


def test_off_writes_nothing() -> None:
    log = AccessLog("off", lambda: None)
    assert not log.enabled
    log.write({"n": 1})
    log.close()


def test_a_reader_that_does_not_read_costs_bounded_memory_and_no_wait(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    keeper = os.open(fifo, os.O_RDWR)  # somebody has it open, nobody reads
    dropped: list[int] = []
    log = AccessLog(str(fifo), lambda: dropped.append(1))
    filler = "x" * 100_000
    for _ in range(3 * MAX_PENDING_BYTES // len(filler)):
        log.write({"filler": filler})
        log.flush()
    assert len(dropped) > 100
    log.close()  # gives up within a second
    os.close(keeper)


def test_after_a_rotation_the_new_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), lambda: None)
    log.write({"n": 1})
    log.flush()
    path.rename(tmp_path / "access.log.1")
    log.reopen()
    log.write({"n": 2})
    log.close()
    assert lines(path) == [{"n": 2}]


async def test_lines_that_share_a_pipe_are_written_whole(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    logs = [AccessLog(str(fifo), lambda: None, shared=True) for _ in range(2)]
    for number in range(400):  # each flush is more than a pipe takes whole in one write
        logs[number % 2].write({"n": number, "filler": "x" * 100})
        if number % 100 > 97:
            logs[number % 2].flush()
    for log in logs:
        log.flush()
    data = bytearray()

    def all_read() -> bool:
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(reading, 65_536):
                data.extend(piece)
        return data.count(b"\n") == 400

    await until(all_read)
    assert {json.loads(line)["n"] for line in data.splitlines()} == set(range(400))
    for log in logs:
        log.close()
    os.close(reading)


def test_a_file_gets_a_flush_in_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []

    class Counting(io.FileIO):
        def write(self, data: Any, /) -> int:
            writes.append(len(data))
            return super().write(data)

    monkeypatch.setattr(io, "FileIO", Counting)
    path = tmp_path / "access.log"
    log = AccessLog(str(path), lambda: None)
    for number in range(1000):
        log.write({"n": number})
    log.close()
    assert [entry["n"] for entry in lines(path)] == list(range(1000))
    assert len(writes) == 1
