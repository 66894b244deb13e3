"""Every scaling policy, one file each. Adding one is a file here and a word in the union."""

from __future__ import annotations

from cardan.scaling.policies.base import ScalingPolicyBase
from cardan.scaling.policies.concurrency import Concurrency
from cardan.scaling.policies.external import External, TargetType
from cardan.scaling.policies.schedule import CronWindow, Schedule
from cardan.scaling.policies.slo import Slo
from cardan.scaling.policies.throughput import Throughput, TokenKind
from cardan.scaling.policies.utilisation import Utilisation, UtilisationOf

AnyScalingPolicy = Slo | Throughput | Concurrency | Utilisation | Schedule | External

__all__ = [
    "AnyScalingPolicy",
    "Concurrency",
    "CronWindow",
    "External",
    "ScalingPolicyBase",
    "Schedule",
    "Slo",
    "TargetType",
    "Throughput",
    "TokenKind",
    "Utilisation",
    "UtilisationOf",
]
