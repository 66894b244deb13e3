"""Metrics as data: what is counted is exposed, merged over workers, and survives a worker."""

from __future__ import annotations

import msgspec
import pytest
from cardan_router.telemetry import metrics
from cardan_router.telemetry.exposition import merge, render
from cardan_router.telemetry.registry import Kind, Registry, Snapshot, Spec
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

HITS = Spec("t_hits_total", Kind.COUNTER, "Hits.", ("who",))
TIME = Spec("t_time_seconds", Kind.HISTOGRAM, "Time.", (), (0.1, 1.0))
LEVEL = Spec("t_level", Kind.GAUGE, "Level.", ("who",))
AGE = Spec("t_age_seconds", Kind.GAUGE, "Age.", (), merge="max")
OWN = Spec("t_own", Kind.GAUGE, "Own.", (), merge="each")
SPECS = (HITS, TIME, LEVEL, AGE, OWN)


def counted(hits: int, level: float) -> Registry:
    """A registry that has counted something."""
    registry = Registry(SPECS)
    registry.counter(HITS).add(("a",), hits)
    registry.histogram(TIME).cell(()).observe(0.1)
    registry.histogram(TIME).cell(()).observe(5.0)
    registry.gauge(LEVEL, lambda: [(("a",), level)])
    registry.gauge(AGE, lambda: [((), level)])
    registry.gauge(OWN, lambda: [((), level)])
    return registry


def values(registries: dict[str, Registry]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a scraper sees."""
    text = render(
        {spec.name: spec for spec in SPECS},
        {name: registry.snapshot() for name, registry in registries.items()},
    ).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted_is_what_a_scraper_reads() -> None:
    seen = values({"0": counted(3, 2.0)})
    assert seen[("t_hits_total", (("who", "a"),))] == 3
    assert seen[("t_level", (("who", "a"),))] == 2.0
    assert seen[("t_time_seconds_bucket", (("le", "0.1"),))] == 1
    assert seen[("t_time_seconds_bucket", (("le", "1.0"),))] == 1
    assert seen[("t_time_seconds_bucket", (("le", "+Inf"),))] == 2
    assert seen[("t_time_seconds_count", ())] == 2
    assert seen[("t_time_seconds_sum", ())] == pytest.approx(5.1)
    assert seen[("t_own", ())] == 2.0


def test_workers_add_up_as_each_metric_says() -> None:
    seen = values({"0": counted(3, 2.0), "1": counted(4, 5.0)})
    assert seen[("t_hits_total", (("who", "a"),))] == 7
    assert seen[("t_time_seconds_count", ())] == 4
    assert seen[("t_level", (("who", "a"),))] == 7.0
    assert seen[("t_age_seconds", ())] == 5.0
    assert seen[("t_own", (("worker", "0"),))] == 2.0
    assert seen[("t_own", (("worker", "1"),))] == 5.0


def test_a_worker_that_replaces_a_dead_one_counts_on() -> None:
    stored = msgspec.msgpack.encode(counted(3, 2.0).snapshot())
    fresh = Registry(SPECS)
    fresh.adopt(msgspec.msgpack.decode(stored, type=Snapshot))
    fresh.counter(HITS).add(("a",), 1)
    seen = values({"0": fresh})
    assert seen[("t_hits_total", (("who", "a"),))] == 4
    assert seen[("t_time_seconds_count", ())] == 2
    assert ("t_level", (("who", "a"),)) not in seen


def test_series_of_what_is_gone_are_dropped() -> None:
    registry = counted(3, 2.0)
    registry.counter(HITS).add(("b",))
    registry.forget("who", {"a"})
    assert list(registry.counter(HITS).series) == [("b",)]


def test_label_values_are_escaped() -> None:
    registry = Registry(SPECS)
    registry.counter(HITS).add(('a"\n\\',))
    assert values({"0": registry})[("t_hits_total", (("who", 'a"\n\\'),))] == 1


@given(st.lists(st.lists(st.floats(0, 10), max_size=20), min_size=1, max_size=4))
def test_the_merge_of_histograms_is_the_histogram_of_all(parts: list[list[float]]) -> None:
    snapshots = {}
    whole = Registry([TIME])
    for number, part in enumerate(parts):
        registry = Registry([TIME])
        for value in part:
            registry.histogram(TIME).cell(()).observe(value)
            whole.histogram(TIME).cell(()).observe(value)
        snapshots[str(number)] = registry.snapshot()
    _, merged = merge(TIME, snapshots)
    _, expected = merge(TIME, {"all": whole.snapshot()})
    assert {key: sample.counts for key, sample in merged.items()} == {
        key: sample.counts for key, sample in expected.items()
    }


def test_every_metric_is_named_and_explained_as_prometheus_wants() -> None:
    assert len({spec.name for spec in metrics.ALL}) == len(metrics.ALL)
    for spec in metrics.ALL:
        assert spec.help.endswith(".")
        assert spec.name.startswith(("cardan_", "process_"))
        assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER)
        assert (spec.kind is Kind.HISTOGRAM) == bool(spec.buckets)
        assert list(spec.buckets) == sorted(set(spec.buckets))
        assert not {"tenant", "request_id", "le", "worker"} & set(spec.labels)
