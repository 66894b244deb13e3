"""Throughput, utilisation and external metrics: their arithmetic, by hand, as Kubernetes' is."""

from __future__ import annotations

import msgspec
import pytest
from cardan.endpoint import Role
from cardan.scaling import forecast
from cardan.scaling.decision import ReasonCode
from cardan.scaling.observation import Datum
from cardan.scaling.policies import (
    External,
    TargetType,
    Throughput,
    TokenKind,
    Utilisation,
    UtilisationOf,
)
from cardan.scaling.spec import ForecastSpec, ScalingSpec

from tests.core.scaling.observed import T0, fresh, load
from tests.core.scaling.shown import demand, loads, view


def test_throughput_is_the_foreseen_rate_over_a_replicas() -> None:
    policy = Throughput(tokens_per_s=5000.0)
    told = policy.recommend(Role.BOTH, view(demand(10.0), growth=1.25), T0)
    assert told.replicas == pytest.approx(10 * 2000 * 1.25 / 5000)
    assert told.reason.code is ReasonCode.THROUGHPUT


@pytest.mark.parametrize(
    ("kind", "expected"), [(TokenKind.PROMPT, 40.0), (TokenKind.UNCACHED, 20.0), ("output", 2.0)]
)
def test_each_kind_of_tokens_can_be_counted(kind: TokenKind, expected: float) -> None:
    policy = Throughput(tokens_per_s=1000.0, tokens=TokenKind(kind))
    assert policy.recommend(Role.BOTH, view(demand(10.0)), T0).replicas == pytest.approx(expected)


def test_throughput_that_is_not_known_is_not_guessed() -> None:
    told = Throughput(tokens_per_s=1.0).recommend(
        Role.BOTH, view(demand(10.0, uncached_tokens_per_s=None)), T0
    )
    assert told.replicas is None
    assert told.lacking == ("uncached_tokens_per_s",)


def test_throughput_says_when_growth_may_be_missing_from_it() -> None:
    seen = demand(10.0)
    unheard = msgspec.structs.replace(seen, requests_per_s=Datum())
    foreseen = forecast.foresee(forecast.ForecastMemory(), unheard, T0, ForecastSpec(), 60.0)
    shown = msgspec.structs.replace(view(unheard), foreseen=foreseen)
    told = Throughput(tokens_per_s=5000.0).recommend(Role.BOTH, shown, T0)
    assert told.replicas == pytest.approx(10 * 2000 * forecast.HEADROOM / 5000)
    assert told.lacking == ("requests_per_s",)
    assert Throughput(tokens_per_s=5000.0).recommend(Role.BOTH, view(seen), T0).lacking == ()


def kv(*uses: float | None) -> float | None:
    """What a target of 0.7 makes of replicas with this KV use."""
    endpoints = tuple(load(f"e{at}", kv_used_ratio=use) for at, use in enumerate(uses))
    return Utilisation(target=0.7).recommend(Role.BOTH, view(endpoints=endpoints), T0).replicas


def test_utilisation_is_ready_times_use_over_target() -> None:
    assert kv(0.7, 0.7) == pytest.approx(2.0)
    assert kv(0.9, 0.5, 0.7) == pytest.approx(3.0)
    assert kv(0.35, 0.35) == pytest.approx(1.0)
    assert kv(1.0, 1.0, 1.0) == pytest.approx(3 / 0.7)


def test_the_unknown_counts_as_idle_when_growing_and_as_at_target_when_shrinking() -> None:
    assert kv(1.0, 1.0, 1.0, None) == pytest.approx(4 * (3.0 / 4) / 0.7)  # less than 4/0.7
    assert kv(0.35, 0.35, None, None) == pytest.approx(4 * (0.7 + 1.4) / 4 / 0.7)  # more than 2


def test_a_direction_that_the_unknown_turns_is_not_taken() -> None:
    assert kv(0.8, None, None) == pytest.approx(3.0)  # 0.8 alone would grow, 0.8 of three shrink


def test_the_unknown_is_named() -> None:
    endpoints = (load("a", kv_used_ratio=0.1), load("b"))
    told = Utilisation().recommend(Role.BOTH, view(endpoints=endpoints), T0)
    assert told.lacking == ("kv",)
    assert "1 of 2 not known" in told.reason.message
    assert Utilisation().recommend(Role.BOTH, view(endpoints=loads(1.0)), T0).replicas is None


def test_saturation_is_the_worse_of_cache_and_queue() -> None:
    endpoints = (
        load("a", kv_used_ratio=0.4, waiting=5.0),  # max(0.5, 1.0)
        load("b", kv_used_ratio=0.8, waiting=0.0),  # max(1.0, 0.0)
    )
    policy = Utilisation(of=UtilisationOf.SATURATION, target=0.5)
    assert policy.recommend(Role.BOTH, view(endpoints=endpoints), T0).replicas == pytest.approx(4.0)


def test_endpoints_that_are_not_ready_do_not_count() -> None:
    endpoints = (load("a", kv_used_ratio=0.7), load("b", kv_used_ratio=0.0, ready=False))
    told = Utilisation(target=0.7).recommend(Role.BOTH, view(endpoints=endpoints, ready=1), T0)
    assert told.replicas == pytest.approx(1.0)


def test_an_external_average_is_of_the_whole_fleet() -> None:
    policy = External(metric="queue", target=30.0)
    told = policy.recommend(Role.BOTH, view(external={"queue": fresh(100.0)}), T0)
    assert told.replicas == pytest.approx(100 / 30)


def test_an_external_value_is_proportional_to_what_is_ready() -> None:
    policy = External(metric="lag", target=10.0, target_type=TargetType.VALUE)
    seen = {"lag": fresh(15.0)}
    assert policy.recommend(Role.BOTH, view(external=seen, ready=4), T0).replicas == 6.0
    assert policy.recommend(Role.BOTH, view(external=seen, ready=0), T0).replicas is None


def test_an_external_metric_that_is_missing_is_named() -> None:
    told = External(metric="queue", target=30.0).recommend(Role.BOTH, view(), T0)
    assert (told.replicas, told.lacking) == (None, ("queue",))


def test_a_policy_says_nothing_of_other_roles() -> None:
    policy = External(metric="queue", target=30.0, roles=(Role.PREFILL,))
    told = policy.recommend(Role.BOTH, view(external={"queue": fresh(100.0)}), T0)
    assert (told.replicas, told.lacking) == (0.0, ())


def test_entries_are_decoded_strictly() -> None:
    pools = [{"name": "main"}]
    with pytest.raises(msgspec.ValidationError, match=r"policies\[0\]"):
        msgspec.convert({"pools": pools, "policies": [{"type": "external"}]}, ScalingSpec)
    entry = {"type": "utilisation", "targett": 0.5}
    with pytest.raises(msgspec.ValidationError, match="targett"):
        msgspec.convert({"pools": pools, "policies": [entry]}, ScalingSpec)
