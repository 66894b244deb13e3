"""The process's own log: what a record says cannot break a line."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from cardan_router import logs
from cardan_router.config import LogConfig

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """What is configured here is afterwards as it was; a level that stays would silence others."""
    root, news = logging.getLogger(), logging.getLogger(logs.NEWS)
    handlers, levels = root.handlers[:], (root.level, news.level)
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    news.setLevel(levels[1])
    logging.captureWarnings(False)


def test_text_keeps_a_message_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig())
    logging.getLogger("x").warning("bad name %s", "a\nERROR forged\r")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert r"bad name a\nERROR forged\r" in written


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(format="json", level="info"))
    try:
        raise ValueError("no\nluck")
    except ValueError:
        logging.getLogger("x").exception("it failed\n")
    logging.getLogger("x").debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert entry["message"] == "it failed\n"
    assert "no\nluck" in entry["exception"]


def test_the_level_can_be_raised_again(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(level="error"))
    logging.getLogger("x").info("quiet")
    logs.configure(LogConfig(level="info"))
    logging.getLogger("x").info("loud")
    written = capsys.readouterr().err
    assert "quiet" not in written
    assert "loud" in written


def test_a_line_says_which_of_several_workers_wrote_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(), 3)
    logging.getLogger("x").info("here")
    logs.configure(LogConfig(format="json"), 3)
    logging.getLogger("x").info("here")
    text, line = capsys.readouterr().err.splitlines()
    assert text.endswith("INFO worker 3: here")
    assert json.loads(line)["worker"] == 3


def test_what_all_workers_see_alike_only_the_first_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for worker in (None, 0, 1, 2):
        logs.configure(LogConfig(), worker)
        logging.getLogger(logs.NEWS).error("to worker %s", worker)
    logs.configure(LogConfig())
    written = capsys.readouterr().err
    assert [word for word in ("None", "0", "1", "2") if f"to worker {word}" in written] == [
        "None",
        "0",
    ]


def test_what_is_waited_for_is_told_at_any_level_and_in_the_logs_own_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(LogConfig(level="error"))
    logs.tell("listening on x")
    logs.configure(LogConfig(level="error", format="json"))
    logs.tell("listening on x")
    text, line = capsys.readouterr().err.splitlines()
    assert text == "listening on x"
    assert json.loads(line)["message"] == "listening on x"
