"""Numbers become observations: fresh, stale, missing and failed are told apart."""

from __future__ import annotations

from typing import Any

import pytest
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.observation import Freshness
from cardan_controller.metrics.answers import Answer, Answers
from cardan_controller.metrics.asks import ASKS
from cardan_controller.observing import HotKeys, Member, Subject, demand_of, loads_of

NOW = WallTime(1_800_000_000.0)
STALE_AFTER_S = 45.0
E0, E1 = EndpointId("e-0"), EndpointId("e-1")
MEMBERS = (Member(E0, "h100", True, 900.0), Member(E1, "h100", True, 60.0))
FLEET = Subject("serving", "m", MEMBERS, gateways=2)


def answers(**told: dict[str, float] | str) -> Answers:
    """Answers of one healthy namespace; keyword by ask, labels joined by commas, or a failure."""
    healthy: dict[str, Any] = {"sample_age_s": {"": 5.0}, "gateways": {"": 2.0}}
    by_name = dict.fromkeys(ASKS, Answer({}))
    for name, values in (healthy | told).items():
        if isinstance(values, str):
            by_name[name] = Answer({}, values)
            continue
        by_name[name] = Answer(
            {
                ("serving", *(labels.split(",") if labels else ())): value
                for labels, value in values.items()
            }
        )
    return Answers(NOW, by_name)


def test_a_number_is_fresh_and_as_old_as_its_sample() -> None:
    datum = demand_of(answers(requests={"m": 12.5}), FLEET, STALE_AFTER_S).requests_per_s
    assert (datum.value, datum.at, datum.freshness) == (12.5, NOW - 5.0, Freshness.FRESH)


def test_traffic_that_healthy_gateways_do_not_tell_of_is_zero() -> None:
    demand = demand_of(answers(), FLEET, STALE_AFTER_S)
    assert demand.requests_per_s.known == 0.0
    assert demand.uncached_tokens_per_s.known == 0.0
    assert demand.held.known == 0.0


def test_latency_that_nobody_had_is_missing_and_not_zero() -> None:
    demand = demand_of(answers(), FLEET, STALE_AFTER_S)
    for datum in (demand.ttft_p95_s, demand.attainment, demand.itl_s):
        assert (datum.value, datum.freshness) == (None, Freshness.MISSING)


def test_a_query_that_failed_says_nothing_of_the_traffic() -> None:
    demand = demand_of(answers(requests="status 503: no reason given"), FLEET, STALE_AFTER_S)
    assert demand.requests_per_s.freshness is Freshness.FAILED
    assert demand.requests_per_s.value is None
    assert "status 503" in demand.requests_per_s.why
    assert demand.held.known == 0.0  # the others go on


def test_without_a_word_on_samples_nothing_is_known() -> None:
    demand = demand_of(answers(sample_age_s="no answer", requests={"m": 1.0}), FLEET, 45.0)
    assert demand.requests_per_s.freshness is Freshness.FAILED


def test_where_no_gateway_tells_traffic_is_missing() -> None:
    other = FLEET._replace(namespace="elsewhere")
    datum = demand_of(answers(requests={"m": 3.0}), other, STALE_AFTER_S).requests_per_s
    assert (datum.value, datum.freshness) == (None, Freshness.MISSING)
    assert "no gateway in namespace 'elsewhere'" in datum.why


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"sample_age_s": {"": 61.0}}, "the youngest sample is 61 s old"),
        ({"gateways": {"": 1.0}}, "1 of 2 gateways are heard, and for long enough"),
    ],
)
def test_old_or_partial_numbers_are_stale(told: Any, why: str) -> None:
    demand = demand_of(answers(requests={"m": 7.0}, **told), FLEET, STALE_AFTER_S)
    datum = demand.requests_per_s
    assert (datum.value, datum.known, datum.freshness) == (7.0, None, Freshness.STALE)
    assert datum.why == why
    assert demand.held.freshness is Freshness.MISSING  # and what is not told is not zero


@pytest.mark.parametrize(
    ("heard", "freshness", "why"),
    [
        ({}, Freshness.MISSING, "0 of 2 gateways are heard, and for long enough"),
        ("status 500: timed out", Freshness.FAILED, "requests: status 500: timed out"),
    ],
)
def test_a_rate_of_gateways_that_nobody_has_heard_for_long_enough_is_no_zero(
    heard: Any, freshness: Freshness, why: str
) -> None:
    # what they stand at is known from one scrape, what they count from two
    told = answers(gateways=heard, in_flight={"e-0": 31.0})
    demand = demand_of(told, FLEET, STALE_AFTER_S)
    for datum in (demand.requests_per_s, demand.uncached_tokens_per_s, demand.output_tokens_per_s):
        assert (datum.value, datum.freshness) == (None, freshness)
    assert demand.requests_per_s.why == why
    assert loads_of(told, FLEET, STALE_AFTER_S)[0].in_flight.known is None


def test_answers_are_as_old_as_they_are_when_they_are_looked_at() -> None:
    told = answers(requests={"m": 7.0}, running={"e-0": 3.0}, scrape_age_s={"e-0": 20.0})
    at_once = demand_of(told.seen(NOW), FLEET, STALE_AFTER_S).requests_per_s
    later = told.seen(WallTime(NOW + 30.0))
    soon = demand_of(later, FLEET, STALE_AFTER_S).requests_per_s
    assert (soon.freshness, soon.at) == (Freshness.FRESH, at_once.at)
    running = loads_of(later, FLEET, STALE_AFTER_S)[0].running
    assert (running.freshness, running.why) == (
        Freshness.STALE,
        "the engine was last read 50 s ago",
    )
    late = demand_of(told.seen(WallTime(NOW + 240.0)), FLEET, STALE_AFTER_S).requests_per_s
    assert (late.freshness, late.why) == (Freshness.STALE, "the youngest sample is 245 s old")
    assert told.seen(WallTime(NOW - 5.0)) == told  # a clock that was put back makes nothing younger


def test_uncached_tokens_follow_what_engines_report() -> None:
    told = answers(
        prompt_tokens={"m": 1000.0},
        cached_actual={"e-0": 300.0, "e-1": 100.0},
        cached_of={"e-0": 400.0, "e-1": 100.0},
        endpoint_tokens={"e-0": 500.0},
        endpoint_hit_tokens={"e-0": 0.0},
    )
    assert demand_of(told, FLEET, 45.0).uncached_tokens_per_s.known == pytest.approx(200.0)


def test_uncached_tokens_follow_belief_where_engines_report_nothing() -> None:
    told = answers(
        prompt_tokens={"m": 1000.0},
        endpoint_tokens={"e-0": 500.0, "e-1": 500.0},
        endpoint_hit_tokens={"e-0": 250.0, "e-1": 0.0},
    )
    assert demand_of(told, FLEET, 45.0).uncached_tokens_per_s.known == pytest.approx(750.0)


def test_time_between_tokens_is_requests_running_over_tokens_a_second() -> None:
    told = answers(
        running={"e-0": 30.0, "e-1": 10.0},
        endpoint_output_tokens={"e-0": 1500.0, "e-1": 500.0},
    )
    assert demand_of(told, FLEET, 45.0).itl_s.known == pytest.approx(0.02)


def test_attainment_is_kept_promises_over_all() -> None:
    told = answers(promises_kept={"m": 9.5}, promises={"m": 10.0})
    assert demand_of(told, FLEET, 45.0).attainment.known == pytest.approx(0.95)


def test_an_engine_that_gateways_have_not_read_lately_is_stale() -> None:
    told = answers(
        running={"e-0": 3.0, "e-1": 3.0},
        in_flight={"e-0": 4.0},
        scrape_age_s={"e-0": 300.0, "e-1": 1.0},
    )
    first, second = loads_of(told, FLEET, STALE_AFTER_S)
    assert first.running.freshness is Freshness.STALE
    assert "300 s ago" in first.running.why
    assert first.in_flight.known == 4.0  # the gateways' own count is theirs
    assert second.running.known == 3.0
    assert second.in_flight.freshness is Freshness.MISSING


def test_keys_come_with_the_fleets_own_endpoints_the_heaviest_first() -> None:
    told = answers(
        key_share={"m,aa": 0.2, "m,bb": 0.5, "other,cc": 0.9},
        key_hit_tokens={"m,bb": 1500.0},
        key_blocks={"m,bb": 3.0},
        key_owner={"m,bb,e-1": 1.0, "m,bb,e-0": 1.0, "m,bb,stranger": 1.0, "m,aa,e-0": 0.0},
        key_warmed={"m,aa,e-1": 1.0, "m,aa,stranger": 1.0},
    )
    heavy, light = HotKeys(told).of(FLEET)
    assert (heavy.key, heavy.share, heavy.blocks, heavy.hit_tokens) == ("bb", 0.5, 3, 1500.0)
    assert heavy.endpoints == (E0, E1)
    assert (light.key, light.endpoints) == ("aa", ())
    assert (heavy.warmed, light.warmed) == ((), (E1,))
