"""Metrics of others that a fleet's policies `external` name, as it may see them: pure.

What is asked stands in the operator's configuration, by name: whoever writes a fleet chooses among
these, and asks a Prometheus that is everybody's nothing of his own. What a query yields may be of
many fleets at once: a series whose label `namespace`, `fleet` or `model` names another than the
fleet's own is not its; one that has none of these is everybody's. Exactly one has to be left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cardan.scaling.observation import Datum, Freshness
from cardan.scaling.policies import External

if TYPE_CHECKING:
    from cardan_controller.crds.fleet import FleetSpec
    from cardan_controller.metrics.answers import Answers, Sample


class Asker(NamedTuple):
    """A fleet: its namespace, its name, its model."""

    namespace: str
    fleet: str
    model: str


def named_by(spec: FleetSpec) -> dict[str, str]:
    """The metrics that a fleet's policies name, each with the field that does."""
    return {
        policy.metric: f"spec.policies[{at}].external.metric"
        for at, policy in reversed(list(enumerate(spec.policies)))
        if isinstance(policy, External)
    }


def external_of(
    answers: Answers, spec: FleetSpec, asker: Asker, stale_after_s: float
) -> dict[str, Datum]:
    """What is known of each metric that a fleet names; what is not says why, and the field."""
    told = {
        metric: _datum(answers, metric, field, asker) for metric, field in named_by(spec).items()
    }
    if answers.age_s <= stale_after_s:
        return told
    why = f"it was asked for {answers.age_s:.0f} s ago"
    return {
        metric: msgspec.structs.replace(datum, freshness=Freshness.STALE, why=why)
        if datum.freshness is Freshness.FRESH
        else datum
        for metric, datum in told.items()
    }


def _datum(answers: Answers, metric: str, field: str, asker: Asker) -> Datum:
    answer = answers.external.get(metric)
    if answer is None:
        # Where nothing could be asked at all, that is why.
        failed = answers.by_name["sample_age_s"].failed
        if failed:
            return Datum(freshness=Freshness.FAILED, why=f"{field}: {failed}")
        why = "metrics.external of the operator's configuration has no such metric"
        return Datum(freshness=Freshness.MISSING, why=f"{field}: {metric!r}: {why}")
    if answer.failed:
        return Datum(freshness=Freshness.FAILED, why=f"{field}: {answer.failed}")
    mine = [sample for sample in answer.samples if _concerns(sample, asker)]
    if len(mine) != 1:
        many = f"{len(mine)} series" if mine else "no series"
        why = f"{metric!r} has {many} for {asker.namespace}/{asker.fleet}, it needs one"
        return Datum(freshness=Freshness.MISSING, why=f"{field}: {why}")
    value = mine[0].value
    if value is None:
        return Datum(freshness=Freshness.MISSING, why=f"{field}: {metric!r} is no number")
    return Datum(value, answers.at, Freshness.FRESH)


def _concerns(sample: Sample, asker: Asker) -> bool:
    return all(sample.labels.get(label, own) == own for label, own in asker._asdict().items())
