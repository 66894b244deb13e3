"""Every routing policy, one file each. Adding one is a file here and a word in `AnyPolicy`."""

from __future__ import annotations

from typing import get_args

import msgspec
from cardan.errors import ConfigError
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.policies.bounded_load import BoundedLoad
from cardan.policies.cache_aware import CacheAware
from cardan.policies.dualmap import DualMap, Mode
from cardan.policies.least_request import LeastRequest
from cardan.policies.power_of_two import PowerOfTwo
from cardan.policies.random_choice import Random
from cardan.policies.round_robin import RoundRobin
from cardan.policies.session_hash import SessionHash

AnyPolicy = (
    DualMap
    | RoundRobin
    | Random
    | LeastRequest
    | PowerOfTwo
    | SessionHash
    | BoundedLoad
    | CacheAware
)

__all__ = [
    "AnyPolicy",
    "BoundedLoad",
    "CacheAware",
    "Chooser",
    "DualMap",
    "LeastRequest",
    "Mode",
    "Needs",
    "PolicyBase",
    "PowerOfTwo",
    "Random",
    "RoundRobin",
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
