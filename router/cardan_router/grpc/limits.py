"""Bounds of the gRPC front door. A configuration value: no gRPC is imported to read it."""

from __future__ import annotations

from typing import Annotated

import msgspec

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]


class GrpcLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one client of the gRPC port may cost.

    `max_streams_per_connection` calls run at once on one connection; more wait in the client, or
    end with UNAVAILABLE where they come before the server has freed the last one (HTTP/2 advises
    at least 100, RFC 9113 §6.5.2; one connection of a busy data plane carries more). A client may
    ping every `min_ping_interval_s` and is disconnected after `ping_strikes` pings that came sooner
    (gRPC's own server allows one in 300 s, which breaks the keep-alive of many client libraries;
    10 s is the least that gRPC clients use). The server itself pings a silent connection after
    `keepalive_s`, and drops it after `keepalive_timeout_s` without an answer: a client that
    vanished without a FIN does not keep its engine busy for longer.

    `lease_ttl_s` is how long a lease of `Route` lives without a closing `Report`; `max_leases` how
    many are open at once (each keeps its prompt's block hashes, some 3 KB).
    """

    max_streams_per_connection: PositiveInt = 1000
    min_ping_interval_s: PositiveFloat = 10.0
    ping_strikes: PositiveInt = 2
    keepalive_s: PositiveFloat = 30.0
    keepalive_timeout_s: PositiveFloat = 10.0
    lease_ttl_s: PositiveFloat = 600.0
    max_leases: PositiveInt = 10_000
