"""InferencePools: which pods, on which ports. Read anew whenever the pool changes."""

from __future__ import annotations

import msgspec

from cardan_router.discovery.kubernetes.objects import InferencePool

_decode = msgspec.json.Decoder(InferencePool).decode


class PoolFacts(msgspec.Struct, frozen=True):
    """All of a pool that discovery keeps: a label selector as the API takes it, and ports."""

    selector: str
    ports: tuple[int, ...]


def read_pool(raw: msgspec.Raw) -> PoolFacts | None:
    """The facts of a pool; None if it is being deleted."""
    pool = _decode(raw)
    if pool.metadata.deletion_timestamp:
        return None
    labels = sorted(pool.spec.selector.match_labels.items())
    if not labels:
        raise ValueError("the pool selects nothing")
    return PoolFacts(
        selector=",".join(f"{name}={value}" for name, value in labels),
        ports=tuple(port.number for port in pool.spec.target_ports),
    )
