"""Routing policies on a recorded workload, through the core alone: the smallest fair comparison.

    python -m benchmarks.policies conversation_trace.jsonl.gz --rate 6 --rate 7

Engines are a queue and a prefix cache each (`tests.core.policies.queueing`): no decoding, no
chunked prefill, no network, one gateway that sees all traffic. It tells policies apart and shows
where each one breaks; how much they differ on real engines it does not tell. The trace is
Mooncake's: time stamps in milliseconds, prompts as ids of 512-token blocks. Prompts are cut at
20,480 tokens and the first 500 requests are not counted, as in DualMap's evaluation.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash
from cardan.policies import BoundedLoad, CacheAware, DualMap, LeastRequest, Mode, RoundRobin

from tests.core.policies.queueing import Arrival, Play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan.policies import AnyPolicy

MAX_BLOCKS = 40
WARM_UP = 500
POLICIES: dict[str, AnyPolicy] = {
    "round-robin": RoundRobin(),
    "least-request": LeastRequest(),
    "bounded-load, 2 blocks": BoundedLoad(blocks=2),
    "cache-aware": CacheAware(),
    "dualmap, paper": DualMap(mode=Mode.PAPER),
    "dualmap": DualMap(),
    "dualmap, d=3": DualMap(d=3),
}


def main() -> int:
    """Print a table of SLO attainment and hit ratio, one row a policy."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("trace", type=Path, help="a Mooncake trace, .jsonl or .jsonl.gz")
    parser.add_argument("--rate", type=float, action="append", help="requests per second")
    parser.add_argument("--requests", type=int, default=4500)
    parser.add_argument("--skip", type=int, default=0, help="requests to skip at the beginning")
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--tokens-per-s", type=float, default=8_000.0, help="of one engine")
    parser.add_argument("--cache-tokens", type=int, default=1_000_000, help="of one engine")
    parser.add_argument("--slo", type=float, default=5.0, help="of the first token, in seconds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    lines = itertools.islice(read(options.trace), options.skip, options.skip + options.requests)
    trace = list(lines)
    rows = [
        {"policy": name, "rate": rate, **play(policy, trace, rate, options)}
        for rate in options.rate or [6.0, 7.0]
        for name, policy in POLICIES.items()
    ]
    for row in rows:
        print(
            f"{row['rate']:5.1f}/s  {row['policy']:24}"
            f" in SLO {row['attainment']:6.1%}  hits {row['hit_ratio']:6.1%}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


def play(
    policy: AnyPolicy,
    trace: list[tuple[float, tuple[int, ...]]],
    rate: float,
    options: argparse.Namespace,
) -> dict[str, float]:
    """One policy at one rate: the trace's gaps are stretched alike."""
    start, end = trace[0][0], trace[-1][0]
    stretch = len(trace) / rate / (end - start)
    arrivals = [Arrival((at - start) * stretch, chain) for at, chain in spread(trace)]
    result = Play(
        policy,
        [options.tokens_per_s] * options.engines,
        slo_s=options.slo,
        seed=1,
        cache_tokens=options.cache_tokens,
    ).run(arrivals)
    hit_ratio = result.hit_ratio()
    del result.ttfts_s[:WARM_UP]
    return {"attainment": result.attainment(options.slo), "hit_ratio": hit_ratio}


def read(path: Path) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Arrival time in seconds and chain of each request."""
    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    for line in text.splitlines():
        entry = json.loads(line)
        yield entry["timestamp"] / 1000.0, chained(entry["hash_ids"][:MAX_BLOCKS])


def chained(ids: list[int]) -> tuple[int, ...]:
    """Block ids as a chain of hashes."""
    chain, parent = [], 0
    for id_ in ids:
        parent = xxhash.xxh3_64_intdigest(str(id_).encode(), parent)
        chain.append(parent)
    return tuple(chain)


def spread(trace: list[tuple[float, tuple[int, ...]]]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Requests that share a time stamp (the trace's are coarse) are spread to the next one."""
    groups = [list(group) for _, group in itertools.groupby(trace, key=lambda entry: entry[0])]
    for group, after in itertools.zip_longest(groups, groups[1:]):
        gap_s = after[0][0] - group[0][0] if after else 0.0
        for number, (at, chain) in enumerate(group):
            yield at + gap_s * number / len(group), chain


if __name__ == "__main__":
    sys.exit(main())
