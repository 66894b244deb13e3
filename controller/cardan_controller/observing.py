"""Answers and pods become observations: pure.

Which gateways speak for a fleet follows from where they live: those of the namespace that the fleet
names, or its own. Traffic that nobody counted is zero only where gateways tell of it: the source
answered, samples are young, as many gateways as are ready were heard, and they have no such series.
Anything less is stale, missing or failed, and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cardan.instants import WallTime
from cardan.scaling.observation import (
    MISSING,
    Datum,
    Demand,
    EndpointLoad,
    Freshness,
    KeyMass,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cardan.endpoint import EndpointId

    from cardan_controller.metrics.answers import Answers, Labels

# A share of what is reported; below, an endpoint's hits are noise.
_LEAST_TOKENS_PER_S: Final = 1e-9


class Member(NamedTuple):
    """One endpoint of a fleet, as the cluster knows it."""

    id: EndpointId
    pool: str
    ready: bool
    age_s: float


class Subject(NamedTuple):
    """Whom to observe: a fleet's gateways, its model, its endpoints.

    `gateways` is how many gateways are ready there; None where nobody can tell. `share` is the part
    of the model's traffic that is this fleet's.
    """

    namespace: str
    model: str
    members: tuple[Member, ...]
    gateways: int | None = None
    share: float = 1.0


class _Reader:
    """Reads one fleet's numbers out of all answers, each with its freshness."""

    def __init__(self, answers: Answers, subject: Subject, stale_after_s: float) -> None:
        self._answers = answers
        self._subject = subject
        group: Labels = (subject.namespace,)
        age_s = answers.value("sample_age_s", group)
        heard = answers.value("gateways", group)
        self.at = WallTime(answers.at - (age_s or 0.0))
        self.asked_s = answers.age_s
        self._failed = answers.by_name["sample_age_s"].failed or answers.by_name["gateways"].failed
        self._absent = age_s is None
        since_s = None if age_s is None else age_s + answers.age_s
        self._stale = _why_stale(since_s, heard, subject.gateways, stale_after_s)

    def read(self, name: str, *labels: str, zero: bool = False) -> Datum:
        """One number; `zero`: a series that healthy gateways do not have counts nothing."""
        answer = self._answers.by_name[name]
        if answer.failed or self._failed:
            why = f"{name}: {answer.failed or self._failed}"
            return Datum(freshness=Freshness.FAILED, why=why)
        if self._absent:
            why = f"no gateway in namespace {self._subject.namespace!r} is known to the metrics"
            return Datum(freshness=Freshness.MISSING, why=why)
        series = (self._subject.namespace, *labels)
        value = answer.values.get(series)
        if value is None:
            if series in answer.none:
                return Datum(freshness=Freshness.MISSING, why=f"{name}: its value is no number")
            if self._stale or not zero:
                why = self._stale or f"{name}: no such series"
                return Datum(freshness=Freshness.MISSING, why=why)
        freshness = Freshness.STALE if self._stale else Freshness.FRESH
        return Datum(value or 0.0, self.at, freshness, self._stale)

    def constant(self, value: float) -> Datum:
        """A number that needs no series, as fresh as the others."""
        told = self.read("sample_age_s")
        return told if told.value is None else Datum(value, told.at, told.freshness, told.why)


def demand_of(answers: Answers, subject: Subject, stale_after_s: float) -> Demand:
    """What clients ask of a fleet."""
    reader = _Reader(answers, subject, stale_after_s)

    def told(name: str, *, zero: bool = True) -> Datum:
        return reader.read(name, subject.model, zero=zero)

    def own(name: str) -> Datum:
        return told(name).times(subject.share)

    prompt = own("prompt_tokens")
    ids = [member.id for member in subject.members]
    uncached = _combined(lambda share, tokens: share * tokens, _uncached_share(reader, ids), prompt)
    return Demand(
        requests_per_s=own("requests"),
        prompt_tokens_per_s=prompt,
        uncached_tokens_per_s=uncached,
        output_tokens_per_s=own("output_tokens"),
        attainment=_ratio(told("promises_kept"), told("promises")),
        ttft_p95_s=told("ttft_p95_s", zero=False),
        itl_s=_inter_token(reader, ids),
        held=own("held"),
        shed_per_s=own("shed"),
        answered_per_s=own("answered"),
    )


def loads_of(answers: Answers, subject: Subject, stale_after_s: float) -> tuple[EndpointLoad, ...]:
    """How each endpoint of a fleet does."""
    reader = _Reader(answers, subject, stale_after_s)
    return tuple(_load(reader, member, stale_after_s) for member in subject.members)


class HotKeys:
    """The routing keys that carry much of the traffic, by whose they are: looked through once."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._shares: dict[Labels, dict[str, float]] = {}
        for (*of, key), share in answers.by_name["key_share"].values.items():
            self._shares.setdefault(tuple(of), {})[key] = share
        self._owners = _by_key(answers, "key_owner")
        self._warmed = _by_key(answers, "key_warmed")

    def of(self, subject: Subject) -> tuple[KeyMass, ...]:
        """A fleet's, the heaviest first."""
        group = (subject.namespace, subject.model)
        shares = self._shares.get(group, {})
        members = {member.id for member in subject.members} if shares else set()
        return tuple(
            KeyMass(
                key=key,
                share=min(1.0, share),
                blocks=round(self._answers.value("key_blocks", (*group, key)) or 1),
                hit_tokens=self._answers.value("key_hit_tokens", (*group, key)) or 0.0,
                endpoints=tuple(sorted(members.intersection(self._owners.get((*group, key), ())))),
                warmed=tuple(sorted(members.intersection(self._warmed.get((*group, key), ())))),
            )
            for key, share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))
        )


def _by_key(answers: Answers, name: str) -> dict[Labels, list[str]]:
    """The endpoints that gateways name for each key."""
    found: dict[Labels, list[str]] = {}
    for (*of, endpoint), value in answers.by_name[name].values.items():
        if value:
            found.setdefault(tuple(of), []).append(endpoint)
    return found


def _load(reader: _Reader, member: Member, stale_after_s: float) -> EndpointLoad:
    told = {name: reader.read(name, member.id) for name in _OF_ENDPOINTS}
    scraped = reader.read("scrape_age_s", member.id)
    for name in _OF_ENGINES:  # as old as the gateway's own scrape of the engine
        told[name] = _aged(told[name], scraped, reader.asked_s, stale_after_s)
    tokens = told["endpoint_tokens"]
    hits = told["endpoint_hit_tokens"]
    return EndpointLoad(
        id=member.id,
        pool=member.pool,
        ready=member.ready,
        age_s=member.age_s,
        in_flight=told["in_flight"],
        running=told["running"],
        waiting=told["waiting"],
        kv_used_ratio=told["kv_used"],
        prefill_tokens_per_s=told["prefill_speed"],
        requests_per_s=told["endpoint_requests"],
        prompt_tokens_per_s=tokens,
        uncached_tokens_per_s=_combined(lambda all_, hit: max(0.0, all_ - hit), tokens, hits),
        output_tokens_per_s=told["endpoint_output_tokens"],
        failures_per_s=told["endpoint_failures"],
    )


_OF_ENGINES: Final = ("running", "waiting", "kv_used", "endpoint_output_tokens")
_OF_ENDPOINTS: Final = (
    *_OF_ENGINES,
    "in_flight",
    "prefill_speed",
    "endpoint_requests",
    "endpoint_tokens",
    "endpoint_hit_tokens",
    "endpoint_failures",
)


def _why_stale(
    age_s: float | None, heard: float | None, gateways: int | None, stale_after_s: float
) -> str:
    """Why a fleet's numbers are not to be acted on; empty if they are."""
    if age_s is not None and age_s > stale_after_s:
        return f"the youngest sample is {age_s:.0f} s old"
    if age_s is not None and age_s < -stale_after_s:
        return f"the youngest sample is of {-age_s:.0f} s from now: clocks differ"
    if gateways is not None and (heard or 0.0) < gateways:
        return f"{heard or 0:.0f} of {gateways} gateways are heard, and for long enough"
    return ""


def _uncached_share(reader: _Reader, ids: Iterable[EndpointId]) -> Datum:
    """The part of prompt tokens that must be computed.

    By the engines' own reports where they make them, else by what gateways believe.
    """
    ids = list(ids)
    actual = _sum(reader, "cached_actual", ids), _sum(reader, "cached_of", ids)
    believed = _sum(reader, "endpoint_hit_tokens", ids), _sum(reader, "endpoint_tokens", ids)
    for cached, of in (actual, believed):
        if of.value is not None and of.value > _LEAST_TOKENS_PER_S:
            return _combined(lambda part, all_: max(0.0, 1.0 - part / all_), cached, of)
    return reader.constant(1.0)  # nothing flows: any share of it is right


def _inter_token(reader: _Reader, ids: Iterable[EndpointId]) -> Datum:
    """Mean time between tokens by Little's law: requests running over tokens a second."""
    ids = list(ids)
    running, tokens = _sum(reader, "running", ids), _sum(reader, "endpoint_output_tokens", ids)
    return _ratio(running, tokens)


def _sum(reader: _Reader, name: str, ids: Iterable[EndpointId]) -> Datum:
    """Over those endpoints that have it; missing if none has."""
    told = [datum for id_ in ids if (datum := reader.read(name, id_)).value is not None]
    if not told:
        return MISSING
    values = [datum.value for datum in told if datum.value is not None]
    return Datum(sum(values), told[0].at, told[0].freshness, told[0].why)


def _ratio(part: Datum, of: Datum) -> Datum:
    """One over the other; missing where nothing was counted."""
    if of.value is not None and of.value <= 0:
        return Datum(freshness=Freshness.MISSING, why="nothing was counted")
    return _combined(lambda one, other: one / other, part, of)


def _combined(function: Callable[[float, float], float], one: Datum, other: Datum) -> Datum:
    """A number of two; as fresh as the worse of them."""
    if one.value is None or other.value is None:
        return one if one.value is None else other
    worse = max((one, other), key=lambda datum: _ORDER[datum.freshness])
    return Datum(function(one.value, other.value), worse.at, worse.freshness, worse.why)


def _aged(datum: Datum, age: Datum, since_s: float, stale_after_s: float) -> Datum:
    age_s = (age.value or 0.0) + since_s
    if datum.freshness is Freshness.FRESH and age.value is not None and age_s > stale_after_s:
        why = f"the engine was last read {age_s:.0f} s ago"
        return Datum(datum.value, datum.at, Freshness.STALE, why)
    return datum


_ORDER: Final[Mapping[Freshness, int]] = {word: rank for rank, word in enumerate(Freshness)}
