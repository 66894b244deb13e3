"""Nobody is looked after before everybody is known who shares a budget or a target with him."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cardan_controller.beginning import all_heard

from tests.controller.scene import Scene
from tests.fakes.waiting import settle

if TYPE_CHECKING:
    import pytest

LONG_S = 30.0
THERE = {("n", "big"): "uid-big", ("n", "small"): "uid-small"}


async def test_all_that_are_there_are_waited_for() -> None:
    scene = Scene()
    waiting = asyncio.create_task(all_heard(scene.fleets, lambda: THERE, LONG_S))
    scene.fleet("small")
    await settle()
    assert not waiting.done()
    scene.fleet("big")
    assert await waiting


async def test_one_that_is_being_deleted_was_heard_of_and_one_that_has_gone_is_not_waited_for() -> (
    None
):
    scene = Scene()
    scene.fleets.changed(scene.fleet("big"), deleted=True)
    there = dict(THERE)
    waiting = asyncio.create_task(all_heard(scene.fleets, lambda: there, LONG_S))
    await settle()
    assert not waiting.done()
    del there["n", "small"]
    assert await waiting


async def test_a_former_fleet_of_its_name_is_not_the_one_that_is_there() -> None:
    scene = Scene()
    scene.fleet("big", uid="former")
    waiting = asyncio.create_task(
        all_heard(scene.fleets, lambda: {("n", "big"): "uid-big"}, LONG_S)
    )
    await settle()
    assert not waiting.done()
    scene.fleet("big", created="2026-11-21T11:00:00Z", version="2")
    assert await waiting


async def test_one_that_cannot_be_read_counts_by_its_name() -> None:
    scene = Scene()
    scene.fleet("big")
    assert await all_heard(scene.fleets, lambda: {("n", "big"): ""}, LONG_S)


async def test_who_is_never_heard_of_holds_up_the_others_for_a_while_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    scene.fleet("small")
    assert not await all_heard(scene.fleets, lambda: THERE, 0.01)
    assert "n/big" in caplog.text
    assert "n/small" not in caplog.text
