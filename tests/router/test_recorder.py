"""What a request leaves behind: counts that add up, a log line, a receipt; labels are bounded."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from cardan.endpoint import Endpoint
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Exchange, Failure, Forward
from cardan.policies import RoundRobin
from cardan.prompt import EMPTY, Prompt
from cardan.request import Api, RequestView
from cardan.scheduler import AdmissionConfig
from cardan_router.access_log import AccessLog
from cardan_router.rejections import Told
from cardan_router.telemetry import ObservedScheduler, Registry, RequestRecorder, metrics
from cardan_router.telemetry.masses import KeyMasses
from cardan_router.telemetry.recorder import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cardan_router.flight import Flight
    from cardan_router.telemetry.registry import Spec


class Bench:
    """A fleet of two, a scheduler and a recorder."""

    def __init__(self, folder: Path, sample: float = 1.0) -> None:
        self.fleet = Fleet()
        self.fleet.update(
            [Endpoint(url=f"http://{n}:1", name=n, models=("m",)) for n in "ab"], Monotonic(0.0)
        )
        self.registry = Registry(metrics.ALL)
        self.scheduler = ObservedScheduler(self.fleet, RoundRobin(), random.Random(1))
        self.scheduler.observe_with(self.registry)
        self.log_path = folder / "access.log"
        self.log = AccessLog(str(self.log_path), lambda: None)
        self.recorder = RequestRecorder(
            self.registry,
            self.log,
            self.fleet,
            receipts=2,
            sample=sample,
            rng=random.Random(1),
            masses=KeyMasses(self.scheduler, lambda: 0.0),
        )

    def request(
        self,
        model: str = "m",
        outcome: Outcome = Outcome.OK,
        *,
        fail_first: bool = False,
        request_id: str = "r",
        slo_ttft_s: float = 1.0,
        stream: bool = True,
        answered: bool = True,
        usage: Usage | None = None,
        prompt: Prompt = EMPTY,
        settled: bool = True,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """One request from arrival to its record: dispatched at 1 s, first byte at 3, end at 4."""
        view = RequestView(
            request_id=request_id,
            api=Api.CHAT,
            model=model,
            prompt=prompt,
            stream=stream,
            arrived_at=Monotonic(0.5),
            slo_ttft_s=slo_ttft_s,
            tenant="secret-tenant",
        )
        exchange = Exchange(self.scheduler, view)
        action = exchange.arrive(Monotonic(1.0))
        dispatched = isinstance(action, Forward)
        meanwhile()
        if dispatched and fail_first:
            exchange.failed(Failure.RESET, Monotonic(1.0))
        if dispatched:
            if answered:
                exchange.first_byte(Monotonic(3.0))
                exchange.ended(outcome, Monotonic(4.0), usage)
            elif outcome is Outcome.CLIENT_LEFT:
                exchange.client_left(Monotonic(4.0))
            else:
                exchange.deadline(Monotonic(4.0))
        self.record(exchange, usage, dispatched=dispatched)
        if settled:
            self.recorder.settle()

    def record(
        self, exchange: Exchange, usage: Usage | None = None, *, dispatched: bool = True
    ) -> None:
        """Tell the recorder of a request that is over."""
        flight = SimpleNamespace(
            exchange=exchange,
            call=SimpleNamespace(view=exchange.request),
            arrived_at=0.5,
            dispatched_at=1.0 if dispatched else None,
            ended_at=4.0,
            decision_s=20e-6,
            usage=usage,
            status=200,
            bytes_out=10,
        )
        self.recorder.flight_ended(cast("Flight", flight))

    def series(self, spec: Spec) -> dict[tuple[str, ...], float]:
        self.recorder.flush()
        return self.registry.counter(spec).series

    def happened(self, spec: Spec) -> dict[tuple[str, ...], float]:
        """The series that are more than zero."""
        return {labels: value for labels, value in self.series(spec).items() if value}

    def lines(self) -> list[dict[str, Any]]:
        self.recorder.settle()
        self.log.close()
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A fresh bench."""
    return Bench(tmp_path)


def test_every_request_is_counted_once_by_its_outcome(bench: Bench) -> None:
    bench.request()
    bench.request()
    bench.request(outcome=Outcome.CLIENT_ERROR)
    assert bench.happened(metrics.REQUESTS) == {
        ("chat", "m", "ok"): 2,
        ("chat", "m", "client-error"): 1,
    }
    assert sum(bench.series(metrics.DECISIONS).values()) == 3
    assert sum(bench.series(metrics.ENDPOINT_REQUESTS).values()) == 3
    ttft = bench.registry.histogram(metrics.TTFT).cell(("chat", "m", "true"))
    assert sum(ttft.counts) == 2  # an error's first byte is no first token
    assert ttft.sum == pytest.approx(5.0)
    queue = bench.registry.histogram(metrics.QUEUE).cell(("m",))
    assert queue.sum == pytest.approx(1.5)


def test_a_series_is_there_before_its_first_event(bench: Bench) -> None:
    bench.request()
    assert bench.series(metrics.REQUESTS)["chat", "m", "internal"] == 0
    assert bench.series(metrics.RETRIES)["unreachable",] == 0


def test_models_that_nobody_serves_share_one_label(bench: Bench) -> None:
    for n in range(50):
        bench.request(model=f"made-up-{n}")
    assert {labels[1] for labels in bench.series(metrics.REQUESTS)} == {"other"}


def test_a_model_becomes_a_label_as_soon_as_somebody_serves_it(bench: Bench) -> None:
    bench.request(model="late")
    state = next(iter(bench.fleet.endpoints.values()))
    bench.fleet.introspected(state, ["m", "late"], state.engine)
    bench.request(model="late")
    assert {labels[1] for labels in bench.series(metrics.REQUESTS)} == {"other", "late"}


def test_retries_and_failures_are_counted_with_their_reason(bench: Bench) -> None:
    bench.request(fail_first=True)
    assert bench.happened(metrics.RETRIES) == {("reset",): 1}
    assert list(bench.series(metrics.FAILURES).values()) == [1]
    assert [labels[1] for labels in bench.series(metrics.FAILURES)] == ["reset"]


def test_a_retry_that_had_to_wait_is_counted_under_its_own_failure(bench: Bench) -> None:
    bench.scheduler.admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    now = Monotonic(1.0)
    one, two = (
        Exchange(
            bench.scheduler,
            RequestView(
                request_id=name,
                api=Api.CHAT,
                model="m",
                prompt=EMPTY,
                stream=True,
                arrived_at=now,
                slo_ttft_s=1.0,
            ),
        )
        for name in ("one", "two")
    )
    one.arrive(now)
    two.arrive(now)
    one.failed(Failure.RESET, now)  # it waits: the other endpoint is at its limit
    two.failed(Failure.TIMEOUT, now)  # it goes where the first one was
    one.wake(now)
    assert (one.attempts, two.attempts) == (2, 2)
    for exchange in (one, two):
        exchange.client_left(now)
        bench.record(exchange)
    assert bench.happened(metrics.RETRIES) == {("timeout",): 1, ("reset",): 1}


def test_what_is_shed_is_counted_by_why(bench: Bench) -> None:
    assert set(bench.series(metrics.SHED).values()) == {0}  # there before the first one
    for state in bench.fleet.endpoints.values():
        state.health.not_ready = True
    bench.fleet.touch()
    bench.scheduler.admission = AdmissionConfig(max_queued_requests=0)
    bench.request()
    bench.scheduler.admission = AdmissionConfig(max_wait_s=0.0)
    bench.request()
    bench.fleet.update([], Monotonic(1.0))
    bench.request()
    bench.request(model="never-heard-of")
    shed = bench.happened(metrics.SHED)
    assert shed.keys() == {("queue-full",), ("queue-timeout",), ("no-endpoint",)}
    outcomes = bench.happened(metrics.REQUESTS)
    assert sum(shed.values()) == sum(n for labels, n in outcomes.items() if labels[2] == "shed")


def test_requests_that_outlive_their_endpoints_leave_no_series_behind(bench: Bench) -> None:
    def next_pod(number: int) -> None:
        pod = Endpoint(url=f"http://p{number}:1", name=f"p{number}", models=("m",))
        bench.recorder.endpoints_left(bench.fleet.update([pod], Monotonic(1.0)))

    for number in range(50):
        bench.request(meanwhile=lambda number=number: next_pod(2 * number))  # type: ignore[misc]
        bench.request(
            fail_first=True,
            meanwhile=lambda number=number: next_pod(2 * number + 1),  # type: ignore[misc]
        )
    bench.recorder.flush()
    samples = bench.registry.snapshot().samples
    named = {
        sample.labels[spec.labels.index("endpoint")]
        for name, spec in bench.registry.specs.items()
        if "endpoint" in spec.labels
        for sample in samples[name]
    }
    assert named <= {"p99"}
    assert bench.happened(metrics.REQUESTS) == {("chat", "m", "ok"): 100}


def test_what_engines_report_is_set_beside_what_was_predicted(bench: Bench) -> None:
    bench.request(usage=Usage(prompt_tokens=100, completion_tokens=7, cached_tokens=64))
    bench.request(usage=Usage(prompt_tokens=100))
    assert bench.series(metrics.PROMPT_TOKENS) == {("m",): 200}
    assert bench.series(metrics.COMPLETION_TOKENS) == {("m",): 7}
    assert sum(bench.series(metrics.CACHED_ACTUAL).values()) == 64
    assert len(bench.series(metrics.CACHED_PREDICTED)) == 1  # not where nothing was reported


def test_predicted_and_reported_tokens_are_of_one_kind(bench: Bench) -> None:
    for state in bench.fleet.endpoints.values():
        state.speed.siblings.token_ratio = 1.5  # real tokens of an estimated one
        state.shadow.insert((1, 2))
    prompt = Prompt((1, 2, 3), 1536.0, 512, 3)
    bench.request(prompt=prompt, usage=Usage(prompt_tokens=2304, cached_tokens=1536))
    assert sum(bench.series(metrics.CACHED_PREDICTED).values()) == 1536
    assert sum(bench.series(metrics.CACHED_ACTUAL).values()) == 1536
    assert bench.lines()[0]["predicted_cached_tokens"] == 1536


def test_the_hit_rate_has_its_own_denominator(bench: Bench) -> None:
    bench.request(usage=Usage(prompt_tokens=100, cached_tokens=25))
    bench.request(usage=Usage(prompt_tokens=1000))  # an engine that does not tell
    assert sum(bench.series(metrics.CACHED_OF).values()) == 100


@pytest.mark.parametrize(
    ("outcome", "answered", "slo_ttft_s", "counted"),
    [
        (Outcome.OK, True, 2.5, (1, 0)),  # the first byte came after 2.5 s
        (Outcome.OK, True, 2.4, (0, 1)),
        (Outcome.CUT, True, 2.5, (1, 0)),  # a broken promise, but not this one
        (Outcome.ENGINE_ERROR, True, 2.5, (0, 1)),
        (Outcome.DEADLINE, False, 99.0, (0, 1)),
        (Outcome.CLIENT_ERROR, True, 0.1, None),
        (Outcome.CLIENT_LEFT, False, 99.0, None),
        (Outcome.CLIENT_LEFT, False, 3.0, (0, 1)),  # left at 3.5 s, and not too early
    ],
)
def test_a_promise_is_kept_or_broken_once(
    bench: Bench,
    outcome: Outcome,
    answered: bool,
    slo_ttft_s: float,
    counted: tuple[int, int] | None,
) -> None:
    bench.request(outcome=outcome, answered=answered, slo_ttft_s=slo_ttft_s)
    bench.request(outcome=outcome, answered=answered, slo_ttft_s=slo_ttft_s, stream=False)
    series = bench.series(metrics.SLO)
    if counted is None:
        assert series == {}
    else:
        assert series == {("m", "true"): counted[0], ("m", "false"): counted[1]}


def test_a_log_line_tells_the_story_and_a_receipt_is_kept(bench: Bench) -> None:
    for n in range(3):
        bench.request(request_id=f"r{n}", usage=Usage(cached_tokens=3))
    assert len(bench.recorder.receipts) == 2
    line = bench.lines()[0]
    assert line["request_id"] == "r0"
    assert line["tenant"] == "secret-tenant"
    assert line["outcome"] == "ok"
    assert line["endpoint"] in ("a", "b")
    assert (line["queue_s"], line["ttft_s"], line["duration_s"]) == (0.5, 2.5, 3.5)
    assert line["cached_tokens"] == 3


def test_a_sample_keeps_every_request_that_went_wrong(tmp_path: Path) -> None:
    bench = Bench(tmp_path, sample=0.1)
    for n in range(100):
        bench.request(request_id=f"ok{n}")
    for n in range(5):
        bench.request(outcome=Outcome.ENGINE_ERROR, request_id=f"bad{n}")
    lines = bench.lines()
    assert sum(line["outcome"] == "engine-error" for line in lines) == 5
    assert 0 < sum(line["outcome"] == "ok" for line in lines) < 40


def test_what_is_turned_away_is_counted_by_code_and_logged(bench: Bench) -> None:
    told = Told(401, "authentication_error", "invalid_api_key", "UNAUTHENTICATED")
    bench.recorder.turned_away(told, request_id="x\ny", path="/v1/" + "z" * 999, tenant="")
    assert bench.series(metrics.REJECTS) == {("invalid_api_key",): 1}
    line = bench.lines()[0]
    assert line["status"] == 401
    assert len(line["path"]) == 200


def test_no_label_ever_holds_who_asked(bench: Bench) -> None:
    bench.request(request_id="secret-id")
    text = json.dumps([list(labels) for labels in bench.series(metrics.REQUESTS)])
    assert "secret" not in text


def test_what_has_ended_is_counted_before_anybody_reads_and_with_a_full_batch(bench: Bench) -> None:
    for _ in range(3):
        bench.request(settled=False)
    assert not bench.recorder.receipts
    assert sum(bench.series(metrics.REQUESTS).values()) == 3
    assert bench.recorder.receipts
    for _ in range(BATCH):
        bench.request(settled=False)
    bench.recorder.receipts.clear()
    bench.recorder.settle()
    assert not bench.recorder.receipts  # the full batch had been counted
    assert len(bench.lines()) == 3 + BATCH


def test_one_record_that_cannot_be_counted_costs_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.request(settled=False)
    broken = SimpleNamespace(call=SimpleNamespace(body=b"", view=SimpleNamespace(request_id="x")))
    bench.recorder.flight_ended(cast("Flight", broken))
    bench.request(settled=False)
    assert sum(bench.series(metrics.REQUESTS).values()) == 2
    assert "request x was not counted" in caplog.text
