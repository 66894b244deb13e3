"""Metrics of what an operator and its gateways tell each other: hot prefixes, sleep, overlays."""

from __future__ import annotations

from typing import Final

from cardan_router.telemetry.registry import Kind, Spec

KEY_SHARE = Spec(
    "cardan_key_share_ratio",
    Kind.GAUGE,
    "Share of a model's prompt tokens of the last minute or so that came under a routing key, of"
    " the keys with more than 1/n of them on n endpoints; eight at most, and none that has cooled.",
    ("model", "key"),
    merge="max",
)
KEY_HIT_TOKENS = Spec(
    "cardan_key_hit_tokens",
    Kind.GAUGE,
    "Prompt tokens that a request under a hot key was believed to save, where it saved any.",
    ("model", "key"),
    merge="max",
)
KEY_BLOCKS = Spec(
    *("cardan_key_blocks", Kind.GAUGE, "How many prefix blocks a hot key stands for."),
    ("model", "key"),
    merge="max",
)
KEY_OWNER = Spec(
    "cardan_key_owner",
    Kind.GAUGE,
    "1 for each endpoint that a hot key belongs to.",
    ("model", "key", "endpoint"),
    merge="max",
)
KEY_WARMED = Spec(
    "cardan_key_warmed",
    Kind.GAUGE,
    "1 for each endpoint that has been made warm for a key that it is to own (`prewarm`), until the"
    " operator takes notice.",
    ("model", "key", "endpoint"),
    merge="max",
)
PREWARMS = Spec(
    "cardan_prewarms_total",
    Kind.COUNTER,
    "Requests that made a prefix warm at an engine that is to own it, by result: `ok`, `refused`"
    " (no room; asked again twice), `failed`.",
    ("result",),
)
PREWARM_TOKENS = Spec(
    "cardan_prewarm_tokens_total",
    Kind.COUNTER,
    "Prompt tokens that engines computed for such requests; what they held already is not in it.",
)
OVERLAY_GENERATION = Spec(
    "cardan_overlay_generation",
    Kind.GAUGE,
    "Generation of the operator's word on routing (RoutingOverlays), if there is one in force.",
    merge="max",
)
WAKES = Spec(
    "cardan_wakes_total",
    Kind.COUNTER,
    "Times that the operator was told, or could not be told, that requests wait for a model that"
    " sleeps, by result.",
    ("result",),
)

ALL: Final[tuple[Spec, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Spec)
)
