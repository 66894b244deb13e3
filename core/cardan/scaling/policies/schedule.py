"""So many replicas at so many hours: cron windows, each in its time zone.

A window opens when `start` fires and closes when `end` does. It is open when `start` has fired
later than `end`; the time zone's own rules decide what an hour is, so 8:00 stays 8:00 over a change
of the clocks. An open window asks for `min_replicas`, and caps what all policies ask for at
`max_replicas`; of several open windows the largest minimum and the smallest maximum count.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cardan.scaling.decision import ReasonCode
from cardan.scaling.policies.base import ScalingPolicyBase, silent, told
from cardan.spelling import in_yaml
from croniter import croniter

if TYPE_CHECKING:
    from cardan.endpoint import Role
    from cardan.instants import WallTime
    from cardan.scaling.decision import Recommendation
    from cardan.scaling.view import RoleView

# Minute, hour, day of the month, month, day of the week: no seconds, no years, no nicknames.
_CRON = r"^\S+ \S+ \S+ \S+ \S+$"
Cron = Annotated[str, msgspec.Meta(pattern=_CRON, max_length=100)]


class CronWindow(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename=in_yaml
):
    """From each `start` to the next `end`, both cron expressions of five fields."""

    start: Cron
    end: Cron
    timezone: str = "UTC"
    min_replicas: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_replicas: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no cron expression, no time zone, no range; `ValueError`."""
        for name in ("start", "end"):
            if not croniter.is_valid(getattr(self, name)):
                raise ValueError(f"`{name}` is no cron expression: {getattr(self, name)!r}")
        _zone(self.timezone)
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError("maxReplicas lies below minReplicas")

    def open_at(self, now: WallTime) -> bool:
        """Whether the window is open."""
        return _is_open(self.start, self.end, self.timezone, int(now // 60))


class Schedule(ScalingPolicyBase, tag="schedule", frozen=True, kw_only=True):
    """Windows with a minimum, and perhaps a maximum, of replicas."""

    windows: Annotated[tuple[CronWindow, ...], msgspec.Meta(min_length=1, max_length=64)]

    def recommend(self, role: Role, view: RoleView, now: WallTime) -> Recommendation:
        """What the open windows ask for; nothing while none is."""
        if not self.speaks_for(role):
            return silent(ReasonCode.SCHEDULE, role)
        opened = [window for window in self.windows if window.open_at(now)]
        if not opened:
            return told(ReasonCode.SCHEDULE, "no window is open", 0.0)
        least = max(window.min_replicas for window in opened)
        most = min((w.max_replicas for w in opened if w.max_replicas is not None), default=None)
        message = f"open since {opened[0].start!r} ({opened[0].timezone}): at least {least}"
        if most is not None:
            message += f", at most {most}"
        return told(ReasonCode.SCHEDULE, message, float(least), at_most=most)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone {name!r}") from None


# Many fleets share a schedule, each is asked several times a minute, and an answer takes 2 ms.
@lru_cache(maxsize=4096)
def _is_open(start: str, end: str, timezone: str, minute: int) -> bool:
    """Whether a window is open in that minute since 1970."""
    at = datetime.fromtimestamp(minute * 60, _zone(timezone))
    return _last(start, at) > _last(end, at)


def _last(cron: str, at: datetime) -> datetime:
    """When it fired last, `at` itself included."""
    fired: datetime = croniter(cron, at).get_prev(datetime)
    return at if croniter.match(cron, at) else fired
