"""Gauges that are read when somebody looks: who waits for which model, and what engines count."""

from __future__ import annotations

import random

from cardan.endpoint import Endpoint, EndpointId
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.lifecycle import Exchange
from cardan.metrics import EngineMetrics
from cardan.overlay import Dormant, ModelOverlay, RoutingOverlay
from cardan.policies import LeastRequest
from cardan.prompt import EMPTY
from cardan.request import Api, RequestView
from cardan.scheduler import AdmissionConfig, Scheduler
from cardan_router.telemetry import Present, Registry, metrics
from cardan_router.telemetry.exposition import render

T0 = Monotonic(0.0)


class Bench:
    """A gateway whose endpoint serves `m`; `night` sleeps, `gone` was served a while ago."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        gone = Endpoint(url="http://g:1", name="g", models=("gone",))
        here = Endpoint(url="http://a:1", name="a", models=("m",))
        self.fleet.update([gone], T0)
        self.fleet.update([here, Endpoint(url="http://new:1", name="new")], T0)
        asleep = ModelOverlay(dormant=Dormant(hold_bytes=10_000))
        self.fleet.apply(RoutingOverlay(models={"night": asleep}), T0)
        self.scheduler = Scheduler(
            self.fleet,
            LeastRequest(),
            random.Random(1),
            admission=AdmissionConfig(max_queued_requests=10, max_queued_bytes=1_000),
        )
        self.registry = Registry(metrics.ALL)
        Present(self.registry, self.scheduler, lambda _: True, lambda: 0.0)

    def wait(self, model: str, times: int) -> None:
        for _ in range(times):
            view = RequestView("r", Api.CHAT, model, EMPTY, True, T0, 5.0, 100)
            Exchange(self.scheduler, view).arrive(T0)

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        return {s.labels: s.value for s in self.registry.snapshot().samples[name]}


def test_who_waits_is_told_by_model_at_zero_too_and_never_by_a_clients_own_word() -> None:
    bench = Bench()
    assert bench.series("cardan_held_requests") == {("m",): 0, ("night",): 0}
    bench.wait("night", 3)
    bench.wait("gone", 2)
    bench.wait("whatever", 1)  # an endpoint has not said yet what it serves
    assert bench.series("cardan_held_requests") == {
        ("gone",): 2,
        ("m",): 0,
        ("night",): 3,
        ("other",): 1,
    }


def test_who_is_held_does_not_make_the_queue_look_full() -> None:
    bench = Bench()
    bench.wait("night", 8)
    assert bench.series("cardan_saturation_ratio") == {(): 0.0}
    bench.wait("gone", 5)
    assert bench.series("cardan_saturation_ratio") == {(): 0.5}
    assert bench.series("cardan_queue_requests") == {(): 13}


def test_an_engines_own_counter_is_told_as_it_is_and_of_several_workers_the_largest() -> None:
    bench = Bench()
    state = bench.fleet.endpoints[EndpointId("a")]
    state.observe(EngineMetrics(at=0.0, generation_tokens=700.0))
    older = bench.registry.snapshot()
    state.observe(EngineMetrics(at=1.0, generation_tokens=900.0))
    bench.registry.adopt(older)
    newer = bench.registry.snapshot()
    text = render(bench.registry.specs, {"0": newer, "1": older}).decode()
    assert 'cardan_engine_generated_tokens_total{endpoint="a"} 900.0\n' in text
    assert "# TYPE cardan_engine_generated_tokens_total counter\n" in text
    assert bench.series("cardan_engine_generated_tokens_total") == {("a",): 900.0}
    past = bench.registry.of_the_past(older)
    assert "cardan_engine_generated_tokens_total" not in past.samples
