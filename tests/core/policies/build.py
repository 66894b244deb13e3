"""Fleets, prompts and requests for tests of policies: no clock, no network, no hidden defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.decision import Candidate, Decision, Reason
from cardan.endpoint import Endpoint
from cardan.fleet import Fleet, FleetConfig, Pool
from cardan.instants import Monotonic
from cardan.ledger import Lease, Ledger
from cardan.prompt import EMPTY, Prompt
from cardan.request import Api, RequestView

if TYPE_CHECKING:
    from random import Random

    from cardan.fleet import EndpointState
    from cardan.policies.base import Chooser

MODEL = "m"
NOW = Monotonic(100.0)


def fleet_of(n: int, **config: int) -> Fleet:
    """A fleet of `n` warm endpoints `e00`, `e01`, ... that serve `MODEL`."""
    fleet = Fleet(FleetConfig(**config))  # type: ignore[arg-type]
    fleet.update([endpoint(number) for number in range(n)], NOW)
    return fleet


def endpoint(number: int) -> Endpoint:
    """The endpoint `e<number>`."""
    return Endpoint(url=f"http://10.0.0.{number}:8000", name=f"e{number:02}", models=(MODEL,))


def pool_of(fleet: Fleet, now: Monotonic = NOW) -> Pool:
    """The fleet's pool, which must exist."""
    pool = fleet.pool(MODEL, now)
    assert pool is not None
    return pool


def prompt_of(*blocks: int, tail: int | None = None, block_tokens: int = 512) -> Prompt:
    """A prompt of full blocks with these hashes, and half a block more if there is a tail."""
    tokens = len(blocks) * float(block_tokens)
    if tail is None:
        return Prompt(tuple(blocks), tokens, block_tokens, len(blocks))
    return Prompt((*blocks, tail), tokens + block_tokens / 2, block_tokens, len(blocks))


def request_of(
    prompt: Prompt = EMPTY,
    *,
    slo_ttft_s: float = 4.0,
    session: str = "",
    stream: bool = True,
    arrived_at: float = NOW,
    body_bytes: int = 0,
) -> RequestView:
    """A chat request for `MODEL` that arrived now."""
    return RequestView(
        request_id="r",
        api=Api.CHAT,
        model=MODEL,
        prompt=prompt,
        stream=stream,
        arrived_at=Monotonic(arrived_at),
        slo_ttft_s=slo_ttft_s,
        session=session,
        body_bytes=body_bytes,
    )


def choose(
    chooser: Chooser, request: RequestView, pool: Pool, rng: Random, now: Monotonic = NOW
) -> Decision:
    """One decision over all routable endpoints."""
    return chooser.choose(request, pool, pool.routable, now, rng)


def load(
    state: EndpointState,
    requests: int,
    *,
    tokens_each: float = 0.0,
    at: float = NOW,
    stream: bool = True,
) -> list[Lease]:
    """Open leases at an endpoint, each with `tokens_each` tokens of work (no attention in it)."""
    ledger = Ledger()
    chosen = Candidate(state, 0.0, tokens_each, 0.0, 0.05, 1.0)
    decision = Decision(chosen, (chosen,), Reason.POLICY)
    request = request_of(Prompt((), 0.0, 512, 0), stream=stream, arrived_at=at)
    return [ledger.open(request, decision, Monotonic(at)) for _ in range(requests)]
