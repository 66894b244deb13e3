"""Which headers pass through, in both directions.

What is not named here passes as it is, because a header that nobody here knows may mean something
to the other side. What is named would steer an engine's insides, tell of one, carry somebody's
credentials further than meant, or belongs to one connection.
"""

from __future__ import annotations

from typing import Final

from cardan_router.wire.fields import FieldTable

# Of one connection (RFC 9110 §7.6.1), or written anew for the next.
_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "http2-settings", "content-length", "x-request-id",
    }
)  # fmt: skip

TO_ENGINES: Final = FieldTable(
    _HOP
    | {
        "host", "expect", "content-encoding",
        # the answer is read for errors and usage, so it must come uncompressed
        "accept-encoding",
        # the client's credentials, meant for this gateway
        "authorization", "proxy-authorization", "x-api-key", "api-key", "cookie",
        # what would steer an engine: rank, priority, load reports, another method
        "x-data-parallel-rank", "x-vllm-priority", "endpoint-load-metrics-format",
        "x-http-method-override", "x-method-override", "x-http-method",
        # meant for this gateway
        "x-slo-ttft-ms", "x-request-timeout-ms",
    },
    ("x-override-", "x-smg-", "x-cardan-", "x-kv-cache-", "x-gateway-", "sec-"),
)  # fmt: skip

TO_CLIENTS: Final = FieldTable(
    _HOP
    | {
        # what could name the engine, or lead to it
        "server", "via", "date", "location", "content-location", "set-cookie", "alt-svc",
        "x-powered-by", "x-process-id", "endpoint-load-metrics",
        # between the engine and us
        "www-authenticate", "proxy-authenticate",
        # ours to say
        "access-control-allow-origin", "access-control-allow-credentials",
    },
    ("x-cardan-", "x-smg-", "x-envoy-", "x-forwarded-"),
)  # fmt: skip
