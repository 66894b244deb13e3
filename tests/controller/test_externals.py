"""What a fleet sees of the queries that the configuration names: one number of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan.instants import WallTime
from cardan.scaling.observation import Datum, Freshness
from cardan_controller.crds.documents import read_spec
from cardan_controller.externals import Asker, external_of, named_by
from cardan_controller.metrics.answers import Answer, Answers, ExternalAnswer, Sample
from cardan_controller.metrics.asks import ASKS

if TYPE_CHECKING:
    from cardan_controller.crds.fleet import FleetSpec

NOW = WallTime(1_800_000_000.0)
MINE = Asker("n", "llama", "m")
STALE_AFTER_S = 45.0
FIELD = "spec.policies[1].external.metric: "


def spec(*metrics: str) -> FleetSpec:
    """A fleet by its promise, and by these."""
    policies = [{"type": "external", "external": {"metric": m, "target": 5}} for m in metrics]
    target = {"kind": "Deployment", "name": "llama"}
    return read_spec(
        {
            "model": "m",
            "pools": [{"name": "main", "scaleTargetRef": target}],
            "policies": [{"type": "slo"}, *policies],
        }
    )


def known(*samples: Sample, failed: str = "", source: str = "") -> Datum:
    """What the fleet knows of `queue`, if its query yields this."""
    answers = Answers(
        NOW,
        dict.fromkeys(ASKS, Answer({}, source)),
        {} if source else {"queue": ExternalAnswer(samples, failed)},
    )
    return external_of(answers, spec("queue"), MINE, STALE_AFTER_S)["queue"]


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"namespace": "n"},
        {"namespace": "n", "fleet": "llama"},
        {"namespace": "n", "model": "m", "queue": "default"},
    ],
)
def test_the_series_that_is_its_own_or_everybodys_counts(labels: dict[str, str]) -> None:
    others = [
        Sample({"namespace": "other"}, 9.0),
        Sample({"namespace": "n", "fleet": "phi"}, 9.0),
        Sample({"model": "other"}, 9.0),
    ]
    assert known(*others, Sample(labels, 7.0)) == Datum(7.0, NOW, Freshness.FRESH)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([], "'queue' has no series for n/llama, it needs one"),
        ([Sample({"namespace": "other"}, 1.0)], "'queue' has no series for n/llama, it needs one"),
        ([Sample({"a": "1"}, 1.0), Sample({"a": "2"}, 1.0)], "'queue' has 2 series for n/llama"),
        ([Sample({}, None)], "'queue' is no number"),
    ],
)
def test_what_is_not_one_number_is_missing_and_the_field_is_named(
    samples: list[Sample], words: str
) -> None:
    datum = known(*samples)
    assert (datum.known, datum.freshness) == (None, Freshness.MISSING)
    assert datum.why.startswith(FIELD + words)


def test_what_cannot_be_asked_has_failed() -> None:
    assert known(failed="parse error").why == FIELD + "parse error"
    assert known(failed="parse error").freshness is Freshness.FAILED
    assert known(source="no answer").why == FIELD + "no answer"
    assert known(source="no answer").freshness is Freshness.FAILED


def test_what_was_asked_for_too_long_ago_is_stale() -> None:
    told = {"queue": ExternalAnswer((Sample({}, 7.0),))}
    answers = Answers(NOW, dict.fromkeys(ASKS, Answer({})), told).seen(WallTime(NOW + 60.0))
    datum = external_of(answers, spec("queue"), MINE, STALE_AFTER_S)["queue"]
    assert (datum.value, datum.freshness) == (7.0, Freshness.STALE)
    assert datum.why == "it was asked for 60 s ago"


def test_a_metric_that_the_configuration_does_not_have_is_missing() -> None:
    answers = Answers(NOW, dict.fromkeys(ASKS, Answer({})))
    datum = external_of(answers, spec("queue"), MINE, STALE_AFTER_S)["queue"]
    assert datum.freshness is Freshness.MISSING
    assert datum.why == (
        FIELD + "'queue': metrics.external of the operator's configuration has no such metric"
    )


def test_a_metric_that_is_named_twice_is_told_by_its_first_field() -> None:
    both = msgspec.structs.replace(spec("queue", "queue"))
    assert named_by(both) == {"queue": "spec.policies[1].external.metric"}
