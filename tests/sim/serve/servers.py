"""Simulated engines inside the test's own process and loop."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from cardan_sim.engine import make_spec
from cardan_sim.serve.app import EngineServer, listening
from cardan_sim.serve.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SETTINGS = {field.name for field in dataclasses.fields(Settings)}


def settings(**given: Any) -> Settings:
    """Settings of a tiny engine on a free port; sizes go to the spec, the rest to the server."""
    own = {name: value for name, value in given.items() if name in _SETTINGS}
    sizes = {name: value for name, value in given.items() if name not in _SETTINGS}
    spec = make_spec(**{"model": "tiny", **sizes})
    base: dict[str, Any] = {
        "spec": spec,
        "host": "127.0.0.1",
        "port": 0,
        "served_model_name": "tiny-llama",
    }
    return Settings(**(base | own))


@contextlib.asynccontextmanager
async def running(**given: Any) -> AsyncIterator[EngineServer]:
    """A server that accepts connections, closed at the end."""
    chosen = settings(**given)
    server = EngineServer(chosen, listening(chosen))
    await server.start()
    try:
        yield server
    finally:
        await server.close()
