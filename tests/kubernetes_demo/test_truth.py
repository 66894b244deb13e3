"""The demo on Kubernetes ends well only if what it shows is so, and shows what was counted."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
from typing import Any

import pytest
from cardan_sim.demo.cut import SLICE
from cardan_sim.replay.figures import Figures, Lateness, Settings, Timeline

from e2e.cluster.errors import UnavailableError
from e2e.demo import load, steps, where
from e2e.demo.counters import Counters, Row
from e2e.demo.errors import DemoError
from e2e.demo.load import whole
from e2e.demo.story import ROLLING_BETWEEN, STEADY, rolling
from e2e.demo.tell import Teller

METRICS = """\
# HELP cardan_endpoint_requests_total Requests.
# TYPE cardan_endpoint_requests_total counter
cardan_endpoint_requests_total{endpoint="a",outcome="ok"} 3
cardan_endpoint_requests_total{endpoint="a",outcome="cut"} 1
# TYPE cardan_cached_tokens_prompt_total counter
cardan_cached_tokens_prompt_total{endpoint="a"} 100
# TYPE cardan_cached_tokens_actual_total counter
cardan_cached_tokens_actual_total{endpoint="a"} 25
# TYPE cardan_fleet_endpoints gauge
cardan_fleet_endpoints{model="m",which="all"} 5
cardan_fleet_endpoints{model="m",which="routable"} 4
"""


def figures(succeeded: int, errors: dict[str, int]) -> Figures:
    """What a replay has measured, as far as the demo looks at it."""
    return Figures(
        schema=1,
        settings=Settings(
            label="",
            trace="",
            endpoint="",
            model="",
            requests=10,
            offered_rps=1.0,
            time_scale=1.0,
            slo_ttft_s=5.0,
        ),
        succeeded=succeeded,
        failed=sum(errors.values()),
        unfinished=0,
        unsent=0,
        errors=errors,
        span_s=1.0,
        requests_per_s=1.0,
        input_tokens_per_s=None,
        output_tokens_per_s=None,
        attained_ratio=1.0,
        hit_ratio=None,
        ttft_s=None,
        itl_s=None,
        e2e_s=None,
        balance=None,
        lateness=Lateness(p99_s=0.0, max_s=0.0, behind=False),
        timeline=Timeline(bin_s=1.0, due=[], ended=[], failed=[], in_flight=[]),
    )


def test_one_request_that_failed_is_one_too_many() -> None:
    assert whole(figures(10, {}), 10).succeeded == 10
    with pytest.raises(DemoError, match="9 of 10 requests were answered: 1 × http 503"):
        whole(figures(9, {"http 503": 1}), 10)


def test_so_is_one_that_was_never_sent() -> None:
    with pytest.raises(DemoError, match="9 of 10 requests were answered: cut short"):
        whole(figures(9, {}), 10)


def test_gateways_are_added_up_and_what_each_can_reach_is_kept() -> None:
    found = Counters([METRICS, METRICS, ""])
    assert found.rows() == [Row("a", 8, 200, 50)]
    assert found.routable == [4, 4, 0]


def test_a_slow_cluster_is_upgraded_under_a_longer_load() -> None:
    assert [rolling(seconds) for seconds in (1.0, 10.0, 100.0)] == [240, 320, 440]


def test_pods_are_replaced_only_if_none_is_left() -> None:
    assert steps.replaced(["a", "b"], ["c", "d"])
    assert not steps.replaced(["a", "b"], ["b", "c"])
    assert not steps.replaced(["a", "b"], ["c"])


class Asked:
    """Stands where a cluster would, and notes what it is asked to apply."""

    def __init__(self) -> None:
        self.applied: list[dict[str, Any]] = []

    def kubectl(self, *arguments: str, input: str | None = None, timeout_s: float = 0.0) -> str:
        if input:
            self.applied += json.loads(input)["items"]
        return ""


def lines_of(config_map: dict[str, Any]) -> list[bytes]:
    return gzip.decompress(base64.b64decode(config_map["binaryData"][load.TRACE])).splitlines(True)


def test_both_loads_together_are_the_bundled_trace_and_no_request_is_sent_twice() -> None:
    asked = Asked()
    one = load.Load(asked, "load", "image")  # type: ignore[arg-type]
    one.start(load.bundled(0, STEADY), 8.0)
    one.start(load.bundled(STEADY, ROLLING_BETWEEN[1]), 8.0)
    first, job, second, _ = asked.applied
    assert len(lines_of(first)) == STEADY
    assert lines_of(first) + lines_of(second) == gzip.decompress(SLICE.read_bytes()).splitlines(
        True
    )
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == load.replay(8.0)


def test_who_has_neither_docker_nor_root_is_told_so_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert where.before("own") == ""
    with (
        pytest.raises(UnavailableError, match="kind and a Docker"),
        where.cluster("own", keep=False),
    ):
        pass


def test_steps_are_numbered_and_timed_and_columns_stand_under_each_other() -> None:
    out = io.StringIO()
    tell = Teller(out)
    with tell.step("First"):
        tell.table([("name", "n"), ("a", "12")])
    with tell.step("Second"), tell.clock("waiting") as clock:
        clock.tick()
    lines = out.getvalue().splitlines()
    assert lines[:4] == ["", "1. First", "   name   n", "   a     12"]
    assert lines[4].startswith("   (0.")
    assert lines[6] == "2. Second"
    assert not any("\x1b" in line or "\r" in line for line in lines)  # it is no terminal
