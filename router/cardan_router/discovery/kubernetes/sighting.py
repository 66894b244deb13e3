"""What an object of the API says of one engine.

Labels and annotations of a pod (of a Service, whose labels its EndpointSlices carry) tell what the
API cannot know; an annotation wins over a label of the same name, since a label's value cannot hold
a model's `org/name`:

    cardan.dev/role     both, prefill or decode        else llm-d.ai/role
    cardan.dev/engine   vllm or sglang                 else llm-d.ai/engine-type, and its old name
    cardan.dev/model    models, with commas between    else the engine is asked
    cardan.dev/weight   its share of keys              else 1

A word under our own names that is none of these keeps the endpoint out, and is said: a prefill
engine that serves whole requests for a typo's sake would be worse. Foreign words are only hints.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec
from cardan.endpoint import Endpoint, EngineKind, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan_kube.objects import Meta

ROLE: Final = "cardan.dev/role"
ENGINE: Final = "cardan.dev/engine"
MODEL: Final = "cardan.dev/model"
WEIGHT: Final = "cardan.dev/weight"
FOREIGN_ROLE: Final = "llm-d.ai/role"
FOREIGN_ENGINE: Final = ("llm-d.ai/engine-type", "inference.networking.k8s.io/engine-type")

_ROLES: Final = {
    "prefill": Role.PREFILL,
    "decode": Role.DECODE,
    "both": Role.BOTH,
    "prefill-decode": Role.BOTH,
}
_ENGINES: Final = {kind.value: kind for kind in EngineKind}

T = TypeVar("T")


class Traits(msgspec.Struct, frozen=True):
    """What labels tell of an engine."""

    role: Role = Role.BOTH
    engine: EngineKind = EngineKind.AUTO
    models: tuple[str, ...] = ()
    weight: float = 1.0


class Sighting(NamedTuple):
    """An endpoint, whether it may be asked now, and which incarnation of its pod it is."""

    endpoint: Endpoint
    ready: bool
    uid: str


def traits_of(meta: Meta) -> Traits:
    """What the labels say; `ValueError` naming the label that is none of the words."""
    told = {**meta.labels, **meta.annotations}
    hints = meta.labels
    engine_hint = next((hints[name] for name in FOREIGN_ENGINE if name in hints), "")
    return Traits(
        role=_word(told, ROLE, _ROLES) or _ROLES.get(hints.get(FOREIGN_ROLE, ""), Role.BOTH),
        engine=_word(told, ENGINE, _ENGINES) or _ENGINES.get(engine_hint, EngineKind.AUTO),
        models=tuple(name for word in told.get(MODEL, "").split(",") if (name := word.strip())),
        weight=_weight(told.get(WEIGHT, "1")),
    )


def sight(traits: Traits, address: str, port: int, *, name: str, ready: bool, uid: str) -> Sighting:
    """An engine at an address; `name` is empty where nothing better than its URL is known."""
    host = f"[{address}]" if ":" in address else address
    endpoint = Endpoint(
        url=f"http://{host}:{port}",
        name=name,
        engine=traits.engine,
        role=traits.role,
        models=traits.models,
        weight=traits.weight,
    )
    return Sighting(endpoint, ready, uid)


def _word(told: Mapping[str, str], label: str, words: Mapping[str, T]) -> T | None:
    value = told.get(label)
    if value is None:
        return None
    if value not in words:
        raise ValueError(f"{label}: {value!r} is none of {', '.join(sorted(words))}")
    return words[value]


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < math.inf:
        raise ValueError(f"{WEIGHT}: {text!r} is no positive number")
    return weight
