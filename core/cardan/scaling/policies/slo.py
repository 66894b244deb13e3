"""As many replicas as hold what is promised, by a model of the fleet. The default.

Prefill: the least n for which the queueing model (`cardan.scaling.queueing`) says that the promised
share of requests sees its first token in time. Work is counted in *uncached* tokens: a prefix cache
makes prompts cheap, and its loss makes them dear, which counting requests or prompt tokens misses.

Decode: n = output tokens/s over what a replica gives at its largest batch, B / ITL(B). The largest
batch keeps the ITL within nine tenths of its promise and the KV cache within 0.85.

Replicas that go take their caches along. For two minutes the hits that are expected are those of
before less the lost share, until what is measured says so itself. (New replicas cost hits too, but
bring more than those cost, so growth is not answered with growth.)

Where demand was raised for what may come, half a replica less is asked for: rounding up adds that
on the mean, and both together were twice the headroom (never less than the demand of now needs).

What comes of it corrects the model twice. The error budget (`cardan.scaling.error_budget`) spends
what was saved and pays what is owed, over hours. It is an account of first tokens, so it is prefill
that it plans less or more of: that prompts were in time gives decode no room. Where a replica does
both, decode pays too once half of the most is owed: prefill was not all of the reason then (prompts
also wait for room in the cache).

The guard answers what cannot wait for that: `trim` is a factor on n. Three times as many late as
are allowed, or a mean ITL above its promise: a fifth more. Under 0.8 of that for ten minutes: half
of what is above the model is given back. An ITL under 0.4 of its promise for ten minutes: a
twentieth less than the model. (The bands are HeteroScale's. It raises at the promised p95, and so
did we; but a fleet of the right size *is* at its promise, and every second window above it: nine
tenths of a bursty day were spent a sixth too large.) Where nobody counts what was in time, p95 TTFT
over its promise stands for it. The guard is asked only while fresh, and only after a whole window
of measurement in which there was as much as the model had asked for: latency while replicas start
says nothing of the model. A trim that had to be taken back doubles the ten minutes, so at constant
load it comes to rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling import error_budget, queueing, service
from cardan.scaling.decision import ReasonCode
from cardan.scaling.policies.base import ScalingPolicyBase, silent, told

if TYPE_CHECKING:
    from cardan.scaling.decision import Recommendation
    from cardan.scaling.view import RoleView
    from cardan.scaling.windows import PolicyMemory

# Engines' own limit of requests in a batch, where nothing else limits it (vLLM's `max_num_seqs`).
MOST_BATCH: Final = 256.0
# After this the measured hit ratio tells of a change of membership by itself.
LOSS_S: Final = 120.0
# Latencies are measured over windows of five minutes.
GUARD_WINDOW_S: Final = 300.0
# There was as much as was asked for, but for a rounding.
SUPPLIED: Final = 0.95
# Rounding up is headroom too: half a replica, on the mean.
ROUNDING: Final = 0.5
# So many times what is allowed to be late is no weather: at this rate a day's account lasts an hour
# or two, and the model is wrong about this fleet.
FAST_BURN: Final = 3.0
OVER: Final = 1.0
NEAR: Final = 0.8
FAR: Final = 0.4
RAISE: Final = 1.2
LOWER: Final = 0.95
TRIM_RANGE: Final = (0.8, 2.0)
PATIENCE_S: Final = 600.0
MOST_PATIENCE_S: Final = 86_400.0


class _Part(NamedTuple):
    """What prefill or decode asks for; `replicas` None where it cannot tell."""

    code: ReasonCode
    replicas: float | None
    message: str
    lacking: tuple[str, ...] = ()


class Slo(ScalingPolicyBase, tag="slo", frozen=True, kw_only=True):
    """Replicas that hold the specification's `slo`.

    `d` is how many replicas the router chooses from, `itl_share` how much of the promised ITL the
    model may use, `kv_share` how much of the KV cache, `guard` whether measured latency corrects
    it.
    """

    d: Annotated[float, msgspec.Meta(ge=1, le=64)] = 2.0
    itl_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.9
    kv_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.85
    guard: bool = True

    def remember(self, role: Role, view: RoleView, now: WallTime) -> PolicyMemory:
        """Replicas that went, and what latency says of the model."""
        if not self.speaks_for(role):
            return view.memory
        memory = _note_loss(view.memory, view.ready, now)
        if not self.guard:
            return memory
        wanted = self._wanted(role, view, now)
        supplied = wanted is not None and view.ready >= SUPPLIED * wanted
        lowest = 1.0 if _accounted(role, view) else TRIM_RANGE[0]
        return _guard(memory, _latency(role, view), supplied, now, lowest)

    def recommend(self, role: Role, view: RoleView, now: WallTime) -> Recommendation:
        """The most of what prefill, decode and the hottest key need, times the trim."""
        if not self.speaks_for(role):
            return silent(ReasonCode.SLO_PREFILL, role)
        parts = self._parts(role, view, now)
        lacking = tuple(dict.fromkeys(name for part in parts for name in part.lacking))
        known = [part for part in parts if part.replicas is not None]
        if not known:
            return told(parts[0].code, "lacks " + ", ".join(lacking), None, lacking)
        most = max(known, key=lambda part: part.replicas or 0.0)
        trim = view.memory.trim if self.guard else 1.0
        code = ReasonCode.GUARD if trim > 1 else most.code
        message = most.message if trim == 1 else f"{most.message}; times {trim:.2f} by the guard"
        asked = _spared((most.replicas or 0.0) * trim, view.foreseen.growth)
        return told(code, message, asked, lacking)

    def _wanted(self, role: Role, view: RoleView, now: WallTime) -> float | None:
        """What is asked for, trim and all; None unless all of it can be told."""
        parts = self._parts(role, view, now)
        if any(part.replicas is None for part in parts):
            return None
        most = max(part.replicas or 0.0 for part in parts)
        return _spared(most * view.memory.trim, view.foreseen.growth)

    def _parts(self, role: Role, view: RoleView, now: WallTime) -> list[_Part]:
        parts = []
        if role is not Role.DECODE:
            parts.append(_planned(self._prefill(role, view, now), view.credit))
        if role is not Role.PREFILL:
            credit = min(0.0, 2.0 * view.credit + 1.0) if role is Role.BOTH else 0.0
            parts.append(_planned(self._decode(view), credit))
        return parts

    def _prefill(self, role: Role, view: RoleView, now: WallTime) -> _Part:
        rate = view.foreseen.requests_per_s
        uncached = view.foreseen.uncached_tokens_per_s
        if rate is None or uncached is None:
            missing = ("requests_per_s", "uncached_tokens_per_s")
            lacking = tuple(name for name in missing if getattr(view.foreseen, name) is None)
            return _Part(ReasonCode.SLO_PREFILL, None, "", lacking)
        if rate <= 0:
            return _Part(ReasonCode.SLO_PREFILL, 0.0, "nobody asks")
        uncached = max(uncached, _after_loss(view, rate, now))
        slo = view.spec.slo
        service_s = service.service_s(view.learned, view.spec, role, uncached / rate)
        n = queueing.least_replicas(rate, service_s, slo.ttft_s, slo.attainment, self.d)
        message = (
            f"{rate:.3g} requests/s of {uncached / rate:.0f} uncached tokens ({service_s:.3g} s) "
            f"see a token within {slo.ttft_s:g} s"
        )
        owners = _owners(role, view, rate)
        if owners > n:
            n, message = owners, f"the hottest key needs {owners:.0f} owners"
        return _Part(ReasonCode.SLO_PREFILL, n, message)

    def _decode(self, view: RoleView) -> _Part:
        tokens = view.foreseen.output_tokens_per_s
        if tokens is None:
            return _Part(ReasonCode.SLO_DECODE, None, "", ("output_tokens_per_s",))
        batch, limit = self._batch(view)
        itl_s = view.learned.itl.at(batch)
        message = (
            f"{tokens:.4g} output tokens/s, {batch:.0f} streams a replica ({limit}) "
            f"at {itl_s * 1e3:.1f} ms a token"
        )
        return _Part(ReasonCode.SLO_DECODE, max(0.0, tokens) * itl_s / batch, message)

    def _batch(self, view: RoleView) -> tuple[float, str]:
        """The largest batch of a replica, and what limits it."""
        limits = [(MOST_BATCH, "engine")]
        share = view.learned.kv_share.value
        if share > 0:
            limits.append((max(1.0, self.kv_share / share), "KV cache"))
        promised = view.spec.slo.itl_s
        if promised is not None:
            limits.append((view.learned.itl.batch_within(promised * self.itl_share), "ITL"))
        return min(limits)


def _planned(part: _Part, credit: float) -> _Part:
    """The part as the account of late first tokens would have it."""
    thrift = error_budget.factor(credit)
    if part.replicas is None or thrift == 1:
        return part
    message = f"{part.message}; times {thrift:.2f} by the error budget"
    return part._replace(replicas=part.replicas * thrift, message=message)


def _spared(replicas: float, growth: float) -> float:
    """Less the half replica that rounding up adds on the mean, where demand was raised anyway.

    Never less than what the demand of now needs.
    """
    return max(replicas / max(growth, 1.0), replicas - ROUNDING)


def _after_loss(view: RoleView, rate: float, now: WallTime) -> float:
    """Uncached tokens/s when a share of the hits is gone; what is expected, not measured."""
    loss, memory = view.hit_loss, view.memory
    if memory.lost_at is not None and 0 <= now - memory.lost_at < LOSS_S:
        loss = max(loss, memory.lost_share)
    if loss <= 0:
        return 0.0
    hits = service.hit_ratio(view.learned) * (1.0 - min(loss, 1.0))
    return rate * view.learned.prompt_tokens.value * (1.0 - hits)


def _owners(role: Role, view: RoleView, rate: float) -> float:
    """Replicas that the hottest key alone needs: fewer cannot even take turns with it."""
    prompt = view.learned.prompt_tokens.value
    most = 0
    for key in view.observation.keys:
        service_s = service.service_s(view.learned, view.spec, role, prompt - key.hit_tokens)
        most = max(most, queueing.owners_needed(key.share * rate, service_s))
    return float(most)


def _note_loss(memory: PolicyMemory, ready: float, now: WallTime) -> PolicyMemory:
    """Remember that replicas went, and with which share of the hits."""
    before = memory.ready
    if before is None or ready >= before:
        return msgspec.structs.replace(memory, ready=ready)
    share = round((before - ready) / before, 4)
    return msgspec.structs.replace(memory, ready=ready, lost_at=now, lost_share=share)


def _latency(role: Role, view: RoleView) -> float | None:
    """The worst of measured over promised; None where nothing fresh tells."""
    slo, demand = view.spec.slo, view.observation.demand
    ttft_s, itl_s = demand.ttft_p95_s.known, demand.itl_s.known
    ratios = []
    attained = demand.attainment.known
    if _accounted(role, view) and attained is not None:
        ratios.append((1.0 - attained) / (1.0 - slo.attainment) / FAST_BURN)
    elif role is not Role.DECODE and ttft_s is not None:
        ratios.append(ttft_s / slo.ttft_s)
    if role is not Role.PREFILL and itl_s is not None and slo.itl_s is not None:
        ratios.append(itl_s / slo.itl_s)
    return max(ratios, default=None)


def _accounted(role: Role, view: RoleView) -> bool:
    """Whether the error budget corrects this role by itself, and only a fast burn is left."""
    return role is not Role.DECODE and view.observation.demand.attainment.known is not None


def _guard(
    memory: PolicyMemory, latency: float | None, supplied: bool, now: WallTime, lowest: float
) -> PolicyMemory:
    """Move the trim if a whole window of latency, with supply as asked for, says so."""
    since = _since(memory.supplied_since, supplied, now)
    far = NEAR if memory.trim > 1.0 else FAR
    calm_since = _since(memory.calm_since, latency is not None and latency < far, now)
    memory = msgspec.structs.replace(memory, supplied_since=since, calm_since=calm_since)
    moved_at = memory.trim_at if memory.trim_at is not None else WallTime(0.0)
    settled = since is not None and now - max(since, moved_at) >= GUARD_WINDOW_S
    if latency is None or not settled:
        return memory
    if latency > OVER:
        return _raise(memory, now)
    if calm_since is not None and now - max(calm_since, moved_at) >= memory.patience_s:
        return _lower(memory, now, lowest)
    return memory


def _since(since: WallTime | None, holds: bool, now: WallTime) -> WallTime | None:
    """Since when something holds; None while it does not."""
    if not holds:
        return None
    return now if since is None else since


def _raise(memory: PolicyMemory, now: WallTime) -> PolicyMemory:
    trim = round(min(memory.trim * RAISE, TRIM_RANGE[1]), 3)
    if trim == memory.trim:
        return memory
    patience_s = min(memory.patience_s * 2.0, MOST_PATIENCE_S) if memory.lowered else PATIENCE_S
    return msgspec.structs.replace(
        memory, trim=trim, trim_at=now, patience_s=patience_s, lowered=False
    )


def _lower(memory: PolicyMemory, now: WallTime, lowest: float) -> PolicyMemory:
    trim = round(max(_eased(memory.trim), min(lowest, memory.trim)), 3)
    if trim == memory.trim:
        return memory
    return msgspec.structs.replace(memory, trim=trim, trim_at=now, lowered=True)


def _eased(trim: float) -> float:
    """A trim that is not needed: halfway back to the model, or a step below it."""
    if trim > 1.0:
        return 1.0 + (trim - 1.0) / 2.0 if trim > 1.0 + 2 * (1.0 - LOWER) else 1.0
    return max(trim * LOWER, TRIM_RANGE[0])
