"""Which models a fleet serves again soon, though nobody serves them now.

A model whose only endpoint is restarted, evicted or replaced is gone for as long as it loads. To
say that it does not exist would be wrong, and clients do not ask again after that (a 404 is final
for every SDK); to say that no endpoint is ready is true, and they do. So what was served is
remembered for a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan.instants import Monotonic

# A model of hundreds of gigabytes is pulled, loaded and compiled in about ten minutes.
REMEMBER_S: Final = 600.0
# Beyond this many, models that nobody serves are forgotten: adapters come and go by name.
MAX_REMEMBERED_MODELS: Final = 1024


class ModelMemory:
    """When each model was last served."""

    __slots__ = ("_seen_at",)

    def __init__(self) -> None:
        self._seen_at: dict[str, Monotonic] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._seen_at)

    def note(self, models: Iterable[str], now: Monotonic) -> None:
        """These are served now."""
        for model in models:
            self._seen_at.pop(model, None)  # to the end: the oldest come first
            self._seen_at[model] = now
        while len(self._seen_at) > MAX_REMEMBERED_MODELS:
            del self._seen_at[next(iter(self._seen_at))]

    def recalls(self, model: str, now: Monotonic) -> bool:
        """Was it served lately?"""
        seen_at = self._seen_at.get(model)
        return seen_at is not None and now - seen_at < REMEMBER_S
