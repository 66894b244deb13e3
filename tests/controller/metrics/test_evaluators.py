"""A real Prometheus and the operator's own history answer the same asks alike."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cardan.instants import WallTime
from cardan_controller.metrics.asks import ASKS, Rate
from cardan_controller.metrics.history import History
from cardan_controller.metrics.prometheus import PrometheusConfig, PrometheusSource
from cardan_controller.metrics.promql import Windows

from tests.controller.metrics.pages import NOW_S, pages
from tests.dashboards import live
from tests.dashboards.conftest import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cardan_controller.metrics.answers import Answers

SHORT_S, LONG_S = 60.0, 300.0


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Prometheus]:
    """A Prometheus that has scraped those pages."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    text = folder / "pages.txt"
    text.write_text("".join(page.text(timestamps=True) for page in pages()) + "# EOF\n")
    make = ["tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run([program("promtool"), *make, text, folder / "data"], check=True)
    with live.running(program("prometheus"), folder, live.config([])) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def own() -> Answers:
    """The history's answers."""
    history = History(SHORT_S, LONG_S)
    for page in pages():
        history.took(page.gateway, page.namespace, WallTime(page.at_s), page.text().encode())
    return history.answers(WallTime(NOW_S))


async def test_every_ask_has_the_same_answer(backfilled: live.Prometheus, own: Answers) -> None:
    config = PrometheusConfig(url=backfilled.url)
    source = PrometheusSource(config, Windows(SHORT_S, LONG_S))
    told = await source.read(WallTime(NOW_S))
    await source.close()
    for name, ask in ASKS.items():
        answer = told.by_name[name]
        assert answer.failed == "", (name, answer.failed)
        assert answer.values, name
        assert set(answer.values) == set(own.by_name[name].values), name
        # Prometheus extrapolates an increase to its window's edges, up to half a period each.
        close = pytest.approx(answer.values, rel=0.05 if isinstance(ask, Rate) else 1e-6)
        assert own.by_name[name].values == close, name


async def test_who_was_scraped_only_once_is_not_heard_for_there_is_no_rate_yet(
    backfilled: live.Prometheus,
) -> None:
    first = min(page.at_s for page in pages())
    source = PrometheusSource(PrometheusConfig(url=backfilled.url), Windows(SHORT_S, LONG_S))
    told = await source.read(WallTime(first + 1.0))
    await source.close()
    assert told.value("sample_age_s", ("one",)) == pytest.approx(1.0)
    assert told.by_name["requests"].values == {}
    assert told.by_name["gateways"].values == {}


def test_answers_are_what_was_put_in(own: Answers) -> None:
    assert own.value("sample_age_s", ("one",)) == 4
    assert own.value("gateways", ("one",)) == 2
    assert own.value("requests", ("one", "m")) == pytest.approx(13.5)  # shed ones are asked for too
    assert own.value("shed", ("two", "m")) == pytest.approx(0.5 / 3)
    assert own.value("held", ("one", "m")) == 5
    assert own.value("prefill_speed", ("one", "e-0")) == 20_001  # the largest
    assert own.value("ttft_p95_s", ("two", "m")) == pytest.approx(0.5 + 0.5 * 0.15 / 0.16)
    assert own.value("key_share", ("one", "m", "00000000deadbeef")) == 0.25


def test_a_gateway_that_is_gone_is_forgotten() -> None:
    history = History(SHORT_S, LONG_S)
    for page in pages():
        history.took(page.gateway, page.namespace, WallTime(page.at_s), page.text().encode())
    history.keep(["gw-a"])
    answers = history.answers(WallTime(NOW_S))
    assert answers.value("requests", ("one", "m")) == pytest.approx(4.5)
    assert answers.value("requests", ("two", "m")) is None


def test_one_page_is_no_rate() -> None:
    history = History(SHORT_S, LONG_S)
    page = next(pages())
    history.took(page.gateway, page.namespace, WallTime(page.at_s), page.text().encode())
    answers = history.answers(WallTime(page.at_s))
    assert answers.value("requests", ("one", "m")) is None
    assert answers.value("in_flight", ("one", "e-0")) == 5


def test_an_engines_own_counter_is_not_counted_once_for_each_gateway_nor_from_zero() -> None:
    history = History(SHORT_S, LONG_S)
    name = 'cardan_engine_generated_tokens_total{endpoint="e"}'
    for tick in range(5):
        at = WallTime(NOW_S + 15.0 * tick)
        body = f"{name} {5_000_000 + 1500 * tick}\n".encode()
        history.took("gw-a", "one", at, body)
        history.took("gw-b", "one", at, body if tick else b"cardan_ready 1\n")
    answers = history.answers(WallTime(NOW_S + 60.0))
    assert answers.value("endpoint_output_tokens", ("one", "e")) == pytest.approx(100.0)


def test_a_gateway_that_has_fallen_silent_counts_no_more() -> None:
    history = History(SHORT_S, LONG_S, stale_after_s=45.0)
    for page in pages():
        if page.gateway != "gw-b" or page.at_s < NOW_S - 100:
            body = page.text().encode()
            history.took(page.gateway, page.namespace, WallTime(page.at_s), body)
    answers = history.answers(WallTime(NOW_S))
    assert answers.value("gateways", ("one",)) == 1
    assert answers.value("requests", ("one", "m")) == pytest.approx(4.5)
    late = history.answers(WallTime(NOW_S + 600))
    assert late.value("gateways", ("one",)) == 2  # nobody speaks: how long that is, is told
    assert late.value("sample_age_s", ("one",)) == pytest.approx(604)
