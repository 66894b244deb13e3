"""The access log: whole lines, never a wait, bounded when nobody reads."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from cardan_router.access_log import MAX_PENDING_BYTES, AccessLog

from tests.router.stub import until

if TYPE_CHECKING:
    from pathlib import Path


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
