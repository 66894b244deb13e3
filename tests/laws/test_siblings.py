"""Laws of siblings: what others have taught is outweighed by a handful of an endpoint's own
observations, and until then all that have observed nothing are predicted alike.
"""

from __future__ import annotations

from math import isfinite

from cardan.instants import Monotonic
from cardan.siblings import Line, Siblings
from hypothesis import given
from hypothesis import strategies as st

# After this many observations of its own an endpoint is known, within a factor.
HANDFUL = 8
FACTOR = 1.5
# Two prompts of a hundred tokens differ by milliseconds on any GPU, which no prediction needs.
NEGLIGIBLE_S = 0.02

LENGTHS = [200.0, 1000.0, 4000.0, 16_000.0]
noise = st.floats(0.9, 1.1)


class World:
    """Siblings that observe, one observation each half second."""

    def __init__(self, overhead_s: float) -> None:
        self.siblings = Siblings()
        self.overhead_s = overhead_s
        self.now = 100.0

    def observe(
        self, line: Line, rate: float, tokens: float, factor: float, *, idle: bool
    ) -> tuple[float, float]:
        """A prompt at an idle endpoint, or a tenth of a second of its queue at least.

        What it should have taken and, by what is known after it, would be predicted to take.
        """
        self.now += 0.5
        z = 1.0 if idle else 0.0
        work = tokens if idle else max(tokens, 0.1 * rate)
        truth_s = z * self.overhead_s + work / rate
        line.observe(z, work, truth_s * factor, Monotonic(self.now))
        self.siblings.learn_line(z, work, truth_s * factor, line.overhead_s, Monotonic(self.now))
        return truth_s, z * line.overhead_s + work / line.rate

    def others(self, rate: float, n: int, noises: list[float]) -> None:
        """`n` siblings of that rate answer prompts of all lengths, idle and not, in turn."""
        lines = [Line(self.siblings) for _ in range(n)]
        for number, factor in enumerate(noises * 8):
            tokens, idle = LENGTHS[number % 4], number % 8 < 4
            self.observe(lines[number % n], rate, tokens, factor, idle=idle)


@given(
    st.sampled_from([2_000.0, 10_000.0, 40_000.0]),
    st.floats(0.25, 4.0),
    st.sampled_from([0.005, 0.02, 0.2]),
    st.integers(1, 6),
    st.lists(noise, min_size=5, max_size=9),
    st.sampled_from(LENGTHS),
    st.lists(st.tuples(st.booleans(), noise), min_size=HANDFUL, max_size=2 * HANDFUL),
)
def test_a_handful_of_its_own_observations_tells_an_endpoint_from_its_siblings(
    rate: float,
    times_slower: float,
    overhead_s: float,
    n: int,
    history: list[float],
    tokens: float,
    own: list[tuple[bool, float]],
) -> None:
    world = World(overhead_s)
    world.others(rate, n, history)
    line, truth_s, predicted_s = Line(world.siblings), 0.0, 0.0
    for idle, factor in own:
        truth_s, predicted_s = world.observe(line, rate / times_slower, tokens, factor, idle=idle)
    assert predicted_s <= truth_s * FACTOR + NEGLIGIBLE_S
    assert predicted_s >= truth_s / FACTOR - NEGLIGIBLE_S


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1e7), st.booleans(), st.floats(0, 1e5))),
)
def test_those_that_have_observed_nothing_are_predicted_alike_and_finitely(
    seen: list[tuple[int, float, bool, float]],
) -> None:
    siblings = Siblings()
    lines = [Line(siblings) for _ in range(5)]
    for number, (who, work, idle, took_s) in enumerate(seen):
        now = Monotonic(100.0 + number)
        lines[who].observe(float(idle), work, took_s, now)
        siblings.learn_line(float(idle), work, took_s, lines[who].overhead_s, now)
        asked = [lines[3].rate, lines[4].rate, siblings.rate]
        assert max(asked) - min(asked) <= 1e-9 * max(asked)
        assert lines[3].overhead_s == lines[4].overhead_s == siblings.overhead_s
        for line in lines:
            assert 0 < line.rate < 1e12
            assert isfinite(line.overhead_s)
            assert line.overhead_s > 0


@given(st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 10**9))))
def test_a_token_ratio_stays_between_a_tenth_and_ten(reports: list[tuple[float, int]]) -> None:
    siblings = Siblings()
    for estimated, real in reports:
        siblings.learn_tokens(estimated, real)
        assert 0.1 <= siblings.token_ratio <= 10.0
