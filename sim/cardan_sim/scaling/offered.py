"""What clients ask of a fleet at one moment: a rate, and what a mean request looks like."""

from __future__ import annotations

from typing import NamedTuple


class Mix(NamedTuple):
    """A mean request. `hit_ratio` is the part of its prompt that warm caches save."""

    prompt_tokens: float = 6_000.0
    hit_ratio: float = 0.35
    output_tokens: float = 150.0


class Offered(NamedTuple):
    """Requests a second of a mix."""

    requests_per_s: float
    mix: Mix = Mix()
