"""Whether a server's clock is ours: pure.

All asks name the moment that they are about, by our clock. Of a Prometheus whose clock is ahead of
it that moment is the past, and all samples of then look young; no sample tells. The header `Date`
of its replies does, to a second (RFC 9110, 6.6.1).
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cardan.instants import WallTime


class Clock:
    """A server's clock, by the replies of one tick."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None

    def told(self, date: str | None, at: WallTime) -> None:
        """A reply bears this `Date`, and came `at`; a header that is none says nothing."""
        if not date:
            return
        try:
            ahead_s = parsedate_to_datetime(date).timestamp() - at
        except (ValueError, OverflowError):
            return
        # A reply that was long under way is no sign: the one that is nearest counts.
        if self._ahead_s is None or abs(ahead_s) < abs(self._ahead_s):
            self._ahead_s = ahead_s

    def differs(self, limit_s: float) -> str:
        """That it is farther off than this, in words; empty if it is not, or nobody can tell."""
        if self._ahead_s is None or abs(self._ahead_s) <= limit_s:
            return ""
        way = "ahead of" if self._ahead_s > 0 else "behind"
        far = f"{abs(self._ahead_s):.0f} s {way} the operator's"
        return f"clocks differ: that of Prometheus is {far}"
