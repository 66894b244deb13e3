"""A sentence for each field: for `kubectl explain`, and for docs/reference/crds.md.

What a section is, its struct's docstring says. Where a field is a section, its sentence says what
it is for; where it is a value, what the value does.
"""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import TYPE_CHECKING, Final

from cardan.overlay import Dormant, ModelOverlay, RoutingOverlay
from cardan.scaling import policies, spec
from cardan.spelling import in_yaml

from cardan_controller.crds import fleet, status

if TYPE_CHECKING:
    import msgspec

_SPEC: Final[dict[type[msgspec.Struct], dict[str, str]]] = {
    spec.ScalingSpec: {
        "pools": "What is scaled. Either all of role `both`, or some `prefill` and some `decode`.",
        "slo": "What is promised.",
        "policies": "What says how many replicas there should be; the one that wants most counts.",
        "behavior": "How fast pools may grow and shrink.",
        "forecast": "Whether demand is foreseen.",
        "zero": "Scaling to zero, and from it.",
        "drain": "How replicas leave.",
        "hot_spots": "What is done about prompts' prefixes that two endpoints cannot carry.",
        "failures": "What is done about engines that are up and wrong.",
        "ratio": "Bounds on prefill over decode replicas.",
        "cold_start_s": "From asking for a replica to its first answer, until starts were seen.",
        "pending_deadline_s": "After this a replica that is not ready no longer counts as supply.",
        "priority": "Who is served first where fleets share a budget: the highest.",
    },
    fleet.FleetSpec: {
        "model": "The model's name, as clients ask for it. It cannot be changed.",
        "engine": "Which dialect the engines speak; `auto` asks them.",
        "mode": "`Apply` writes scales; `Recommend` only says what it would write. Of its gateways"
        " it then asks one thing: to hold requests for a model that sleeps.",
        "paused": "Nothing is changed while this is true; what would be is still said.",
        "replicas": "Hands the number to somebody else: policies are not asked while it is set.",
        "budget_ref": "The budget that this fleet shares with others.",
        "gateways": "Whose counters are the fleet's demand.",
    },
    fleet.Gateways: {
        "namespace": "Where the gateways are; empty: in the fleet's own namespace. Another one has"
        " to be open to fleets by the operator's configuration (`gateways.namespaces`).",
        "selector": "Which pods they are; without one, those that the chart installs. It finds them"
        " and no more: demand is counted by namespace and model, so gateways of that namespace with"
        " other labels that serve the model count too, and are to be heard as well.",
    },
    fleet.BudgetRef: {"name": "Its name in the operator's configuration."},
    fleet.TargetRef: {
        "api_version": "Its API version.",
        "kind": "Its kind: Deployment, StatefulSet, LeaderWorkerSet, or any with `/scale`.",
        "name": "Its name.",
    },
    fleet.Selector: {
        "match_labels": "Labels that a pod must have, with these values.",
        "match_expressions": "Conditions on a pod's labels.",
    },
    fleet.Requirement: {
        "key": "The label.",
        "operator": "How it is compared.",
        "values": "With what; empty for Exists and DoesNotExist.",
    },
    spec.PoolSpec: {
        "name": "The pool's name, unique in the fleet.",
        "role": "Which half of a request its replicas serve.",
        "min_replicas": "At least this many.",
        "max_replicas": "At most this many.",
        "cost": "What a replica costs, in any unit; the cheapest mix of a role's pools is chosen.",
        "gpus": "How many GPUs a replica has, for budgets.",
        "power_w": "How much power a replica draws (W), for budgets.",
        "speed": "A replica's throughput beside the role's other pools', until it is learned.",
    },
    fleet.FleetPool: {
        "scale_target_ref": "What is scaled: an object of this namespace with a `/scale`.",
        "selector": "Which pods are its replicas; else as the target's scale tells.",
    },
    spec.SloSpec: {
        "ttft_s": "The first token comes within this time …",
        "itl_s": "The promised mean time between tokens; without one, nothing is promised of it.",
        "attainment": "… for this share of the requests.",
        "window_s": "The time that the share is of: what is saved in it may be spent in it.",
    },
    spec.Behavior: {"up": "How it may grow.", "down": "How it may shrink."},
    spec.Direction: {
        "stabilization_s": "The mildest recommendation of this long counts.",
        "tolerance": "A change by less than this share is none.",
        "limits": "At most so much in so long.",
        "select": "Which of several limits counts: the one that allows most, least, or no change.",
    },
    spec.RateLimit: {
        "replicas": "At most so many replicas …",
        "percent": "… or so many per cent of what there is …",
        "period_s": "… in this long.",
    },
    spec.ZeroSpec: {
        "idle_s": "To zero after this long without a request; without one, never.",
        "hold_requests": "How many requests a gateway holds while there is no replica.",
        "hold_bytes": "How many bytes of them.",
        "hold_s": "How long each of them.",
    },
    spec.DrainSpec: {"deadline_s": "How long a replica that leaves may finish what it runs."},
    spec.ForecastSpec: {
        "enabled": "Whether demand is foreseen at all.",
        "season_s": "The periods that demand repeats in.",
        "burst_z": "How many standard deviations of bursts there is room for.",
    },
    spec.HotSpotSpec: {
        "enabled": "Whether anything is done.",
        "imbalance": "An endpoint is hot at this many times the mean load.",
        "hold_s": "It has to stay so for this long.",
        "cool_s": "A move is undone after it has been calm for this long.",
        "budget_tokens": "At most so many tokens are prefilled again for moves …",
        "interval_s": "… in this long.",
        "max_owners": "A prefix has at most this many owners.",
        "prewarm_s": "A new owner has so long to be made warm before it takes traffic; 0: none.",
    },
    spec.FailureSpec: {
        "enabled": "Whether anything is done.",
        "after_s": "An engine with work and without a token for this long is wrong.",
        "error_share": "One that fails this share of its requests is too.",
        "max_restarts": "At most so many are restarted …",
        "interval_s": "… in this long.",
    },
    spec.RatioSpec: {"min": "At least this much.", "max": "At most this much."},
}

_POLICIES: Final[dict[type[msgspec.Struct], dict[str, str]]] = {
    policies.ScalingPolicyBase: {"roles": "The roles it speaks for; empty: all."},
    policies.Slo: {
        "d": "How many replicas the gateway chooses from.",
        "itl_share": "How much of the promised time between tokens the model may use.",
        "kv_share": "How much of the KV cache.",
        "guard": "Whether measured latency corrects the model.",
    },
    policies.Throughput: {
        "tokens_per_s": "So many for each replica.",
        "tokens": "Which tokens are counted.",
    },
    policies.Concurrency: {
        "target": "Requests in flight for each replica …",
        "utilisation": "… of which this share is used.",
        "stable_s": "The window whose mean counts.",
        "panic_share": "The part of it that watches for bursts.",
        "panic_threshold": "There is a panic where that asks for this many times what is ready.",
    },
    policies.Utilisation: {"of": "What is measured.", "target": "The mean to be held."},
    policies.Schedule: {"windows": "When there are to be how many."},
    policies.CronWindow: {
        "start": "Opens the window: a cron expression of five fields.",
        "end": "Closes it: another one.",
        "timezone": "The time zone of both, as `Europe/Paris`.",
        "min_replicas": "At least this many while it is open.",
        "max_replicas": "At most this many while it is open.",
    },
    policies.External: {
        "metric": "The metric's name in the operator's configuration.",
        "target": "What it is to be.",
        "target_type": "`AverageValue`: for each replica. `Value`: as it is.",
    },
}

_STATUS: Final[dict[type[msgspec.Struct], dict[str, str]]] = {
    status.FleetStatus: {
        "observed_generation": "Of the specification that this is about.",
        "operator": "Whose fleet it is, of several operators: the namespace and name of its Lease.",
        "conditions": "What is true of the fleet, and why.",
        "replicas": "Replicas that its targets ask for, of all pools.",
        "desired": "Replicas that it should have, of all pools.",
        "ready": "Replicas that are ready, of all pools.",
        "selector": "The pods of a fleet with one pool, for autoscalers that scale the fleet.",
        "pools": "How each pool does.",
        "ratio": "Prefill over decode.",
        "hot_spots": "What is hot, and what is done about it.",
        "metrics": "How well each input of decisions is known.",
        "last_decisions": "The last changes and why, the newest first.",
        "memory": "The operator's own; a new leader goes on from it.",
    },
    status.Condition: {
        "type": "What it says.",
        "status": "Whether it is so.",
        "reason": "Why, in one word.",
        "message": "Why, in a sentence.",
        "last_transition_time": "Since when.",
        "observed_generation": "Of the specification that it is about.",
    },
    status.PoolStatus: {
        "name": "The pool.",
        "role": "Its role.",
        "current": "What its target asks for.",
        "desired": "What it should ask for.",
        "ready": "Replicas that are ready.",
        "pending": "Replicas that are asked for and not ready.",
        "draining": "Replicas that finish what they run, to leave.",
        "manual": "Who has changed its scale since the operator did.",
        "reason": "Why as many are desired, in one word.",
        "message": "Why, in a sentence, with the numbers.",
    },
    status.RatioStatus: {
        "current": "As it is.",
        "wanted": "As the measured work wants it.",
    },
    status.HotSpotStatus: {
        "endpoints": "Endpoints that are hot.",
        "moves": "Moves that are in force.",
    },
    status.MoveStatus: {
        "kind": "What was done.",
        "at": "When.",
        "key": "Of which prefix.",
        "owners": "Who owns it now, or as well.",
        "warming": "Those of them that are made warm first.",
        "relieved": "The endpoint that was too busy.",
        "factor": "By how much its share of keys was changed.",
        "cost_tokens": "Tokens that were expected to be prefilled again for it.",
        "why": "Why, with the numbers.",
    },
    status.InputHealth: {
        "input": "The number.",
        "freshness": "How well it is known.",
        "at": "When it was measured.",
        "message": "Why it is not.",
    },
    status.DecisionStatus: {
        "at": "When.",
        "pool": "Of which pool.",
        "from_": "How many there were.",
        "to": "How many there were to be.",
        "reason": "Why, in one word.",
        "message": "Why, in a sentence, with the numbers.",
    },
}

_OVERLAY: Final[dict[type[msgspec.Struct], dict[str, str]]] = {
    RoutingOverlay: {
        "generation": "Rises with every change; shown, not acted on.",
        "models": "What is different, by model.",
    },
    ModelOverlay: {
        "owners": "Who owns a key, in order, by the key.",
        "add": "Who owns a key as well, by the key.",
        "warm": "Who is to be made warm for a key, to own it later, by the key.",
        "weights": "Factors on endpoints' shares of keys.",
        "draining": "Endpoints that get no new key.",
        "cordoned": "Endpoints that get nothing.",
        "dormant": "The model is scaled to zero: requests for it wait.",
    },
    Dormant: {
        "hold_requests": "How many requests a gateway holds.",
        "hold_bytes": "How many bytes of them.",
        "hold_s": "How long each of them.",
        "wake_url": "Where the first one is told; empty: nowhere.",
    },
}

WORDS: Final = {**_SPEC, **_POLICIES, **_STATUS, **_OVERLAY}


def meaning(struct: type[msgspec.Struct], field: str = "") -> str:
    """What a struct is, or a field of it; empty where nothing is said."""
    if not field:
        return _spelled(" ".join(cleandoc(struct.__doc__ or "").partition("\n\n")[0].split()))
    told = (WORDS.get(base, {}).get(field) for base in struct.__mro__)
    return next(filter(None, told), "")


def _spelled(text: str) -> str:
    """With the fields' names as they are in YAML."""
    return re.sub(r"`([a-z]+(?:_[a-z]+)+)`", lambda found: f"`{in_yaml(found[1])}`", text)
