"""Figures as a table on the terminal: one run, or several beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan_sim.replay.figures import Balance, EndpointShare, Figures, Spread

NOT_SAID: Final = "not said"


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


def spread_line(spread: Spread | None) -> str:
    """p50, p90 and p99 of a duration, in one unit so that they compare at a glance."""
    if spread is None:
        return NOT_SAID
    values = (spread.p50_s, spread.p90_s, spread.p99_s)
    if values[-1] < 1:
        return " / ".join(f"{1000 * value:.3g}" for value in values) + " ms"
    return " / ".join(f"{value:.2f}" for value in values) + " s"


def _balance_of(figures: Figures) -> str:
    return times_mean(figures.balance.requests if figures.balance else None)


def _computed_of(figures: Figures) -> str:
    return times_mean(figures.balance.computed if figures.balance else None)


def _counts(figures: Figures) -> str:
    return f"{figures.succeeded:,} whole, {figures.failed:,} failed"


ROWS: Final[tuple[tuple[str, Callable[[Figures], str]], ...]] = (
    ("Requests", _counts),
    ("Offered", lambda f: rate(f.settings.offered_rps, "req")),
    ("SLO attained", lambda f: f"{percent(f.attained_ratio)} ≤ {f.settings.slo_ttft_s:g} s TTFT"),
    ("Cache hit rate", lambda f: percent(f.hit_ratio)),
    ("TTFT p50 / p90 / p99", lambda f: spread_line(f.ttft_s)),
    ("ITL p50 / p90 / p99", lambda f: spread_line(f.itl_s)),
    ("E2E p50 / p90 / p99", lambda f: spread_line(f.e2e_s)),
    ("Throughput", lambda f: rate(f.requests_per_s, "req")),
    ("  prompt tokens", lambda f: rate(f.input_tokens_per_s, "tok")),
    ("  output tokens", lambda f: rate(f.output_tokens_per_s, "tok")),
    ("Busiest, requests", _balance_of),
    ("Busiest, tokens computed", _computed_of),
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
