"""The process's own log, on standard error: text for people or one JSON object a line.

With `format: json` everything is JSON, what is said before and after serving too: whatever reads
the log need not know when that is. Where several workers write, each line says which one.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cardan_router.config import LogConfig

NEWS: Final = "cardan_router.news"
"""The logger of what all workers of a gateway see alike; only the first one says it."""


class _Text(logging.Formatter):
    """`time level message`, on one line whatever the message holds."""

    def __init__(self, worker: int | None) -> None:
        who = "" if worker is None else f"worker {worker}: "
        super().__init__(f"%(asctime)s %(levelname)s {who}%(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        text = super().formatMessage(record)
        return text.replace("\r", "\\r").replace("\n", "\\n")


class _Json(logging.Formatter):
    """One object a line."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            entry["worker"] = self._worker
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure(config: LogConfig, worker: int | None = None) -> None:
    """Set the root logger up; called again at a reload. `worker` is which of several this is."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(worker) if config.format == "json" else _Text(worker))
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    quiet = bool(worker) and config.level != "debug"
    logging.getLogger(NEWS).setLevel(logging.CRITICAL + 1 if quiet else logging.NOTSET)


def tell(text: str, level: str = "info") -> None:
    """Write a line whatever the log's level: what a user or a supervisor waits for.

    As it is where the log is text, in a record where it is JSON.
    """
    if any(isinstance(handler.formatter, _Json) for handler in logging.getLogger().handlers):
        entry = {
            "time": round(time.time(), 3),
            "level": level,
            "logger": __name__,
            "message": text,
        }
        text = json.dumps(entry, ensure_ascii=False)
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
