"""What a make of engine server decides: checks, words, shapes, and when a head is sent.

A handler asks its make and knows no make by name. `Frames` writes the events of one stream.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cardan_sim.engine import Ended
    from cardan_sim.engine.tokens import Vocabulary
    from cardan_sim.serve.asks import Ask
    from cardan_sim.serve.errors import ApiError
    from cardan_sim.serve.reply import Reply, Totals
    from cardan_sim.serve.settings import Settings


class Frames(ABC):
    """The events of one stream, in the order they are sent; each is one chunk."""

    def __init__(self, reply: Reply) -> None:
        """Of this reply."""
        self.reply = reply

    def opening(self) -> list[bytes]:
        """What comes with the first token of the answer."""
        return []

    @abstractmethod
    def token(self, choice: int, token_id: int) -> list[bytes]:
        """A token that is not the last of its choice."""

    @abstractmethod
    def last(self, choice: int, token_id: int | None, ended: Ended) -> list[bytes]:
        """The end of a choice and its last token, if it has one."""

    @abstractmethod
    def closing(self, totals: Totals) -> list[bytes]:
        """What comes after all choices have ended."""


class Make(ABC):
    """One make of engine server."""

    name: ClassVar[str]
    version: ClassVar[str]
    # Status and headers leave when a request is accepted, not with its first event.
    head_first: ClassVar[bool]

    def __init__(self, settings: Settings) -> None:
        """For one server."""
        self.settings = settings
        self.served = settings.served_model_name
        self.started_at = int(time.time())

    @abstractmethod
    def check(self, ask: Ask, headers: Mapping[str, str]) -> None:
        """Judge what was asked, and set its limit; ApiError if it is refused."""

    def judge(self, error: ApiError) -> ApiError:
        """What the make makes of an error that the shared code found."""
        return error

    @abstractmethod
    def begin(
        self, ask: Ask, headers: Mapping[str, str], vocabulary: Vocabulary, created: int
    ) -> Reply:
        """The reply to an accepted ask, with its ids."""

    @abstractmethod
    def frames(self, reply: Reply) -> Frames:
        """The events of a streamed reply."""

    @abstractmethod
    def whole(self, reply: Reply, ends: Sequence[Ended], totals: Totals) -> dict[str, Any]:
        """The body of a reply in one piece."""

    @abstractmethod
    def error_body(self, error: ApiError, kind: str) -> tuple[str, bytes]:
        """Content type and body of an error; `kind` is the route's (chat, messages, ...)."""

    @abstractmethod
    def stream_error(self, error: ApiError, reply: Reply) -> list[bytes]:
        """The events that tell an error after the head has left, to the stream's end."""

    @abstractmethod
    def refusal(self, ended: Ended) -> ApiError:
        """A refusal of the scheduler as an error."""

    @abstractmethod
    def needs_key(self, path: str) -> bool:
        """The API key guards this path."""

    @abstractmethod
    def models(self) -> dict[str, Any]:
        """The body of /v1/models."""
