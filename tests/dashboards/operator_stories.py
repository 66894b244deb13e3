"""What operators measured, and which alert fires of it, as in `stories`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.dashboards.stories import JOB, Story

if TYPE_CHECKING:
    from collections.abc import Mapping

FLEET = {"fleet_namespace": "llm", "fleet": "llama"}


def _leading(*values: str) -> dict[str, str]:
    return {
        f'cardan_controller_leading{{{JOB},pod="operator-{n}",instance="{n}:8080"}}': told
        for n, told in enumerate(values)
    }


def _ticks(ok: str, failed: str) -> dict[str, str]:
    return {
        f'cardan_controller_ticks_total{{{JOB},pod="operator-0",result="{result}"}}': values
        for result, values in (("ok", ok), ("failed", failed))
    }


def _condition(type_: str, values: str) -> dict[str, str]:
    labels = ",".join(f'{name}="{value}"' for name, value in FLEET.items())
    return {f'cardan_fleet_condition{{{JOB},pod="operator-0",{labels},type="{type_}"}}': values}


def _failures(values: str) -> dict[str, str]:
    return {f'cardan_controller_fleet_failures_total{{{JOB},pod="operator-0"}}': values}


def _held(alert: str, type_: str, at: str, *, good: str = "1") -> tuple[Story, ...]:
    """A condition that is wrong for long, for a moment, and never."""
    bad = "0" if good == "1" else "1"
    fires: Mapping[str, str] = {**FLEET, "type": type_}
    return (
        Story(alert, f"{type_} is {bad}", _condition(type_, f"{bad}x30"), at, fires),
        Story(alert, "for two minutes", _condition(type_, f"{good}x5 {bad}x2 {good}x30"), at, None),
        Story(alert, "never", _condition(type_, f"{good}x30"), at, None),
    )


OPERATOR_STORIES = (
    Story("CardanOperatorGone", "all end", _leading("1x5 stale", "0x5 stale"), "15m", {}),
    Story("CardanOperatorGone", "one ends", _leading("1x5 stale", "0x5 1x20"), "15m", None),
    Story("CardanOperatorGone", "there never was one", {}, "15m", None),
    Story("CardanOperatorNotLeading", "both wait", _leading("0x20", "0x20"), "10m", {}),
    Story("CardanOperatorNotLeading", "one leads", _leading("0x20", "1x20"), "10m", None),
    Story(
        "CardanOperatorNotLeading",
        "one takes over within two minutes",
        _leading("1x5 stale", "0x6 1x20"),
        "10m",
        None,
    ),
    Story("CardanOperatorTicksFail", "all", _ticks("4x20", "0+4x20"), "15m", {}),
    Story("CardanOperatorTicksFail", "one", _ticks("0+4x20", "0x5 1x20"), "15m", None),
    Story("CardanOperatorFleetFaults", "at each tick", _failures("0+4x20"), "15m", {}),
    Story("CardanOperatorFleetFaults", "once", _failures("0x5 1x20"), "15m", None),
    *_held("CardanFleetRefused", "SpecValid", "15m"),
    *_held("CardanFleetRefused", "AbleToScale", "15m"),
    *_held("CardanFleetMetricsUnhealthy", "MetricsHealthy", "20m"),
    *_held("CardanFleetWithoutCapacity", "CapacityAvailable", "20m"),
    *_held("CardanFleetInConflict", "Conflict", "15m", good="0"),
)
