"""The manners of each make of engine server, as recorded from real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan_sim.serve.makes.sglang import SglangMake
from cardan_sim.serve.makes.vllm import VllmMake

if TYPE_CHECKING:
    from cardan_sim.serve.makes.base import Make
    from cardan_sim.serve.settings import Settings

__all__ = ["make_of"]


def make_of(settings: Settings) -> Make:
    """The manners that the settings ask for."""
    return VllmMake(settings) if settings.spec.make == "vllm" else SglangMake(settings)
