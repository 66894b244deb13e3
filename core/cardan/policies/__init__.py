"""Every routing policy, one file each. Adding one is a file here and a word in `AnyPolicy`."""

from __future__ import annotations

from typing import get_args

import msgspec
from cardan.errors import ConfigError
from cardan.policies.affinity import Affinity
from cardan.policies.aibrix_prefix_cache import AibrixPrefixCache
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.policies.bounded_load import BoundedLoad
from cardan.policies.cache_aware import CacheAware
from cardan.policies.dualmap import DualMap, Mode
from cardan.policies.dynamo_cost import DynamoCost
from cardan.policies.least_pending_tokens import LeastPendingTokens
from cardan.policies.least_request import LeastRequest
from cardan.policies.llm_d_sticky import LlmDSticky
from cardan.policies.lmetric import LMetric
from cardan.policies.load_aware import LoadAware
from cardan.policies.min_ttft import MinTtft
from cardan.policies.mooncake import Mooncake
from cardan.policies.power_of_two import PowerOfTwo
from cardan.policies.preble import Preble
from cardan.policies.random_choice import Random
from cardan.policies.round_robin import RoundRobin
from cardan.policies.session_hash import SessionHash
from cardan.policies.smetric import SMetric

AnyPolicy = (
    DualMap
    | RoundRobin
    | Random
    | LeastRequest
    | PowerOfTwo
    | SessionHash
    | BoundedLoad
    | CacheAware
    | LeastPendingTokens
    | Affinity
    | MinTtft
    | LMetric
    | SMetric
    | Preble
    | Mooncake
    | DynamoCost
    | LlmDSticky
    | LoadAware
    | AibrixPrefixCache
)

__all__ = [
    "Affinity",
    "AibrixPrefixCache",
    "AnyPolicy",
    "BoundedLoad",
    "CacheAware",
    "Chooser",
    "DualMap",
    "DynamoCost",
    "LMetric",
    "LeastPendingTokens",
    "LeastRequest",
    "LlmDSticky",
    "LoadAware",
    "MinTtft",
    "Mode",
    "Mooncake",
    "Needs",
    "PolicyBase",
    "PowerOfTwo",
    "Preble",
    "Random",
    "RoundRobin",
    "SMetric",
    "SessionHash",
    "policy_named",
    "policy_names",
]


def policy_names() -> list[str]:
    """The names of all policies, as the configuration spells them; the default first."""
    return [str(policy.__struct_config__.tag) for policy in get_args(AnyPolicy)]


def policy_named(name: str) -> AnyPolicy:
    """The policy of that name with its defaults; `ConfigError` names all if there is none."""
    if name not in policy_names():
        raise ConfigError(f"no policy {name!r}; there are {', '.join(policy_names())}")
    policy: AnyPolicy = msgspec.convert({"type": name}, AnyPolicy)
    return policy
