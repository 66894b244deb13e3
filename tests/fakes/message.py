"""What a request and an answer have in common."""

from __future__ import annotations

import json
from typing import Any


class Message:
    """Headers, their names in lower case, and a body."""

    def __init__(self, headers: list[tuple[str, str]], body: bytes) -> None:
        self.headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        """A header's value; fails if it came twice."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)
