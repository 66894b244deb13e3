"""Engines of one pod are summed up to the pod, and nothing is made of what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.instants import WallTime
from cardan_controller.metrics.answers import Answer, Answers
from cardan_controller.metrics.asks import ASKS
from cardan_controller.metrics.pods import by_pod

if TYPE_CHECKING:
    from cardan_controller.metrics.answers import Labels


def answers(**told: Answer) -> Answers:
    """Answers to everything, most of them empty."""
    return Answers(WallTime(1.0), {**dict.fromkeys(ASKS, Answer({})), **told})


def test_what_engines_do_is_added_up_and_how_full_they_are_is_not() -> None:
    ranks: dict[Labels, float] = {
        ("ns", "p0:8000"): 0.5,
        ("ns", "p0:8001"): 0.25,
        ("ns", "ns2/p1:8000"): 0.125,
    }
    told = by_pod(answers(running=Answer(ranks), kv_used=Answer(ranks)))
    assert told.by_name["running"].values == {("ns", "p0"): 0.75, ("ns", "ns2/p1"): 0.125}
    assert told.by_name["kv_used"].values == {("ns", "p0"): 0.5, ("ns", "ns2/p1"): 0.125}


def test_a_key_that_several_engines_of_a_pod_own_is_the_pods() -> None:
    owners: dict[Labels, float] = {("ns", "m", "k", f"p0:{port}"): 1.0 for port in (1, 2)}
    told = by_pod(answers(key_owner=Answer(owners)))
    assert told.by_name["key_owner"].values == {("ns", "m", "k", "p0"): 1.0}


def test_what_one_engine_does_not_know_its_pod_does_not() -> None:
    half = Answer({("ns", "p0:1"): 3.0}, "", frozenset({("ns", "p0:2")}))
    told = by_pod(answers(running=half)).by_name["running"]
    assert not told.values
    assert told.none == {("ns", "p0")}


def test_what_is_no_endpoints_stays_as_it_is() -> None:
    model = Answer({("ns", "llama:8"): 1.0, ("ns", "llama:70"): 2.0})
    failed = Answer({}, "no answer")
    pods = Answer({("ns", "p0"): 1.0})
    told = by_pod(answers(requests=model, running=failed, waiting=pods)).by_name
    assert (told["requests"], told["running"], told["waiting"]) == (model, failed, pods)
