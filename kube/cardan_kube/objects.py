"""What every object of the API has, lists and watches of them, and how the API refuses.

What Go leaves out when it is empty has a default, and what Go writes as `null` may be None.
"""

from __future__ import annotations

import msgspec


class Meta(msgspec.Struct, rename="camel"):
    """`metadata` of any object; a list's too, but for its name."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Bare(msgspec.Struct):
    """An object of which only the metadata is wanted."""

    metadata: Meta


class ListMeta(msgspec.Struct, rename="camel"):
    """`continue` is there when there are more pages."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class ObjectList(msgspec.Struct):
    """One page of a list. Items are decoded one by one, so that a bad one spoils no other."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class WatchEvent(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class Status(msgspec.Struct):
    """What the API says when it refuses."""

    code: int = 0
    message: str = ""
    reason: str = ""
