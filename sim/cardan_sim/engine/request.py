"""What goes into an engine and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from array import array

    from cardan_sim.engine.prompts import NamedPrompt

EndReason = Literal["length", "stop", "abort", "refused"]
Refusal = Literal["queue full", "too long", "draining"]


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to generate.

    prompt: token ids, or names of blocks. max_output: tokens to generate, cut to what fits the
    context; 0 computes the prompt and no more, as an embedding does. ends_with: the reason given
    when all are generated ("stop" when the engine would have ended by itself). priority: as the
    make reads it.
    cache_seed: keeps tenants' and adapters' prefixes apart. sampling_seed: same seed, same words.
    """

    id: str
    prompt: array[int] | NamedPrompt
    max_output: int
    ends_with: Literal["length", "stop"] = "length"
    priority: int = 0
    cache_seed: int = 0
    sampling_seed: int = 0
    streamed: bool = False


class Token(NamedTuple):
    """One token was generated; `number` 1 is the first. `at` is when its step ended."""

    id: str
    number: int
    token_id: int
    at: float


class Ended(NamedTuple):
    """A request is over; the last event of its id, and there is exactly one.

    prompt, cached, generated: tokens. refusal: why, when the reason is "refused".
    """

    id: str
    reason: EndReason
    at: float
    prompt: int
    cached: int
    generated: int
    refusal: Refusal | None = None


Event = Token | Ended


class Load(NamedTuple):
    """What an engine says about its load at one moment; tokens unless the name says requests.

    decoding: running requests that have their first token. used_blocks: held by requests.
    """

    at: float
    running: int
    decoding: int
    waiting: int
    waiting_uncached: int
    used_blocks: int
    idle_blocks: int
    context: int
    throughput: float
    hit_ratio: float
