"""The figures of a replay, as they are written to JSON and read back to be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

# Raised when a field changes its meaning or goes away; readers refuse a number they do not know.
SCHEMA: Final = 1


class Spread(msgspec.Struct, frozen=True):
    """The distribution of a duration in seconds; `quantiles_s` are the 0th to 100th percentile."""

    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float
    quantiles_s: list[float]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What was replayed, and how.

    `offered_rps` is the mean rate at which requests were due, `time_scale` the engines' own:
    every duration in the figures is the wall clock's divided by it.
    """

    label: str
    trace: str
    endpoint: str
    model: str
    requests: int
    offered_rps: float
    time_scale: float
    slo_ttft_s: float


class EndpointShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one endpoint served. None is a figure that nobody gave."""

    name: str
    requests: int
    prompt_tokens: int | None
    cached_tokens: int | None


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """How evenly the endpoints were used: the busiest one over the mean; 1 is perfect.

    `computed` is the same of prompt tokens that no cache held, which is what makes load.
    """

    source: Literal["receipts", "engines"]
    requests: float
    computed: float | None
    endpoints: list[EndpointShare]


class Lateness(msgspec.Struct, frozen=True, kw_only=True):
    """How far the client itself fell behind its schedule, in seconds of the wall clock."""

    p99_s: float
    max_s: float
    behind: bool


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in each bin of `bin_s` seconds; `in_flight` is taken at the bin's end."""

    bin_s: float
    due: list[int]
    ended: list[int]
    failed: list[int]
    in_flight: list[int]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a replay reports.

    `attained_ratio` is the share of all ended requests that came whole with a TTFT within the
    SLO. `hit_ratio` is the share of prompt tokens the engines found in their caches, None where
    they do not say.
    """

    schema: int
    settings: Settings
    succeeded: int
    failed: int
    unfinished: int
    unsent: int
    errors: dict[str, int]
    span_s: float
    requests_per_s: float
    input_tokens_per_s: float | None
    output_tokens_per_s: float | None
    attained_ratio: float
    hit_ratio: float | None
    ttft_s: Spread | None
    itl_s: Spread | None
    e2e_s: Spread | None
    balance: Balance | None
    lateness: Lateness
    timeline: Timeline


class FiguresError(ValueError):
    """A file that holds no figures; the message names it."""


def to_json(figures: Figures) -> bytes:
    """The figures as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"


def read_figures(path: Path) -> Figures:
    """The figures in a file written by `--json`. Raises FiguresError."""
    try:
        figures = msgspec.json.decode(path.read_bytes(), type=Figures)
    except OSError as error:
        raise FiguresError(f"{path}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise FiguresError(f"{path}: no replay figures: {error}") from error
    if figures.schema != SCHEMA:
        raise FiguresError(f"{path}: schema {figures.schema}, this version reads {SCHEMA}")
    return figures
