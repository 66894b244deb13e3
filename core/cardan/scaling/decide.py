"""One tick of scaling: what is known, what is remembered, and the time, to what is to be done.

    learn -> what arrives -> foresee -> policies, the most of them -> balance of prefill and decode
    -> cheapest mix -> tolerance, windows, rates, bounds -> veto -> asleep or awake

Each step is a module with its own theory; this one only puts them in a row. Values in, values out:
the same three give the same two, whoever asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cardan.endpoint import Role
from cardan.scaling import (
    arrivals,
    error_budget,
    forecast,
    needs,
    planning,
    ratio,
    service,
    veto,
    zero,
)
from cardan.scaling.decision import ReasonCode, ScalingDecision, ScalingReason
from cardan.scaling.forecast import REACTION_S, How
from cardan.scaling.ratio import Halves
from cardan.scaling.view import RoleView
from cardan.scaling.zero import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import WallTime
    from cardan.scaling.forecast import Foreseen
    from cardan.scaling.memory import Memory
    from cardan.scaling.needs import Need
    from cardan.scaling.observation import Observation
    from cardan.scaling.planning import Plan
    from cardan.scaling.spec import ScalingSpec

Needs = dict[Role, "Need"]
Plans = tuple["Plan", ...]


class Tick(NamedTuple):
    """What does not change within a tick. `memory` is what was learned with it, too."""

    spec: ScalingSpec
    observation: Observation
    memory: Memory
    foreseen: Foreseen
    now: WallTime


def decide(
    spec: ScalingSpec, observation: Observation, memory: Memory, now: WallTime, paused: str = ""
) -> tuple[ScalingDecision, Memory]:
    """What is to be done with a fleet, and what is to be remembered.

    `paused` says why nothing is to be done, if so: what would be is decided and remembered all the
    same, and no pool's decision is valid.
    """
    tick = _learned(spec, observation, memory, now)
    plans = planning.begun(spec, observation, memory.pools, tick.memory.learned, now)
    tick = _remembered(tick, plans)
    wanted = {role: _need(tick, plans, role) for role in _roles(spec)}
    sleep = _sleep(tick, wanted)
    if sleep.call is Call.SLEEP:
        plans = planning.asleep(plans, sleep.reason)
    elif sleep.call is Call.WAKE:
        plans = _each(spec, plans, lambda _, own: planning.woken(own, sleep.reason))
    else:
        plans = _served(tick, plans, wanted)
    kept = msgspec.structs.replace(
        tick.memory,
        pools={plan.pool.name: plan.remembered(now) for plan in plans},
        zero=zero.after(tick.memory.zero, sleep, observation),
    )
    return _decision(tick, plans, paused), kept


# What is known


def _learned(spec: ScalingSpec, observation: Observation, memory: Memory, now: WallTime) -> Tick:
    """What this observation teaches, and what it lets foresee."""
    learned = service.learn(memory.learned, spec, observation, now)
    starts = [service.cold_start_s(learned, spec, pool.name) for pool in spec.pools]
    horizon_s = max(starts, default=spec.cold_start_s) + REACTION_S
    standing = arrivals.watched(memory.arrivals, observation)
    demand, how = arrivals.arrived(standing, observation.demand, learned), spec.forecast
    seen = forecast.update(memory.forecast, demand, now, how, horizon_s)
    standing, demand = arrivals.steadied(standing, demand, now)
    demand = arrivals.with_backlog(demand, observation)
    memory = msgspec.structs.replace(
        memory,
        arrivals=standing,
        learned=learned,
        forecast=seen,
        error_budget=error_budget.accounted(memory.error_budget, observation.demand, spec.slo, now),
        zero=zero.watched(memory.zero, spec, observation, now),
    )
    if spec.ratio is not None:
        corrected = ratio.corrected(memory.ratio, spec, demand, horizon_s, now)
        memory = msgspec.structs.replace(memory, ratio=corrected)
    foreseen = forecast.foresee(seen, demand, now, how, horizon_s)
    arriving = msgspec.structs.replace(observation, demand=demand)
    return Tick(spec, arriving, memory, foreseen, now)


def _remembered(tick: Tick, plans: Plans) -> Tick:
    """With what the policies remember; of policies and roles that are gone nothing stays."""
    policies = {}
    for role in _roles(tick.spec):
        view = _view(tick, plans, role)
        policies.update(needs.remembered(view, tick.memory.policies, tick.now))
    return tick._replace(memory=msgspec.structs.replace(tick.memory, policies=policies))


def _roles(spec: ScalingSpec) -> tuple[Role, ...]:
    """The roles that the fleet has pools of."""
    return tuple(dict.fromkeys(pool.role for pool in spec.pools))


def _view(tick: Tick, plans: Plans, role: Role) -> RoleView:
    """What policies are shown of a role."""
    return RoleView(
        spec=tick.spec,
        role=role,
        observation=tick.observation,
        learned=tick.memory.learned,
        foreseen=tick.foreseen,
        credit=tick.memory.error_budget.balance,
        current=sum(plan.speed * plan.current for plan in planning.of_role(plans, role)),
    )


def _need(tick: Tick, plans: Plans, role: Role) -> Need:
    """What a role needs now."""
    return needs.need(_view(tick, plans, role), tick.memory.policies, tick.now)


def _sleep(tick: Tick, wanted: Needs) -> zero.Sleep:
    """Whether to sleep or to wake; wishes (schedules, external metrics) are not slept on."""
    sleep = zero.call(tick.memory.zero, tick.spec, tick.observation, tick.now)
    wished = any(need.wished > 0 for need in wanted.values())
    return zero.Sleep(Call.SERVE) if sleep.call is Call.SLEEP and wished else sleep


# What is done


def _served(tick: Tick, plans: Plans, wanted: Needs) -> Plans:
    """The pools of a fleet that is awake."""
    wanted = _balanced(tick, plans, wanted)
    behavior = tick.spec.behavior

    def planned(role: Role, own: Plans) -> Plans:
        sized = planning.sized(own, wanted[role], behavior)
        held = tuple(planning.limited(plan, behavior, tick.now) for plan in sized)
        return veto.vetoed(held, lambda lost: _tried(tick, plans, role, lost))

    return _in_proportion(tick.spec, _each(tick.spec, plans, planned))


def _tried(tick: Tick, plans: Plans, role: Role, lost: float) -> float:
    """What a role would need with more demand and a share of its cache hits lost."""
    trial = tick._replace(foreseen=veto.tried(tick.foreseen))
    view = msgspec.structs.replace(_view(trial, plans, role), hit_loss=lost)
    return needs.need(view, tick.memory.policies, tick.now).replicas


def _balanced(tick: Tick, plans: Plans, wanted: Needs) -> Needs:
    """The needs of prefill and decode in proportion, where the specification asks for that."""
    bounds = tick.spec.ratio
    if bounds is None or not {Role.PREFILL, Role.DECODE} <= wanted.keys():
        return wanted
    before = Halves(wanted[Role.PREFILL].replicas, wanted[Role.DECODE].replicas)
    most = Halves(
        planning.most(planning.of_role(plans, Role.PREFILL)),
        planning.most(planning.of_role(plans, Role.DECODE)),
    )
    x = ratio.model(tick.memory.learned, tick.spec)
    target = None if x is None else x * tick.memory.ratio.correction
    after, reason = ratio.balanced(before, most, target, bounds)
    return {
        **wanted,
        Role.PREFILL: _with(wanted[Role.PREFILL], after.prefill, reason),
        Role.DECODE: _with(wanted[Role.DECODE], after.decode, reason),
    }


def _with(need: Need, replicas: float, reason: ScalingReason | None) -> Need:
    """The need as balance has left it."""
    if reason is None or replicas == need.replicas:
        return need
    return msgspec.structs.replace(need, replicas=replicas, reasons=(*need.reasons, reason))


def _in_proportion(spec: ScalingSpec, plans: Plans) -> Plans:
    """No role shrinks to where it is too small for the other."""
    if spec.ratio is None or not {Role.PREFILL, Role.DECODE} <= set(_roles(spec)):
        return plans
    after = Halves(_carried(plans, Role.PREFILL), _carried(plans, Role.DECODE))
    small = ratio.shrinks_too_far(after, spec.ratio)
    words = f"{after.prefill:g} prefill and {after.decode:g} decode would leave the bounds"
    reason = ScalingReason(ReasonCode.RATIO, words)
    return tuple(
        plan.to(min(plan.current, plan.pool.max_replicas), reason)
        if plan.acts and plan.pool.role is small and plan.n < plan.current
        else plan
        for plan in plans
    )


def _carried(plans: Plans, role: Role) -> float:
    """What a role's pools are to carry, in units of speed 1."""
    return sum(plan.speed * plan.n for plan in planning.of_role(plans, role))


def _each(spec: ScalingSpec, plans: Plans, step: Callable[[Role, Plans], Plans]) -> Plans:
    """The plans after a step that is done for each role by itself."""
    done = {
        plan.pool.name: plan
        for role in _roles(spec)
        for plan in step(role, planning.of_role(plans, role))
    }
    return tuple(done[plan.pool.name] for plan in plans)


def _decision(tick: Tick, plans: Plans, paused: str) -> ScalingDecision:
    """The plans as a decision."""
    decided = tuple(plan.decision() for plan in plans)
    notes: tuple[ScalingReason, ...] = ()
    if tick.foreseen.how is not How.REACTIVE:
        code = ReasonCode.FORECAST if tick.foreseen.how is How.FORECAST else ReasonCode.BURST
        words = f"demand times {tick.foreseen.growth:.2f} (error {tick.foreseen.error:.2f})"
        notes = (ScalingReason(code, words),)
    if paused:
        reason = ScalingReason(ReasonCode.PAUSED, paused)
        notes = (reason, *notes)
        decided = tuple(
            msgspec.structs.replace(pool, valid=False, reasons=(reason, *pool.reasons))
            for pool in decided
        )
    return ScalingDecision(at=tick.now, pools=decided, notes=notes)
