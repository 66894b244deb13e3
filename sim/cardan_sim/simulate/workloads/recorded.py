"""Recorded traces, request by request: Mooncake, Azure, ServeGen, tenants, a user's own.

Formats are those of `cardan replay` (docs/reference/traces.md). Of a file of OpenAI requests the
prompts are read and hashed by the production code, so what they share here they share there.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cardan.errors import RequestError
from cardan.prompt import KeyConfig, read_prompt
from cardan.request import Api

from cardan_sim.simulate.jobs import KEY_BLOCK_TOKENS, Job
from cardan_sim.simulate.workloads.base import Base, Count, Segment, WorkloadError, at_rate, rng_of
from cardan_sim.traces import BlockPrompt, RecordedBody, TraceRequest, read_trace

if TYPE_CHECKING:
    from collections.abc import Iterable

# Ids of blocks stay below this in size (`cardan_sim.engine.prompts`).
_ID_BITS: Final = 50
# Blocks beyond what the key hashes are nobody else's: a number for each line, and one in the line.
_BEYOND: Final = 1 << 14
_APIS: Final = {
    "/v1/chat/completions": Api.CHAT,
    "/v1/completions": Api.COMPLETION,
    "/v1/responses": Api.RESPONSES,
    "/v1/messages": Api.MESSAGES,
}
# What an answer has where nobody says how long it was: the mean of Mooncake's conversations.
UNTOLD_OUTPUT: Final = 343


class Trace(Base, frozen=True, tag="trace", kw_only=True):
    """A trace file. `format` None looks at its first line; `requests` takes that many from it."""

    path: str
    format: str | None = None
    block_tokens: Count = KEY_BLOCK_TOKENS
    requests: Count | None = None

    @property
    def label(self) -> str:
        """The file's name."""
        return Path(self.path).name.partition(".")[0]

    def jobs(self, *, root: Path, segment: Segment, rate: float | None, seed: int) -> Iterable[Job]:
        """See `Base`. A file without times gets Poisson arrivals, and needs a rate."""
        jobs = _read(root / self.path, self.format, self.block_tokens)[: self.requests]
        jobs = [self.cut(job) for job in jobs[segment.of(len(jobs))]]
        if any(job.due_s < 0 for job in jobs):
            return _poisson(jobs, rate, seed)
        return at_rate(jobs, rate)


@lru_cache(maxsize=2)
def _read(path: Path, trace_format: str | None, block_tokens: int) -> list[Job]:
    """A file's requests as jobs; many runs of one process share them."""
    requests = read_trace(path, trace_format=trace_format, block_tokens=block_tokens)
    return [_job(number, request) for number, request in enumerate(requests)]


def _job(number: int, request: TraceRequest) -> Job:
    prompt, tokens = request.prompt, request.input_tokens
    if isinstance(prompt, BlockPrompt):
        blocks, block_tokens = prompt.blocks, prompt.block_tokens
    else:
        blocks, tokens = _hashed(number, prompt)
        block_tokens = KEY_BLOCK_TOKENS
    output = UNTOLD_OUTPUT if request.output_tokens is None else request.output_tokens
    return Job(
        -1.0 if request.arrival_s is None else request.arrival_s,
        tokens,
        max(1, output),
        blocks,
        block_tokens,
        session=request.session,
        tenant=request.tenant,
    )


def _hashed(number: int, recorded: RecordedBody) -> tuple[tuple[int, ...], int]:
    """Ids for a recorded body's blocks, as a gateway would hash them, and its tokens."""
    api = _APIS.get(recorded.path)
    if api is None:
        raise WorkloadError(
            f"request {number + 1} asks for {recorded.path}, which generates nothing"
        )
    try:
        prompt = read_prompt(api, recorded.body, KeyConfig())
    except RequestError as error:
        raise WorkloadError(f"request {number + 1}: {error}") from error
    tokens = max(1, round(prompt.tokens))
    count = -(-tokens // KEY_BLOCK_TOKENS)
    ids = [link >> (64 - _ID_BITS) for link in prompt.chain[:count]]
    start = -(number + 1) * _BEYOND
    return (*ids, *range(start, start - (count - len(ids)), -1)), tokens


def _poisson(jobs: list[Job], rate: float | None, seed: int) -> Iterable[Job]:

    if rate is None:
        raise WorkloadError("this trace has no times: say at which rate it is to be played")
    rng, now = rng_of("arrivals", seed), 0.0
    for job in jobs:
        yield replace(job, due_s=now)
        now += rng.expovariate(rate)
