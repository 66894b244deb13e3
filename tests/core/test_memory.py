"""Models that were served are remembered for a while, and never too many of them."""

from __future__ import annotations

from cardan.instants import Monotonic
from cardan.memory import MAX_REMEMBERED_MODELS, REMEMBER_S, ModelMemory


def test_a_model_is_recalled_until_its_time_is_over() -> None:
    memory = ModelMemory()
    memory.note(["m"], Monotonic(1.0))
    assert memory.recalls("m", Monotonic(REMEMBER_S))
    assert not memory.recalls("m", Monotonic(1.0 + REMEMBER_S))
    assert not memory.recalls("other", Monotonic(1.0))


def test_the_oldest_are_forgotten_first() -> None:
    memory = ModelMemory()
    memory.note(["first", "second"], Monotonic(0.0))
    memory.note(["first"], Monotonic(1.0))
    memory.note((f"adapter-{i}" for i in range(MAX_REMEMBERED_MODELS - 1)), Monotonic(2.0))
    assert len(memory) == MAX_REMEMBERED_MODELS
    assert memory.recalls("first", Monotonic(2.0))
    assert not memory.recalls("second", Monotonic(2.0))
