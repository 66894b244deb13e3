"""What the controller tells gateways: moved keys, weights, drains, cordons, models that sleep.

Hashing and membership alone say where a key belongs. An overlay is what the controller has decided
on top of that: a value that replaces the one before as a whole, so a gateway that has missed three
of them is right with the fourth, and any number of gateways that hold the same one agree. Without
one, everything is as if there were none.

A key's candidates are the owners that the overlay names, then those that hashing gives until there
are `d`, then the added owners. Whom the overlay names is asked only if it may be asked at all, and
a name that nobody bears means nothing: an overlay that outlives its endpoints does no harm.

The controller knows pods. A pod with several engines is several endpoints here, `pod:port`, and
what is said of the pod is said of each of them; a key that goes to the pod goes to one, always the
same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cardan.endpoint import EndpointId
from cardan.spelling import in_yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cardan.fleet import EndpointState

# An overlay is one object of the Kubernetes API, which takes 1.5 MB; a key with eight owners of 63
# characters is 0.6 KB.
MAX_KEYS: Final = 1024
# A line that a person reads has room for so many names.
MAX_NAMED: Final = 4

Key = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
Owners = Annotated[tuple[EndpointId, ...], msgspec.Meta(min_length=1, max_length=16)]
Moved = Annotated[dict[Key, Owners], msgspec.Meta(max_length=MAX_KEYS)]
Factor = Annotated[float, msgspec.Meta(gt=0, le=10)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename=in_yaml):
    """Base of every part: frozen. Who writes it may be newer, and say more than is known here."""


class Dormant(_Part, frozen=True):
    """A model scaled to nothing: it is expected, and a request for it waits.

    At most `hold_requests` of `hold_bytes` in all wait, each for `hold_s`; the first one is told to
    the controller at `wake_url` (empty: the controller looks by itself).
    """

    hold_requests: Count = 256
    hold_bytes: Count = 67_108_864
    hold_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    wake_url: str = ""


class ModelOverlay(_Part, frozen=True):
    """What is to be different for one model.

    `owners` are a key's owners in order, `add` owners beside its own; `warm` are endpoints that are
    to hold a key soon, and own it later. `weights` are factors on endpoints' shares of keys.
    `draining` endpoints are given no new key, `cordoned` ones nothing.
    """

    owners: Moved = msgspec.field(default_factory=dict)
    add: Moved = msgspec.field(default_factory=dict)
    warm: Moved = msgspec.field(default_factory=dict)
    weights: dict[EndpointId, Factor] = msgspec.field(default_factory=dict)
    draining: tuple[EndpointId, ...] = ()
    cordoned: tuple[EndpointId, ...] = ()
    dormant: Dormant | None = None

    def words(self) -> str:
        """What it changes, in some words."""
        moved = len(self.owners.keys() | self.add.keys())
        weights = [f"{id_} x {factor:g}" for id_, factor in sorted(self.weights.items())]
        told = (
            ("sleeps" if self.dormant is not None else ""),
            (f"{moved} key{'s' if moved > 1 else ''} moved" if moved else ""),
            (
                f"{len(self.warm)} key{'s' if len(self.warm) > 1 else ''} to warm"
                if self.warm
                else ""
            ),
            (f"weights {some(weights)}" if weights else ""),
            (f"draining {some(self.draining)}" if self.draining else ""),
            (f"cordoned {some(self.cordoned)}" if self.cordoned else ""),
        )
        return ", ".join(filter(None, told))


class RoutingOverlay(_Part, frozen=True):
    """All of it, by model. `generation` rises with every change; it is shown, not acted on."""

    generation: Count = 0
    models: dict[str, ModelOverlay] = msgspec.field(default_factory=dict)

    def dormant(self, model: str) -> Dormant | None:
        """How requests for a model that is scaled to nothing are held; None if it is not."""
        part = self.models.get(model)
        return None if part is None else part.dormant

    def sleepers(self) -> list[str]:
        """The models that are scaled to nothing."""
        return [model for model, part in self.models.items() if part.dormant is not None]

    def words(self) -> str:
        """What it changes, in one line; empty if nothing."""
        parts = ((model, part.words()) for model, part in sorted(self.models.items()))
        return "; ".join(f"{model}: {words}" for model, words in parts if words)


NO_OVERLAY: Final = RoutingOverlay()


def combined(overlays: Iterable[RoutingOverlay]) -> RoutingOverlay:
    """One overlay of many fleets' own.

    Two that speak of one model both count: the lesser weight, everybody who is named; of a key that
    both move, the first one's word. So their order must be the same everywhere.
    """
    generation = 0
    models: dict[str, ModelOverlay] = {}
    for overlay in overlays:
        generation += overlay.generation
        for model, part in overlay.models.items():
            known = models.get(model)
            models[model] = part if known is None else _both(known, part)
    return RoutingOverlay(generation=generation, models=models)


class Standing(msgspec.Struct, frozen=True):
    """What an overlay says of one endpoint, over all models: it is one process."""

    factor: float = 1.0
    draining: bool = False
    cordoned: bool = False


AS_IT_IS: Final = Standing()


def pod_of(id_: EndpointId) -> EndpointId:
    """The pod of an endpoint that is one of several there, `pod:port`; else the endpoint's name."""
    pod, _, port = id_.rpartition(":")
    return EndpointId(pod) if pod and port.isdecimal() else id_


def standing_of(id_: EndpointId, standings: Mapping[EndpointId, Standing]) -> Standing:
    """What is said of an endpoint, or else of its pod."""
    return standings.get(id_) or standings.get(pod_of(id_), AS_IT_IS)


def unborne(part: ModelOverlay, ids: Collection[EndpointId]) -> list[EndpointId]:
    """The names in an overlay that none of these endpoints bears, nor its pod."""
    named = {*part.weights, *part.draining, *part.cordoned}
    named.update(*part.owners.values(), *part.add.values(), *part.warm.values())
    return sorted(named.difference(ids, map(pod_of, ids)))


def standings(overlay: RoutingOverlay) -> dict[EndpointId, Standing]:
    """What the overlay says of each endpoint that it names."""
    factors: dict[EndpointId, float] = {}
    draining: set[EndpointId] = set()
    cordoned: set[EndpointId] = set()
    for part in overlay.models.values():
        draining.update(part.draining)
        cordoned.update(part.cordoned)
        factors = _least(factors, part.weights)
    return {
        id_: Standing(factors.get(id_, 1.0), id_ in draining, id_ in cordoned)
        for id_ in {*factors, *draining, *cordoned}
    }


class MovedKeys:
    """One model's moved keys, resolved for one set of endpoints that may be asked."""

    __slots__ = ("_add", "_owners")

    def __init__(
        self, owners: dict[int, list[EndpointState]], add: dict[int, list[EndpointState]]
    ) -> None:
        self._owners = owners
        self._add = add

    @classmethod
    def resolve(
        cls, part: ModelOverlay | None, routable: Iterable[EndpointState]
    ) -> MovedKeys | None:
        """The keys that have an owner among `routable`; None if no key has."""
        if part is None or not (part.owners or part.add):
            return None
        by_name = named(routable)
        owners, add = _resolved(part.owners, by_name), _resolved(part.add, by_name)
        return cls(owners, add) if owners or add else None

    def candidates(
        self,
        key: int,
        hashed: list[EndpointState],
        d: int,
        allowed: Collection[EndpointState] | None,
    ) -> list[EndpointState]:
        """A key's candidates: `hashed`, those of hashing, unless the key is moved.

        `allowed` is who may be asked, None for everybody who is routable.
        """
        owners, add = self._owners.get(key), self._add.get(key)
        if owners is None and add is None:
            return hashed
        chosen = _allowed(owners or (), allowed)
        for state in hashed:
            if len(chosen) >= d:
                break
            if state not in chosen:
                chosen.append(state)
        return chosen + [state for state in _allowed(add or (), allowed) if state not in chosen]


def named(states: Iterable[EndpointState]) -> dict[EndpointId, list[EndpointState]]:
    """Endpoints by the names that an overlay may call them: their own, and their pod's."""
    by_name: dict[EndpointId, list[EndpointState]] = {}
    for state in states:
        for name in {state.id, pod_of(state.id)}:
            by_name.setdefault(name, []).append(state)
    return by_name


def bearer(key: int, bearers: Sequence[EndpointState]) -> EndpointState:
    """Of several endpoints that bear a name, a pod's, the one that a key chooses."""
    return bearers[key % len(bearers)]


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _allowed(
    states: Sequence[EndpointState], allowed: Collection[EndpointState] | None
) -> list[EndpointState]:
    return [state for state in states if allowed is None or state in allowed]


def _resolved(
    moved: Mapping[str, Sequence[EndpointId]], by_name: Mapping[EndpointId, list[EndpointState]]
) -> dict[int, list[EndpointState]]:
    """Names become endpoints; names that nobody bears and keys without any are left out."""
    found: dict[int, list[EndpointState]] = {}
    for word, ids in moved.items():
        key = int(word, 16)
        bearers = [by_name[id_] for id_ in dict.fromkeys(ids) if id_ in by_name]
        if bearers:
            found[key] = list(dict.fromkeys(bearer(key, states) for states in bearers))
    return found


def _both(first: ModelOverlay, second: ModelOverlay) -> ModelOverlay:
    return ModelOverlay(
        owners={**second.owners, **first.owners},
        add={**second.add, **first.add},
        warm={**second.warm, **first.warm},
        weights=_least(first.weights, second.weights),
        draining=tuple(dict.fromkeys(first.draining + second.draining)),
        cordoned=tuple(dict.fromkeys(first.cordoned + second.cordoned)),
        dormant=first.dormant and second.dormant,  # one that is awake serves it
    )


def _least(
    first: Mapping[EndpointId, float], second: Mapping[EndpointId, float]
) -> dict[EndpointId, float]:
    return {
        id_: min(weights[id_] for weights in (first, second) if id_ in weights)
        for id_ in (*first, *second)
    }
