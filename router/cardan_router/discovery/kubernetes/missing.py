"""When to say that nothing is found: a typo in a selector fails in silence otherwise.

A gateway that finds no engine is not ready and rightly waits, and so does whoever made the mistake,
who should not have to guess. Said after a while, for a list may be empty for a moment while pods
come; and again now and then, for the first line may be long gone from the log.
"""

from __future__ import annotations

from typing import Final

# Pods that are there are found within a second; that long nobody who looks at the log has given up.
QUIET_S: Final = 10.0
# One line in five minutes fills no log, and stands in whatever stretch of it is looked at.
AGAIN_S: Final = 300.0


class Missing:
    """Since when nothing has been found, and when that is to be said."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._say_at = 0.0

    def look(self, now: float, words: str) -> str:
        """What to say now, if anything; `words` say why nothing is found, or are empty."""
        if not words:
            self._since = None
            return ""
        if self._since is None:
            self._since, self._say_at = now, now + QUIET_S
        if now < self._say_at:
            return ""
        self._say_at = now + AGAIN_S
        return f"{words} (nothing to send requests to for {now - self._since:.0f} s)"
