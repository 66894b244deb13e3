"""Small worlds for tests: a few engines, a synthetic workload, one policy."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from cardan.policies import DualMap
from cardan_sim.simulate.engines import PrefillSpec
from cardan_sim.simulate.jobs import Job
from cardan_sim.simulate.world import Setup, World

if TYPE_CHECKING:
    from cardan.policies import AnyPolicy
    from cardan_sim.simulate.recorder import Recorder

SMALL = PrefillSpec(token_s=1e-4, overhead_s=0.01, cache_tokens=200 * 512)


def setup(**rest: object) -> Setup:
    """Four small prefill engines; anything can be set otherwise."""
    return Setup(**({"engines": 4, "engine": SMALL} | rest))  # type: ignore[arg-type]


def conversations(n: int, per_s: float, *, seed: int = 1, output: int = 20) -> list[Job]:
    """`n` requests of conversations that grow by some blocks a turn, behind one system prompt."""
    rng, now, fresh = Random(seed), 0.0, 10
    open_: list[list[int]] = []
    jobs = []
    for _ in range(n):
        now += rng.expovariate(per_s)
        if len(open_) < 30 or rng.random() < 0.2:
            open_.append([1, 2])
        blocks = open_[rng.randrange(len(open_))]
        more = rng.randint(1, 3)
        blocks += range(fresh, fresh + more)
        fresh += more
        tokens = len(blocks) * 512 - rng.randint(0, 511)
        jobs.append(Job(now, tokens, rng.randint(1, 2 * output), tuple(blocks)))
        if len(blocks) > 20:
            open_.remove(blocks)
    return jobs


def play(
    jobs: list[Job], policy: AnyPolicy | None = None, *, seed: int = 1, **rest: object
) -> Recorder:
    """Play jobs in a small world; the laws are checked at its end."""
    return World(setup(**rest), policy or DualMap(), seed).play(jobs)


def rows(recorder: Recorder) -> list[tuple[object, ...]]:
    """Everything that was recorded, for comparison."""
    columns = (
        *(recorder.arrived_s, recorder.ttft_s.tobytes(), recorder.e2e_s.tobytes()),
        *(recorder.cached, recorder.endpoint, recorder.outcome, recorder.reason),
    )
    return [tuple(column) for column in columns]
