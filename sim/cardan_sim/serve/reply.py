"""An answer under way, and what is known of it when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_sim.engine import Ended
    from cardan_sim.engine.tokens import Vocabulary
    from cardan_sim.serve.asks import Ask

DONE: Final = b"data: [DONE]\n\n"


def sse(document: object) -> bytes:
    """One event without a name."""
    return b"".join((b"data: ", orjson.dumps(document), b"\n\n"))


def named_sse(document: dict[str, Any]) -> bytes:
    """One event named by its own `type`."""
    return b"event: " + str(document["type"]).encode() + b"\n" + sse(document)


class Totals(NamedTuple):
    """Tokens of a whole answer; a prompt that is answered n times counts once."""

    prompt: int
    generated: int
    cached: int

    @classmethod
    def of(cls, ends: Sequence[Ended | None], n: int) -> Totals:
        """Summed over what has ended."""
        over = [end for end in ends if end is not None]
        firsts = [end for end in ends[::n] if end is not None]
        return cls(
            sum(end.prompt for end in firsts),
            sum(end.generated for end in over),
            sum(end.cached for end in firsts),
        )


@dataclass(slots=True)
class Reply:
    """What all events of one answer share.

    ids: one for each choice; makes that have one for all repeat it. texts and tokens collect what
    is said, by choice.
    """

    ask: Ask
    vocabulary: Vocabulary
    ids: list[str]
    model: str
    created: int
    prompt_tokens: int
    cache_report: bool
    extra: str = ""
    tokens: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing is said yet."""
        self.tokens = [[] for _ in self.ids]

    @property
    def id(self) -> str:
        """The id of the whole answer."""
        return self.ids[0]

    def text_of(self, choice: int) -> str:
        """What a choice has said so far; a tool call says its arguments."""
        tool = self.ask.tool
        if tool is not None:
            return tool.arguments[: 4 * len(self.tokens[choice])]
        return self.vocabulary.decode(self.tokens[choice])

    def say(self, choice: int, token_id: int) -> str:
        """Collect a token; returns its text."""
        said = self.tokens[choice]
        said.append(token_id)
        tool = self.ask.tool
        if tool is not None:
            return tool.arguments[4 * len(said) - 4 : 4 * len(said)]
        return self.vocabulary.text(token_id)

    @property
    def generated(self) -> int:
        """Tokens said so far."""
        return sum(map(len, self.tokens))


class Template:
    """An event with a hole for a text: encoded once, filled for every token.

    The hole is the one string `HOLE` in the document.
    """

    HOLE: Final = "\x00"

    def __init__(self, document: dict[str, Any]) -> None:
        """Encode everything around the hole."""
        self._before, self._after = sse(document).split(orjson.dumps(self.HOLE))

    def fill(self, text: str) -> bytes:
        """The event with `text` in the hole."""
        return self._before + orjson.dumps(text) + self._after
