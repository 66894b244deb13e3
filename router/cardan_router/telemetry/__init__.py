"""Telemetry: metrics as data, one record for each request, and what the process is doing now."""

from __future__ import annotations

from cardan_router.telemetry.busy import LoopBusy
from cardan_router.telemetry.observed import ObservedScheduler
from cardan_router.telemetry.present import Present
from cardan_router.telemetry.recorder import RequestRecorder
from cardan_router.telemetry.registry import Registry, Snapshot

__all__ = ["LoopBusy", "ObservedScheduler", "Present", "Registry", "RequestRecorder", "Snapshot"]
