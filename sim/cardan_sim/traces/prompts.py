"""Prompts with the recorded prefix structure and no recorded word.

Every block id becomes its own fixed text (or token ids), drawn from a hash of the id: the same id
is the same text in every run, on every machine and in every Python. A text block is one token for
each four bytes ("kodi"-like groups of three letters and a space), which is what English costs and
what the simulated engine's tokenizer counts; a block of 512 tokens is 2,048 bytes.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from functools import lru_cache
from itertools import product
from typing import Final, Literal, NamedTuple, assert_never

import orjson

from cardan_sim.traces.request import BlockPrompt, RecordedBody, TraceRequest

PromptForm = Literal["chat", "completion", "tokens"]

# 16 letters, three places: 4,096 groups, so a group is 12 bits of the hash.
_UNITS: Final = tuple("".join(letters) + " " for letters in product("abdefgiklmnoprst", repeat=3))
_UNIT_MASK: Final = len(_UNITS) - 1
# Ids are 16 bits of the hash over this offset: below come the special tokens of some
# vocabularies, and every vocabulary of today's models is larger than the sum.
_FIRST_TOKEN_ID: Final = 1_000
# Blocks kept written out: 8 MB of text, more than the blocks in use at one time in any trace here.
_KEPT_BLOCKS: Final = 4_096
_STREAMING_PATHS: Final = ("/v1/chat/completions", "/v1/completions")


class WireRequest(NamedTuple):
    """What goes over the wire: the path and the JSON body."""

    path: str
    body: bytes


def _draws(block: int, tokens: int) -> array[int]:
    """16 bits of hash for each token of a block, the same everywhere."""
    digest = hashlib.shake_128(b"cardan block %d" % block).digest(2 * tokens)
    draws = array("H")
    draws.frombytes(digest)
    if sys.byteorder == "big":
        draws.byteswap()
    return draws


@lru_cache(maxsize=_KEPT_BLOCKS)
def block_text(block: int, tokens: int) -> str:
    """The text of a block of `tokens` tokens: four ASCII bytes each."""
    return "".join([_UNITS[draw & _UNIT_MASK] for draw in _draws(block, tokens)])


@lru_cache(maxsize=_KEPT_BLOCKS)
def block_token_ids(block: int, tokens: int) -> tuple[int, ...]:
    """The token ids of a block."""
    return tuple(_FIRST_TOKEN_ID + draw for draw in _draws(block, tokens))


def prompt_text(prompt: BlockPrompt, tokens: int) -> str:
    """The text of a prompt of `tokens` tokens; the last block is cut."""
    parts = [block_text(block, prompt.block_tokens) for block in prompt.blocks]
    return "".join(parts)[: 4 * tokens]


def prompt_token_ids(prompt: BlockPrompt, tokens: int) -> list[int]:
    """The token ids of a prompt of `tokens` tokens; the last block is cut."""
    ids = [i for block in prompt.blocks for i in block_token_ids(block, prompt.block_tokens)]
    return ids[:tokens]


class PromptWriter:
    """Writes the wire request of a trace request, always streamed and with usage."""

    def __init__(
        self,
        model: str,
        *,
        form: PromptForm = "chat",
        ignore_eos: bool = True,
        max_output_tokens: int | None = None,
        rename_recorded: bool = True,
    ) -> None:
        """`ignore_eos` asks vLLM and SGLang for the recorded length, whatever the model says.

        `max_output_tokens` caps the recorded lengths; recorded bodies stay as they are, but for
        their model's name where `rename_recorded` says so.
        """
        self._model = model
        self._form: PromptForm = form
        self._ignore_eos = ignore_eos
        self._max_output_tokens = max_output_tokens
        self._rename_recorded = rename_recorded

    def write(self, request: TraceRequest) -> WireRequest:
        """The request as bytes."""
        prompt = request.prompt
        if isinstance(prompt, RecordedBody):
            return self._recorded(prompt)
        body: dict[str, object] = {"model": self._model}
        path = self._put_prompt(body, prompt, request.input_tokens)
        body["max_tokens"] = self._output_tokens(request)
        if self._ignore_eos:
            body["ignore_eos"] = True
        return WireRequest(path, orjson.dumps(body | _STREAMED))

    def _put_prompt(self, body: dict[str, object], prompt: BlockPrompt, tokens: int) -> str:
        match self._form:
            case "chat":
                body["messages"] = [{"role": "user", "content": prompt_text(prompt, tokens)}]
                return "/v1/chat/completions"
            case "completion":
                body["prompt"] = prompt_text(prompt, tokens)
            case "tokens":
                body["prompt"] = prompt_token_ids(prompt, tokens)
            case _:
                assert_never(self._form)
        return "/v1/completions"

    def _output_tokens(self, request: TraceRequest) -> int:
        # An answer of no tokens cannot be asked for, and a first token is what is measured.
        wanted = max(1, request.output_tokens or 1)
        return wanted if self._max_output_tokens is None else min(wanted, self._max_output_tokens)

    def _recorded(self, prompt: RecordedBody) -> WireRequest:
        body = dict(prompt.body)
        if self._rename_recorded or "model" not in body:
            body["model"] = self._model
        if prompt.path in _STREAMING_PATHS:
            body |= _STREAMED
        return WireRequest(prompt.path, orjson.dumps(body))


_STREAMED: Final[dict[str, object]] = {"stream": True, "stream_options": {"include_usage": True}}
