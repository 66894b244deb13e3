"""Schedules open and close when their cron expressions say, by the clock on their own wall."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling.policies import CronWindow, Schedule

from tests.core.scaling.shown import view

OFFICE = CronWindow(
    start="0 8 * * 1-5", end="0 18 * * 1-5", timezone="Europe/Berlin", min_replicas=4
)


def at(year: int, month: int, day: int, hour: int, minute: int, zone: str = "UTC") -> WallTime:
    """A moment on a wall clock."""
    return WallTime(datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp())


def asked(now: WallTime, *windows: CronWindow) -> tuple[float | None, float | None]:
    """What a schedule asks for at least, and at most."""
    told = Schedule(windows=windows).recommend(Role.BOTH, view(), now)
    return told.replicas, told.at_most


@pytest.mark.parametrize(
    ("hour", "minute", "is_open"),
    [(7, 59, False), (8, 0, True), (12, 30, True), (17, 59, True), (18, 0, False), (23, 0, False)],
)
def test_a_window_opens_with_its_start_and_closes_with_its_end(
    hour: int, minute: int, is_open: bool
) -> None:
    now = at(2026, 3, 4, hour, minute, "Europe/Berlin")  # a Wednesday
    assert asked(now, OFFICE) == ((4.0, None) if is_open else (0.0, None))


def test_the_second_after_the_minute_counts_as_the_minute() -> None:
    now = at(2026, 3, 4, 8, 0, "Europe/Berlin")
    assert OFFICE.open_at(WallTime(now + 1.5))
    assert not OFFICE.open_at(WallTime(now - 0.5))


def test_a_weekend_is_closed() -> None:
    assert asked(at(2026, 3, 7, 12, 0, "Europe/Berlin"), OFFICE) == (0.0, None)


@pytest.mark.parametrize(("month", "hour_utc"), [(1, 7), (7, 6)])
def test_eight_is_eight_in_winter_and_in_summer(month: int, hour_utc: int) -> None:
    day = 7 if month == 1 else 8  # Wednesdays
    assert OFFICE.open_at(at(2026, month, day, hour_utc, 0))
    assert not OFFICE.open_at(at(2026, month, day, hour_utc - 1, 59))


@pytest.mark.parametrize("day", [28, 29, 30])  # clocks change on March 29th
def test_a_night_over_a_change_of_the_clocks_is_one_window(day: int) -> None:
    night = CronWindow(start="0 22 * * *", end="0 6 * * *", timezone="Europe/Berlin")
    for hour in (22, 23):
        assert night.open_at(at(2026, 3, day, hour, 30, "Europe/Berlin"))
    for hour in (0, 1, 3, 5):
        assert night.open_at(at(2026, 3, day, hour, 30, "Europe/Berlin"))
    for hour in (6, 12, 21):
        assert not night.open_at(at(2026, 3, day, hour, 30, "Europe/Berlin"))


def test_of_several_open_windows_the_largest_minimum_and_the_smallest_maximum_count() -> None:
    always = {"start": "0 0 * * *", "end": "59 23 * * *"}
    now = at(2026, 3, 4, 12, 0)
    assert asked(
        now,
        CronWindow(**always, min_replicas=2, max_replicas=9),
        CronWindow(**always, min_replicas=3, max_replicas=7),
        CronWindow(start="0 13 * * *", end="0 14 * * *", min_replicas=20),
    ) == (3.0, 7.0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"start": "0 25 * * *", "end": "0 1 * * *"}, "`start` is no cron expression"),
        ({"start": "0 8 * * *", "end": "0 8 * * * *"}, "end"),
        ({"start": "@daily", "end": "0 8 * * *"}, "start"),
        ({"start": "0 8 * * *", "end": "0 9 * * *", "timezone": "Mars/Base"}, "no time zone"),
        ({"start": "0 8 * * *", "end": "0 9 * * *", "timezone": "../etc/passwd"}, "no time zone"),
        (
            {"start": "0 8 * * *", "end": "0 9 * * *", "minReplicas": 3, "maxReplicas": 2},
            "maxReplicas.* below .*minReplicas",
        ),
    ],
)
def test_what_is_no_window_is_refused(entry: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"windows": [entry]}, Schedule)
