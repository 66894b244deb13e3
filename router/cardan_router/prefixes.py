"""The prefixes that an operator wants warm somewhere, and the prompts to do it with.

Nothing is kept beforehand. When the overlay says that a key is to be warmed, the next request under
it is looked at: a key worth moving has many. What two prompts under a key have in common is its
prefix, as far as anybody can tell, so the first is kept until the second comes, and then cut. Alone
for `ALONE_S` it is cut where the key ends. What is cut is kept until everybody has been asked.

An operator goes on as soon as one gateway has told it. The others ask all the same when the key has
moved: it costs the engine a token, and they learn what it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from cardan.prompt import Prompt, prefix_request
from cardan.request import Api, RequestView

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cardan.decision import Decision
    from cardan.endpoint import EndpointId
    from cardan.instants import Monotonic
    from cardan.overlay import RoutingOverlay
    from cardan.prompt import KeyConfig

    from cardan_router.calls import Call
    from cardan_router.limits import PrewarmConfig

# A key is hot at twenty requests a minute (`telemetry.masses`), from all gateways: in two seconds
# another is likely, and an operator waits longer than that.
ALONE_S: Final = 2.0
GENERATING: Final = frozenset({Api.CHAT, Api.COMPLETION, Api.MESSAGES})


class Sample(NamedTuple):
    """A prompt that came under a key: where, when, and how long its key's prefix is."""

    api: Api
    path: str
    tenant: str
    body: bytes
    prompt: Prompt
    depth: int
    at: Monotonic


class Warming(NamedTuple):
    """What an engine is to be asked to become warm."""

    api: Api
    path: str
    tenant: str
    body: bytes
    prompt: Prompt

    def view(self, request_id: str, model: str, now: Monotonic, timeout_s: float) -> RequestView:
        """As routing sees it: nobody has been promised anything."""
        return RequestView(
            *(request_id, self.api, model, self.prompt, False, now, timeout_s, len(self.body), 1),
            tenant=self.tenant,
        )


class Prefix:
    """A key of a model that is to be warm at `names`.

    It has a `sample` first, with what is `common` to the next prompt; then a `warming`; and when it
    `is_done` nothing any more.
    """

    __slots__ = ("common", "is_done", "key", "model", "names", "sample", "warming")

    def __init__(self, model: str, key: int, names: tuple[EndpointId, ...]) -> None:
        self.model = model
        self.key = key
        self.names = names
        self.sample: Sample | None = None
        self.common = 0
        self.warming: Warming | None = None
        self.is_done = False

    @property
    def size(self) -> int:
        """Bytes that are kept for it."""
        kept = self.warming or self.sample
        return 0 if kept is None else len(kept.body)

    @property
    def wants_prompts(self) -> bool:
        """Does it still wait for one?"""
        return self.warming is None and not self.is_done

    def done(self) -> None:
        """Everybody has been asked."""
        self.sample, self.common, self.warming, self.is_done = None, 0, None, True


class Prefixes:
    """All of them, within bounds."""

    def __init__(self, config: PrewarmConfig, key: KeyConfig) -> None:
        self._config = config
        self._key = key
        self._prefixes: dict[tuple[str, int], Prefix] = {}

    def __iter__(self) -> Iterator[Prefix]:
        return iter(self._prefixes.values())

    def __len__(self) -> int:
        return len(self._prefixes)

    @property
    def wants_prompts(self) -> bool:
        """Is there one that still waits for a prompt?"""
        return any(prefix.wants_prompts for prefix in self)

    def follow(self, overlay: RoutingOverlay) -> None:
        """Do as the overlay says: those that are not named any more are forgotten."""
        known, self._prefixes = self._prefixes, {}
        for model, part in sorted(overlay.models.items()):
            for word in sorted({*part.warm, *part.owners, *part.add}):
                key = int(word, 16)
                prefix = known.get((model, key))
                own = {*part.owners.get(word, ()), *part.add.get(word, ())}
                kept = [name for name in (prefix.names if prefix else ()) if name in own]
                names = tuple(dict.fromkeys((*part.warm.get(word, ()), *kept)))
                if not names or len(self) >= self._config.max_prefixes:
                    continue
                prefix = prefix or Prefix(model, key, names)
                prefix.is_done = prefix.is_done and set(names) <= set(prefix.names)
                prefix.names = names
                self._prefixes[model, key] = prefix

    def saw(self, call: Call, decision: Decision) -> None:
        """A request goes to an engine: is it one that is waited for?"""
        prefix = self._prefixes.get((call.view.model, decision.key))
        if prefix is None or not prefix.wants_prompts or prefix.common:
            return
        prompt, sample = call.view.prompt, prefix.sample
        if sample is not None:
            prefix.common = _common(sample.prompt.chain, prompt.chain)
        elif self._has_room(call):
            view = call.view
            prefix.sample = Sample(
                view.api,
                call.path,
                view.tenant,
                bytes(call.body),
                prompt,
                decision.depth,
                view.arrived_at,
            )

    def cut(self, now: Monotonic) -> None:
        """Cut what has been compared, or has waited for that long enough."""
        for prefix in self:
            sample = prefix.sample
            if sample is None or (not prefix.common and now - sample.at < ALONE_S):
                continue
            prefix.warming = _warming(sample, prefix.common or sample.depth, self._key)
            prefix.sample, prefix.common = None, 0

    def _has_room(self, call: Call) -> bool:
        limits, size = self._config, len(call.body)
        kept = sum(prefix.size for prefix in self)
        return (
            call.view.api in GENERATING
            and size <= limits.max_body_bytes
            and kept + size <= limits.max_kept_bytes
        )


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many blocks two prompts share from their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _warming(sample: Sample, blocks: int, config: KeyConfig) -> Warming | None:
    """A request for the first blocks of a prompt; None if it has nothing that one could ask for."""
    prompt = sample.prompt
    is_whole = blocks > prompt.full_blocks
    body = prefix_request(
        sample.api, orjson.loads(sample.body), None if is_whole else blocks, config
    )
    if body is None:
        return None
    if not is_whole:
        size = prompt.block_tokens
        prompt = Prompt(prompt.chain[:blocks], float(blocks * size), size, blocks)
    return Warming(sample.api, sample.path, sample.tenant, orjson.dumps(body), prompt)
