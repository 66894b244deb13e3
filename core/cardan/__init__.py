"""Cardan's model: values and decisions for requests to LLM engines.

Pure: no clock, no I/O, no concurrency, no randomness of its own; `now` and `rng` are arguments. A
shell (the gateway, the simulator) reads one clock, owns the bytes, tells an `Exchange` what
happened and does what it answers. These are the names a shell needs; docs/architecture.md is the
map.
"""

from __future__ import annotations

from cardan.decision import Candidate, Decision, Reason
from cardan.endpoint import Endpoint, EndpointId, EngineKind, Role
from cardan.errors import CardanError, ConfigError, RequestError
from cardan.fleet import EndpointState, Fleet, FleetConfig, Pool
from cardan.instants import Monotonic, WallTime
from cardan.ledger import Lease, Ledger, Outcome, Usage
from cardan.lifecycle import Exchange, Failure, Forward, Reject, RejectReason, Wait
from cardan.metrics import EngineMetrics
from cardan.policies import AnyPolicy, Needs, policy_named
from cardan.prompt import EMPTY, KeyConfig, Prompt, read_prompt
from cardan.request import Api, RequestView
from cardan.retries import RetryConfig
from cardan.scheduler import AdmissionConfig, Scheduler

__all__ = [
    "EMPTY",
    "AdmissionConfig",
    "AnyPolicy",
    "Api",
    "Candidate",
    "CardanError",
    "ConfigError",
    "Decision",
    "Endpoint",
    "EndpointId",
    "EndpointState",
    "EngineKind",
    "EngineMetrics",
    "Exchange",
    "Failure",
    "Fleet",
    "FleetConfig",
    "Forward",
    "KeyConfig",
    "Lease",
    "Ledger",
    "Monotonic",
    "Needs",
    "Outcome",
    "Pool",
    "Prompt",
    "Reason",
    "Reject",
    "RejectReason",
    "RequestError",
    "RequestView",
    "RetryConfig",
    "Role",
    "Scheduler",
    "Usage",
    "Wait",
    "WallTime",
    "policy_named",
    "read_prompt",
]
