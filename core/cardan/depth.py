"""How long a prefix the routing key is: short enough to share, long enough to spread.

A key that many requests share binds them to two endpoints. A pair can carry about 2/n of the
traffic, so a node of the prefix tree with a greater share is *hot* and the key goes one level
deeper, until it is the shortest prefix that is not hot. A hot node stays so until its share falls
below 1/n: depths that flip would move keys, and with them caches. (DualMap, arXiv 2602.06502.)

Shares are counted from this process's own arrivals, and only along the hot path: of each arrival
the hot nodes and the first cold one. The answer is a function of the arrivals alone, so replicas
that see samples of one traffic come to the same depths without talking.

Two things make it learn fast and forget evenly:

- *Paths.* A system prompt is many blocks that always come together. Level by level, each would have
  to grow hot on its own. So a cold node that is half-way to hot remembers how far all its arrivals
  agree; when it turns hot, all that agreed part does, in one step.
- *Generations.* The window is the current and the previous generation of counters, so forgetting is
  one assignment and memory is bounded by the arrivals of a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from cardan.instants import Monotonic


class DepthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a prefix is hot, on a fleet of n endpoints.

    Hot above `hot_share`/n of the arrivals, cold again below `cold_share`/n (the paper's 2 and 1).
    The window is the greater of `min_window` and `window_per_endpoint` * n arrivals: a node at 2/n
    then has at least 120 of them, a standard error of 9 %. No node is hot before it has `min_count`
    arrivals, so that a single conversation on an idle fleet keeps its endpoint (the paper's code
    waits for as many). A generation ends at `max_age_s` at the latest: what was hot an hour ago
    says nothing.
    """

    hot_share: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    cold_share: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    min_window: Annotated[int, msgspec.Meta(ge=2)] = 1000
    window_per_endpoint: Annotated[int, msgspec.Meta(ge=0)] = 60
    min_count: Annotated[int, msgspec.Meta(ge=1)] = 20
    max_age_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0


class DepthController:
    """The hot nodes of one model's prefix tree."""

    __slots__ = (
        "_arrivals",
        "_born_at",
        "_config",
        "_counts",
        "_hot",
        "_old",
        "_old_arrivals",
        "_paths",
    )

    def __init__(self, config: DepthConfig | None = None) -> None:
        self._config = config or DepthConfig()
        self._hot: set[int] = set()
        self._counts: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._arrivals = 0
        self._old_arrivals = 0
        self._paths: dict[int, tuple[tuple[int, ...], int]] = {}
        self._born_at: float | None = None

    def __repr__(self) -> str:
        return f"<DepthController hot={len(self._hot)} counted={len(self)}>"

    def __len__(self) -> int:
        """Counters held, both generations."""
        return len(self._counts) + len(self._old)

    def observe(self, chain: tuple[int, ...], n: int, now: Monotonic) -> int:
        """Count an arrival on a fleet of `n` endpoints; returns its key's depth.

        The depth is 1..len(chain): the key is `chain[depth - 1]`. 0 for an empty chain.
        """
        self._age(n, now)
        self._arrivals += 1
        arrivals = self._arrivals + self._old_arrivals
        hot_above = self._config.hot_share * arrivals / n
        cold_below = self._config.cold_share * arrivals / n
        depth = 0
        for depth, node in enumerate(chain, 1):
            count = self._count(node)
            if node in self._hot:
                if count >= cold_below:
                    continue
                self._hot.discard(node)
            elif count > hot_above and count >= self._config.min_count:
                return self._heat(chain, depth)
            elif 2 * count >= max(hot_above, self._config.min_count):
                self._follow(chain, depth)
            return depth
        return depth

    def _count(self, node: int) -> int:
        count = self._counts.get(node, 0) + 1
        self._counts[node] = count
        return count + self._old.get(node, 0)

    def _follow(self, chain: tuple[int, ...], depth: int) -> None:
        """Remember how far the arrivals through a warm node agree."""
        node = chain[depth - 1]
        known = self._paths.get(node)
        if known is None:
            self._paths[node] = (chain, len(chain))
            return
        first, agreed = known
        shorter = min(agreed, len(chain))
        while shorter > depth and first[shorter - 1] != chain[shorter - 1]:
            shorter -= 1  # chained: what is equal at the end is equal before
        if shorter < agreed:
            self._paths[node] = (first, shorter)

    def _heat(self, chain: tuple[int, ...], depth: int) -> int:
        """A node turns hot, and with it the path its arrivals agree on; returns the new depth."""
        node = chain[depth - 1]
        if node in self._paths:
            self._follow(chain, depth)
        _, agreed = self._paths.pop(node, (chain, depth))
        current, old = self._counts[node], self._old.get(node, 0)
        agreed = max(agreed, depth)
        for together in chain[depth - 1 : agreed]:
            self._hot.add(together)
            self._counts[together] = current
            if old:
                self._old[together] = old
        return min(agreed + 1, len(chain))

    def _age(self, n: int, now: Monotonic) -> None:
        """Start a new generation when this one has seen half a window, or is old."""
        if self._born_at is None:
            self._born_at = now
        config = self._config
        if now - self._born_at < config.max_age_s:
            seen = 2 * self._arrivals
            if seen < config.min_window or seen < config.window_per_endpoint * n:
                return
        self._old, self._counts = self._counts, {}
        self._old_arrivals, self._arrivals = self._arrivals, 0
        self._born_at = now
        self._paths.clear()
        cold_below = self._config.cold_share * self._old_arrivals / n
        self._hot = {node for node in self._hot if self._old.get(node, 0) >= cold_below}
