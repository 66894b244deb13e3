"""Figures as a table on the terminal: one run, or several beside each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan_sim.replay.figures import Balance, EndpointShare, Figures, Spread

NOT_SAID: Final = "not said"
# What the gateway's receipts call an endpoint without a name.
_PSEUDONYM: Final = re.compile(r"endpoint-[0-9a-f]{8}")


def percent(ratio: float | None) -> str:
    """A share as per cent."""
    return NOT_SAID if ratio is None else f"{100 * ratio:.1f} %"


def rate(value: float | None, unit: str) -> str:
    """A rate with thousands set apart."""
    if value is None:
        return NOT_SAID
    return f"{value:,.0f} {unit}/s" if value >= 100 else f"{value:.2f} {unit}/s"


def times_mean(ratio: float | None) -> str:
    """A balance."""
    return NOT_SAID if ratio is None else f"{ratio:.2f} × mean"


def duration(seconds: float) -> str:
    """A duration in the unit that suits it."""
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _attained(figures: Figures) -> str:
    return f"{percent(figures.attained_ratio)} in {figures.settings.slo_ttft_s:g} s"


def _balance_of(figures: Figures) -> str:
    return times_mean(figures.balance.requests if figures.balance else None)


def _computed_of(figures: Figures) -> str:
    return times_mean(figures.balance.computed if figures.balance else None)


Row = tuple[str, "Callable[[Figures], str]"]


def _quantile_rows(name: str, spread_of: Callable[[Figures], Spread | None]) -> list[Row]:
    def cell(percentile: int) -> Callable[[Figures], str]:
        def text(figures: Figures) -> str:
            spread = spread_of(figures)
            return NOT_SAID if spread is None else duration(spread.quantiles_s[percentile])

        return text

    return [(f"{name} p50", cell(50)), ("  p90", cell(90)), ("  p99", cell(99))]


# Every row has one value, short enough for three runs beside each other in 80 columns.
ROWS: Final[tuple[Row, ...]] = (
    ("Whole answers", lambda f: f"{f.succeeded:,}"),
    ("Failed", lambda f: f"{f.failed:,}"),
    ("Offered", lambda f: rate(f.settings.offered_rps, "req")),
    ("SLO attained", _attained),
    ("Cache hit rate", lambda f: percent(f.hit_ratio)),
    *_quantile_rows("TTFT", lambda f: f.ttft_s),
    *_quantile_rows("ITL", lambda f: f.itl_s),
    *_quantile_rows("E2E", lambda f: f.e2e_s),
    ("Throughput", lambda f: rate(f.requests_per_s, "req")),
    ("  prompt tokens", lambda f: rate(f.input_tokens_per_s, "tok")),
    ("  output tokens", lambda f: rate(f.output_tokens_per_s, "tok")),
    ("Busiest, requests", _balance_of),
    ("Busiest, computed", _computed_of),
)


def figures_table(runs: Sequence[Figures]) -> Table:
    """One column for each run."""
    table = Table(show_header=True, header_style="bold", title_justify="left")
    table.add_column("")
    for run in runs:
        table.add_column(run.settings.label, justify="right")
    for name, cell in ROWS:
        table.add_row(name, *(cell(run) for run in runs))
    return table


def notes(figures: Figures) -> list[str]:
    """What a reader of the figures must know besides them, as sentences."""
    lines = []
    if figures.unfinished or figures.unsent:
        lines.append(
            f"Stopped early: {figures.unfinished:,} requests were under way and "
            f"{figures.unsent:,} not yet sent; none of them is in the figures."
        )
    if figures.errors:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in figures.errors.items())
        lines.append(f"Failed: {kinds}.")
    if figures.lateness.behind:
        late_ms = 1000 * figures.lateness.p99_s
        lines.append(
            f"The client fell behind its own schedule (p99 {late_ms:.0f} ms late): "
            "this machine was too busy, and the load was not quite the one asked for."
        )
    if figures.settings.time_scale != 1.0:
        lines.append(
            f"Engines ran at time scale {figures.settings.time_scale:g}: durations are the wall "
            "clock's divided by it, so whatever is not the engine weighs as much more or less."
        )
    return lines


def endpoint_note(balance: Balance) -> str:
    """What must be said under the table of endpoints; nothing where all have names."""
    if not any(_PSEUDONYM.fullmatch(share.name) for share in balance.endpoints):
        return ""
    return (
        "endpoint-XXXXXXXX is an endpoint without a name in the gateway's configuration: its "
        "receipts hold no addresses. Name endpoints there, or give --engine-url for each."
    )


ENDPOINT_COLUMNS: Final = ("Endpoint", "Requests", "Prompt tokens", "Hit rate")


def endpoint_rows(balance: Balance) -> list[list[str]]:
    """What each endpoint served, a cell for each of ENDPOINT_COLUMNS."""
    return [_endpoint_row(share) for share in balance.endpoints]


def _endpoint_row(share: EndpointShare) -> list[str]:
    hit = None
    if share.prompt_tokens and share.cached_tokens is not None:
        hit = share.cached_tokens / share.prompt_tokens
    tokens = NOT_SAID if share.prompt_tokens is None else f"{share.prompt_tokens:,}"
    return [share.name, f"{share.requests:,}", tokens, percent(hit)]


def endpoints_table(balance: Balance) -> Table:
    """The rows of the endpoints on the terminal."""
    table = Table(header_style="bold")
    for name in ENDPOINT_COLUMNS:
        table.add_column(name, justify="left" if name == "Endpoint" else "right")
    for row in endpoint_rows(balance):
        table.add_row(*row)
    return table
