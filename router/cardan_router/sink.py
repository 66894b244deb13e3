"""Who takes an answer: the side of a front door that a flight sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cardan.lifecycle import Reject

    from cardan_router.rejections import Told
    from cardan_router.wire.heads import AnswerHead


class Sink(Protocol):
    """Takes one answer. Calls come in this order, and none after the last:

    `head data* end` | `head data* cut` | `reject`; and `cut` at any time after one of them raised.
    Each call may be a packet on the wire, so the last bytes come with the end where they are known
    to be the last.
    """

    def head(self, answer: AnswerHead, length: int | None) -> None:
        """The answer begins. `length` is the body's size in bytes, None if it is not known."""
        ...

    def data(self, payload: bytes, framed: bytes = b"") -> None:
        """Bytes of the body, without framing; never empty.

        `framed`, if it is not empty, is the same as one chunk of HTTP/1.1, size line and all: who
        writes chunks need not make them again.
        """
        ...

    def end(self, payload: bytes) -> None:
        """The body is complete with these bytes, which may be none."""
        ...

    def cut(self, told: Told, message: str) -> None:
        """The body will never be complete; the client must notice."""
        ...

    def reject(self, reject: Reject) -> None:
        """There is no answer from an engine; this is ours."""
        ...
