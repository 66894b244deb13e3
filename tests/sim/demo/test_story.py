"""The sentences say what the figures say, also when the other policy did not win."""

from __future__ import annotations

from cardan_sim.demo.story import tell
from cardan_sim.replay.engines import EngineCounts
from cardan_sim.replay.figures import Figures, Settings
from cardan_sim.replay.measure import measure
from cardan_sim.replay.openloop import Outcome
from cardan_sim.replay.sample import Sample


def run(label: str, ttft_s: float, cached: int | None, busiest: int = 100) -> Figures:
    sample = Sample(due_s=0.0, sent_s=0.0, first_s=ttft_s, end_s=ttft_s + 1)
    sample.prompt_tokens, sample.cached_tokens = 100, cached
    asked = Settings(
        label=label,
        trace="t",
        endpoint="http://x",
        model="m",
        requests=1,
        offered_rps=1.0,
        time_scale=1.0,
        slo_ttft_s=2.0,
    )
    engines = {"a": EngineCounts(1, busiest, 0), "b": EngineCounts(1, 100, 0)}
    return measure(Outcome([sample]), asked, engines)


def test_a_better_run_is_told_as_better() -> None:
    story = " ".join(tell(run("old", 3.0, 10, busiest=300), run("new", 1.0, 40)))
    assert "new began 100.0 % of all answers within 2 s, old 0.0 %." in story
    assert "40.0 % of all prompt tokens in their caches instead of 10.0 %: 33 % less" in story
    assert "median wait for the first token is 3.0 times shorter (1.00 s, was 3.00 s)" in story
    assert "busiest engine computed 1.00 times the mean of all, was 1.50" in story


def test_a_worse_run_is_told_as_worse() -> None:
    story = " ".join(tell(run("old", 1.0, 40), run("new", 3.0, 10)))
    assert "new began 0.0 % of all answers within 2 s, old 100.0 %." in story
    assert "50 % more to compute" in story
    assert "3.0 times longer (3.00 s, was 1.00 s)" in story


def test_the_same_is_told_as_the_same() -> None:
    story = " ".join(tell(run("old", 1.0, 40), run("new", 1.02, 40)))
    assert "as much to compute" in story
    assert "the median wait for the first token is the same" in story.lower()


def test_what_nobody_said_is_left_out() -> None:
    story = " ".join(tell(run("old", 1.0, None), run("new", 1.0, None)))
    assert "caches" not in story
