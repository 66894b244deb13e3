"""What gateways tell of a pod's engines, as one answer for the pod: pure.

Gateways name the engine of a pod as the pod, and the several of one `pod:port`. Decisions are made
for pods: a replica comes and goes with all of its engines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan.endpoint import EndpointId
from cardan.overlay import pod_of

from cardan_controller.metrics.answers import Answer
from cardan_controller.metrics.asks import ASKS, ENDPOINT

if TYPE_CHECKING:
    from cardan_controller.metrics.answers import Answers, Labels

# Of these the largest counts, and the sum of the others.
_LARGEST: Final = frozenset({"kv_used", "scrape_age_s", "key_owner", "key_warmed"})
_OF_ENDPOINTS: Final = frozenset(name for name, ask in ASKS.items() if ask.by[-1:] == ENDPOINT)


def by_pod(answers: Answers) -> Answers:
    """The same answers with pods for endpoints. What one engine does not know its pod does not."""
    told = {
        name: _merged(answer, largest=name in _LARGEST) if name in _OF_ENDPOINTS else answer
        for name, answer in answers.by_name.items()
    }
    return answers._replace(by_name=told)


def _merged(answer: Answer, *, largest: bool) -> Answer:
    if not any(":" in labels[-1] for labels in (*answer.values, *answer.none)):
        return answer
    none = frozenset(map(_pods, answer.none))
    values: dict[Labels, float] = {}
    for labels, value in answer.values.items():
        pod = _pods(labels)
        if pod in none:
            continue
        known = values.get(pod)
        if known is not None:
            value = max(known, value) if largest else known + value
        values[pod] = value
    return Answer(values, answer.failed, none)


def _pods(labels: Labels) -> Labels:
    return (*labels[:-1], pod_of(EndpointId(labels[-1])))
