"""What was seen of one request."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sample:
    """One request's times, in seconds of the wall clock since the replay began.

    `error` is None for an answer that came whole, else its kind ("http 503", "cut", …).
    `gaps_s` are the times between successive content events of the stream.
    Token counts and the endpoint are None where nobody said.
    """

    due_s: float
    sent_s: float
    first_s: float | None = None
    end_s: float = 0.0
    gaps_s: array[float] = field(default_factory=lambda: array("d"))
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    endpoint: str | None = None
    error: str | None = None

    @property
    def late_s(self) -> float:
        """How long after its time the request was sent."""
        return max(0.0, self.sent_s - self.due_s)

    @property
    def ttft_s(self) -> float | None:
        """From the moment the request was due to its first content."""
        return None if self.first_s is None else self.first_s - self.due_s
