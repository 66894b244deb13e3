"""Bounds of the data plane: how much, how long. Sections of the configuration.

Every bound protects the other clients from one: of memory (sizes) or of patience (times).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes.

    A body over `max_body_bytes` is refused with 413 before it is buffered; SGLang reads any body
    and stops for minutes over 80 MB. `max_head_bytes` and `max_headers` bound a request's head
    (nginx: 32 KB, uvicorn: 64 KB; bearer tokens reach 16 KB). `max_connections` clients at once;
    one more is closed at once.
    """

    max_body_bytes: Count = 67_108_864
    max_head_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 65_536
    max_headers: Count = 128
    max_connections: Count = 65_536


class TimeoutsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Times, in seconds. They are looked at a few times a second, not to the millisecond.

    Of clients: a head must be complete `head_s` after its first byte, a body `body_s` after its
    head, with no pause over `body_idle_s`; a connection without a request is closed after
    `keep_alive_s`; a reader that takes nothing for `stalled_reader_s` is cut.

    Of engines: `connect_s` to dial, `first_byte_s` until the answer begins (SGLang sends its head
    only with the first event, so this bounds the engine's queue, not the network), `idle_s` between
    two reads of an answer that has begun (SGLang is silent for 5 s when it dies).
    """

    head_s: Annotated[float, msgspec.Meta(gt=0, le=30)] = 10.0
    body_s: Positive = 300.0
    body_idle_s: Positive = 30.0
    keep_alive_s: Positive = 75.0
    stalled_reader_s: Positive = 300.0
    connect_s: Positive = 2.0
    first_byte_s: Positive = 600.0
    idle_s: Positive = 120.0


class UpstreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Connections to engines.

    `idle_s` is how long an unused connection is kept: less than the five seconds after which vLLM
    and SGLang (uvicorn) close theirs, or requests meet a closing connection. `max_idle` bounds the
    unused ones for each endpoint. `api_key` is sent to the engines as a bearer token; clients' own
    keys are theirs and ours, and go no further unless `pass_authorization` says so. `api_key_file`
    is a file that holds that key instead, as a mounted Secret does; a reload reads it again.
    `tls_ca` is a PEM file that signs the engines' certificates where their URLs are https (empty:
    the system's).
    """

    idle_s: Positive = 3.0
    max_idle: Annotated[int, msgspec.Meta(ge=0)] = 256
    api_key: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]*$")] = ""
    api_key_file: str = ""
    pass_authorization: bool = False
    tls_ca: str = ""

    def __post_init__(self) -> None:
        if self.api_key and self.api_key_file:
            raise ValueError("give api_key or api_key_file, not both")


class PrewarmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Making prefixes warm at engines that are to own them, where an operator wants it
    (`hotSpots.prewarmSeconds` of a fleet): a request for one token after the prefix.

    Off by default: it costs engines work that nobody waits for, and memory keeps a prompt until it
    is sent, for seconds. Prompts in bodies over `max_body_bytes` are passed over; at most
    `max_kept_bytes` of them are kept, of `max_prefixes` prefixes. At most `max_concurrent` requests
    are under way, `max_per_s` begin in a second, and each has `timeout_s`. `priority` goes into
    their bodies, for engines that schedule by it and are told so (vLLM: more is later); others
    would refuse it.
    """

    enabled: bool = False
    max_prefixes: Count = 64
    max_body_bytes: Count = 1_048_576
    max_kept_bytes: Count = 8_388_608
    max_concurrent: Count = 2
    max_per_s: Positive = 2.0
    timeout_s: Positive = 30.0
    priority: Annotated[int, msgspec.Meta(ge=-1000, le=1000)] | None = None


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP front door.

    `cors_origins` are the browser origins whose pages may call (`https://host`, or `*` for all);
    none by default.
    """

    cors_origins: tuple[str, ...] = ()
