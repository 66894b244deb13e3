"""Hot prefixes as metrics: which keys are told, how many, whose they are, and when no longer."""

from __future__ import annotations

import random

import pytest
from cardan.decision import Candidate
from cardan.endpoint import Endpoint, EndpointId
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.overlay import ModelOverlay, RoutingOverlay
from cardan.policies import DualMap, RoundRobin
from cardan.prompt import Prompt
from cardan.request import Api, RequestView
from cardan.scheduler import Scheduler
from cardan_router.telemetry import Present, Registry, metrics
from cardan_router.telemetry.masses import DECAY_S, KEPT, MAX_TOLD, KeyMasses, Masses
from hypothesis import given
from hypothesis import strategies as st

T0 = Monotonic(0.0)


def chosen(hit_tokens: float = 0.0) -> Candidate:
    """Where a request went, and how much of it was believed to be cached there."""
    fleet = Fleet()
    fleet.update([Endpoint(url="http://a:1")], T0)
    (state,) = fleet.endpoints.values()
    return Candidate(state, hit_tokens, 0.0, 0.0, 0.0, 1.0)


COLD, WARM = chosen(), chosen(800.0)


def masses(*rows: tuple[int, int, float]) -> Masses:
    """So many requests under a key, each of so many tokens: (key, requests, tokens)."""
    found = Masses(T0)
    for key, requests, tokens in rows:
        for _ in range(requests):
            found.note(key, 3, tokens, COLD)
    return found


def keys(found: Masses, n: int, moved: frozenset[int] = frozenset()) -> list[int]:
    """The hot keys, the heaviest first."""
    return [key for key, _, _ in found.hot(n, moved)]


def test_a_key_with_more_than_one_endpoints_share_of_the_tokens_is_hot() -> None:
    found = masses((1, 30, 2000.0), (2, 30, 1000.0), (3, 30, 1000.0))
    ((key, share, mass),) = found.hot(4, frozenset())
    assert key == 1
    assert share == pytest.approx(0.5)
    assert mass.blocks == 3
    assert keys(found, 2) == [], "half of all is one of two endpoints' share, and not more"
    assert keys(found, 1) == []
    assert keys(found, 5) == [1, 2, 3]


def test_some_requests_are_no_hot_prefix_however_large() -> None:
    assert keys(masses((1, 19, 5000.0)), 4) == []
    assert keys(masses((1, 20, 5000.0)), 4) == [1]


def test_eight_keys_are_told_at_most_and_equal_ones_in_one_order() -> None:
    found = masses(*((key, 20, 100.0) for key in range(20, 0, -1)))
    assert keys(found, 100) == list(range(1, MAX_TOLD + 1))


def test_what_an_operator_has_moved_is_told_down_to_half_of_what_is_hot() -> None:
    found = masses((1, 20, 60.0), (2, 20, 100.0), (3, 20, 40.0), (4, 20, 200.0))
    assert keys(found, 4) == [4]
    assert keys(found, 4, frozenset({1, 3})) == [4, 1]


def test_what_is_old_fades_and_is_forgotten() -> None:
    found = masses((1, 100, 100.0))
    found.fade(Monotonic(DECAY_S))
    for _ in range(100):
        found.note(2, 1, 100.0, COLD)
    ((_, share, _), (other, _, _)) = found.hot(8, frozenset())
    assert share == pytest.approx(1 / 1.3679, rel=1e-3)
    assert other == 1
    found.fade(Monotonic(20 * DECAY_S))
    assert (len(found), keys(found, 8)) == (0, [])


def test_what_a_request_saves_is_the_mean_of_those_that_saved_something() -> None:
    found = Masses(T0)
    for candidate in [COLD] * 10 + [WARM] * 30:
        found.note(7, 2, 1000.0, candidate)
    ((_, _, mass),) = found.hot(4, frozenset())
    assert mass.hit_tokens / mass.hits == pytest.approx(WARM.cached_real_tokens)


def test_requests_without_a_key_count_in_the_whole_and_have_none() -> None:
    found = masses((1, 20, 100.0))
    for _ in range(20):
        found.note(0, 0, 300.0, COLD)
    ((_, share, _),) = found.hot(5, frozenset())
    assert share == pytest.approx(0.25)


@given(st.lists(st.integers(0, 3000), max_size=300), st.integers(0, 2**32))
def test_memory_is_bounded_and_no_key_is_told_heavier_than_it_is(
    some: list[int], seed: int
) -> None:
    rng = random.Random(seed)
    stream = some * 5 + [rng.getrandbits(32) for _ in range(3 * KEPT)]
    rng.shuffle(stream)
    found = Masses(T0)
    for key in stream:
        found.note(key, 1, 10.0, COLD)
        assert len(found) <= 2 * KEPT
    total = len(stream)
    told = {key: share for key, share, _ in found.hot(total, frozenset())}
    for key, share in told.items():
        assert share <= stream.count(key) / total + 1e-9
    for key in set(some):
        if stream.count(key) / total > 1 / KEPT + 1 / total:
            assert key in found._keys, "a heavy key is never lost"


class Bench:
    """A gateway's scheduler, its masses and its metrics."""

    def __init__(self, policy: DualMap | RoundRobin) -> None:
        self.now = 0.0
        self.fleet = Fleet()
        self.fleet.update(
            [Endpoint(url=f"http://{n}:1", name=n, models=("m",)) for n in "abcd"], T0
        )
        self.scheduler = Scheduler(self.fleet, policy, random.Random(1))
        self.registry = Registry(metrics.ALL)
        self.masses = KeyMasses(self.scheduler, lambda: self.now)
        present = Present(self.registry, self.scheduler, lambda _: True, lambda: self.now)
        present.hot_keys(self.masses)

    def ask(self, key: int, times: int) -> None:
        """Requests with a prompt of one block."""
        for _ in range(times):
            prompt = Prompt((key,), 1000.0, 512, 1)
            view = RequestView("r", Api.CHAT, "m", prompt, True, T0, 5.0)
            decision = self.scheduler.decide(view, T0)
            assert decision is not None
            self.masses.of("m").note(decision.key, decision.depth, 1000.0, decision.chosen)

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """A metric's series."""
        return {s.labels: s.value for s in self.registry.snapshot().samples[name]}


def test_a_hot_key_has_series_with_its_owners_until_it_is_hot_no_more() -> None:
    bench = Bench(DualMap())
    bench.ask(0xAB, 60)
    for key in range(1, 60):
        bench.ask(key, 1)
    label = ("m", f"{0xAB:016x}")
    assert bench.series("cardan_key_share_ratio") == {label: pytest.approx(60 / 119)}
    assert bench.series("cardan_key_blocks") == {label: 1.0}
    assert bench.series("cardan_key_hit_tokens") == {label: 0.0}
    pool = bench.fleet.pool("m", T0)
    assert pool is not None
    owners = bench.scheduler.owners("m", 0xAB, T0)
    assert len(owners) == 2
    assert set(bench.series("cardan_key_owner")) == {(*label, str(state.id)) for state in owners}

    other = next(state for state in pool.routable if state not in owners)
    moved = ModelOverlay(owners={label[1]: (other.id,)})
    bench.fleet.apply(RoutingOverlay(models={"m": moved}), T0)
    bench.now = 1.0
    told = {owner for *_, owner in bench.series("cardan_key_owner")}
    assert other.id in told
    assert len(told) == 2

    bench.now = 1000.0
    assert all(
        bench.series(f"cardan_key_{name}") == {}
        for name in ("share_ratio", "hit_tokens", "blocks", "owner")
    )


def test_a_policy_without_keys_has_no_series() -> None:
    bench = Bench(RoundRobin())
    bench.ask(0xAB, 60)
    assert bench.series("cardan_key_share_ratio") == {}
    assert bench.scheduler.owners("m", 0xAB, T0) == ()
    assert bench.fleet.endpoints[EndpointId("a")].load.in_flight == 0
