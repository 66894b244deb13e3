"""What an endpoint is: one engine process that answers at one URL.

An endpoint's identity is a name that outlives a reconnect (a pod's name, or the URL), never an
index, so that every replica of the gateway hashes the same fleet alike.
"""

from __future__ import annotations

import enum
from typing import Annotated, NewType

import msgspec

EndpointId = NewType("EndpointId", str)
"""A stable, unique name of an endpoint."""


class Role(enum.StrEnum):
    """Which half of a request an endpoint serves."""

    BOTH = "both"
    PREFILL = "prefill"
    DECODE = "decode"


class EngineKind(enum.StrEnum):
    """The dialect an engine speaks; `auto` until introspection has told."""

    AUTO = "auto"
    VLLM = "vllm"
    SGLANG = "sglang"
    OPENAI = "openai"


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An endpoint as discovery reports it.

    `url` is the origin (`http://host:port`), without a path. `weight` is its share of keys
    relative to the others (a bigger GPU gets more). `models` is what it serves when discovery
    knows; empty means: ask the engine.
    """

    url: str
    name: str = ""
    engine: EngineKind = EngineKind.AUTO
    role: Role = Role.BOTH
    models: tuple[str, ...] = ()
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    @property
    def id(self) -> EndpointId:
        """The name, or the URL where there is no name."""
        return EndpointId(self.name or self.url)
