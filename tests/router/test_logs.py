"""The process's own log: what a record says cannot break a line."""

from __future__ import annotations

import json
import logging

import pytest
from cardan_router import logs
from cardan_router.config import LogConfig


@pytest.fixture(autouse=True)
def _root_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root logger is afterwards as it was."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)


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
