"""What reached this engine: the last requests for work, for tests to look at."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Final

_KEPT: Final = 1000


@dataclass(slots=True)
class Record:
    """One request as it arrived, and what became of it.

    headers: names in lower case, in order, repeated ones repeated. body_sha256: of the raw bytes.
    connection: the client's port, so that reuse of a connection shows. outcome: "whole",
    "stream", "refused", "error", "left" (the client went), "died" or "" while it runs.
    """

    number: int
    method: str
    path: str
    connection: int
    headers: list[tuple[str, str]]
    x_request_id: str | None
    body_bytes: int = 0
    body_sha256: str = ""
    stream: bool = False
    model: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    output_tokens: int = 0
    status: int | None = None
    outcome: str = ""

    def body(self, raw: bytes) -> None:
        """Note the body."""
        self.body_bytes = len(raw)
        self.body_sha256 = hashlib.sha256(raw).hexdigest()


@dataclass(slots=True)
class Records:
    """The last thousand, oldest first, and how many there ever were."""

    total: int = 0
    last: deque[Record] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def open(self, method: str, path: str, port: int, headers: list[tuple[str, str]]) -> Record:
        """Note a request that has just arrived."""
        self.total += 1
        request_id = next((v for k, v in headers if k == "x-request-id"), None)
        record = Record(self.total, method, path, port, headers, request_id)
        self.last.append(record)
        return record

    def clear(self) -> None:
        """Forget them; the count goes on."""
        self.last.clear()

    def document(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [asdict(record) for record in self.last]
