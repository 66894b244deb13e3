"""Views of a role, for tests of policies and of what is learned and foreseen."""

from __future__ import annotations

from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling.forecast import Foreseen
from cardan.scaling.learned_mean import LearnedMean
from cardan.scaling.observation import Datum, Demand, EndpointLoad, Observation, PoolState
from cardan.scaling.service import Learned
from cardan.scaling.spec import PoolSpec, ScalingSpec, SloSpec
from cardan.scaling.view import RoleView
from cardan.scaling.windows import PolicyMemory

from tests.core.scaling.observed import T0, fresh, load

# A replica that computes 10,000 tokens a second, as has been seen for long.
KNOWN = Learned(
    prefill_s={"main": LearnedMean(1e-4, 512.0)},
    prompt_tokens=LearnedMean(4000.0, 512.0),
    uncached_tokens=LearnedMean(2000.0, 512.0),
    output_tokens=LearnedMean(200.0, 512.0),
)


def spec(
    role: Role = Role.BOTH, *, ttft_s: float = 2.0, itl_s: float | None = None, speed: float = 1.0
) -> ScalingSpec:
    """A fleet of one pool."""
    return ScalingSpec(
        pools=(PoolSpec(name="main", role=role, speed=speed),),
        slo=SloSpec(ttft_s=ttft_s, itl_s=itl_s),
    )


def demand(requests: float | None = 10.0, **changed: float | None) -> Demand:
    """Requests of 4000 prompt tokens, half of them cached, and 200 output tokens; all fresh."""
    each: dict[str, float | None] = {
        "requests_per_s": requests,
        "prompt_tokens_per_s": None if requests is None else requests * 4000.0,
        "uncached_tokens_per_s": None if requests is None else requests * 2000.0,
        "output_tokens_per_s": None if requests is None else requests * 200.0,
        "held": 0.0,
        "shed_per_s": 0.0,
    }
    return Demand(**{name: fresh(value) for name, value in (each | changed).items()})


def foreseen(seen: Demand, growth: float = 1.0) -> Foreseen:
    """Demand as it is, times a growth."""

    def grown(datum: Datum) -> float | None:
        return None if datum.known is None else datum.known * growth

    return Foreseen(
        requests_per_s=grown(seen.requests_per_s),
        uncached_tokens_per_s=grown(seen.uncached_tokens_per_s),
        output_tokens_per_s=grown(seen.output_tokens_per_s),
        growth=growth,
    )


def view(
    asked: Demand | None = None,
    *,
    endpoints: tuple[EndpointLoad, ...] = (),
    ready: int | None = None,
    of: ScalingSpec | None = None,
    learned: Learned = KNOWN,
    growth: float = 1.0,
    memory: PolicyMemory | None = None,
    external: dict[str, Datum] | None = None,
    hit_loss: float = 0.0,
    at: float = T0,
) -> RoleView:
    """A view of the one role of a fleet of one pool."""
    asked = asked or demand()
    of = of or spec()
    count = len(endpoints) if ready is None else ready
    seen = Observation(
        at=WallTime(at),
        demand=asked,
        pools={"main": PoolState(desired=count, ready=count)},
        endpoints=endpoints,
        external=external or {},
    )
    return RoleView(
        spec=of,
        role=of.pools[0].role,
        observation=seen,
        learned=learned,
        foreseen=foreseen(asked, growth),
        current=float(count),
        memory=memory or PolicyMemory(),
        hit_loss=hit_loss,
    )


def loads(*in_flight: float | None) -> tuple[EndpointLoad, ...]:
    """Ready endpoints with so many requests each; None: not known."""
    return tuple(load(f"e{at}", in_flight=many) for at, many in enumerate(in_flight))
