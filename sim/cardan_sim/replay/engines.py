"""What the engines themselves count: requests, prompt tokens, and tokens found in their cache.

Read from `/metrics` before and after a replay. This is the truth of who served what, also behind
a gateway that says nothing about it, and it shows engines that got no request at all.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Under each field, the names it has: vLLM's (with the older name second), then SGLang's.
_REQUESTS: Final = ("vllm:request_success_total", "sglang:num_requests_total")
_PROMPT_TOKENS: Final = ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total")
_CACHED_TOKENS: Final = (
    "vllm:prompt_tokens_cached_total",
    "vllm:prefix_cache_hits_total",
    "sglang:cached_tokens_total",
)
_SAMPLE: Final = re.compile(r"([\w:]+)(?:\{.*\})?\s+(\S+)")
_SCRAPE_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class EngineCounts:
    """Counters of one engine, or their growth over a replay. None is a counter it lacks."""

    requests: int | None
    prompt_tokens: int | None
    cached_tokens: int | None

    def since(self, before: EngineCounts) -> EngineCounts:
        """The growth since an earlier reading; an engine that restarted counts from zero."""
        return EngineCounts(
            _growth(self.requests, before.requests),
            _growth(self.prompt_tokens, before.prompt_tokens),
            _growth(self.cached_tokens, before.cached_tokens),
        )


def _growth(after: int | None, before: int | None) -> int | None:
    if after is None:
        return None
    return after - before if before is not None and before <= after else after


def parse_counts(exposition: str) -> EngineCounts:
    """The counters in the Prometheus text of one engine, summed over their labels."""
    sums: dict[str, float] = {}
    for line in exposition.splitlines():
        match = _SAMPLE.match(line)
        if match is not None:
            sums[match[1]] = sums.get(match[1], 0.0) + float(match[2])
    return EngineCounts(
        _first(sums, _REQUESTS), _first(sums, _PROMPT_TOKENS), _first(sums, _CACHED_TOKENS)
    )


def _first(sums: dict[str, float], names: Iterable[str]) -> int | None:
    return next((int(sums[name]) for name in names if name in sums), None)


async def read_engines(engines: Mapping[str, str]) -> dict[str, EngineCounts]:
    """The counters of engines, URLs by name; engines that do not answer are left out."""
    timeout = aiohttp.ClientTimeout(total=_SCRAPE_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        counts = await asyncio.gather(*(_read_engine(session, url) for url in engines.values()))
    return {name: count for name, count in zip(engines, counts, strict=True) if count is not None}


async def _read_engine(session: aiohttp.ClientSession, url: str) -> EngineCounts | None:
    try:
        async with session.get(url.rstrip("/") + "/metrics") as response:
            return parse_counts(await response.text()) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
