"""Writes to the API server, one value each.

Nothing here reads before it writes: server-side apply says what we want of an object and leaves the
rest to whoever else writes it, a scale has one number, and a replacement names the version that it
was made from. So two writers cannot undo each other unseen.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from cardan_kube.api import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MERGE: Final = "application/merge-patch+json"
CHANGE: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML


class Collection(NamedTuple):
    """Objects of one kind in one namespace; `group` is empty for the core's."""

    group: str
    version: str
    plural: str
    namespace: str = ""

    @property
    def path(self) -> str:
        """Its path; of all namespaces where none is named."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{quote(self.namespace, safe='')}" if self.namespace else ""
        return f"{base}{inside}/{self.plural}"

    def object(self, name: str, subresource: str = "") -> str:
        """The path of one object, or of a subresource of it."""
        path = f"{self.path}/{quote(name, safe='')}"
        return f"{path}/{subresource}" if subresource else path


def apply(
    path: str, manifest: Mapping[str, object], manager: str, *, force: bool = False
) -> Request:
    """Server-side apply: these fields are ours. `force` takes them from another manager.

    Without it, a field that another manager holds is a conflict, and nothing is written.
    """
    query = {"fieldManager": manager, "force": "true" if force else "false"}
    return Request("PATCH", path, manifest, APPLY, query)


def merge(path: str, patch: Mapping[str, object], manager: str) -> Request:
    """A merge patch: what is there replaces, None removes."""
    return Request("PATCH", path, patch, MERGE, {"fieldManager": manager})


def change(path: str, operations: Sequence[Mapping[str, object]], manager: str) -> Request:
    """A JSON patch: all operations or none; one of `test` that does not hold is `INVALID`."""
    return Request("PATCH", path, list(operations), CHANGE, {"fieldManager": manager})


def scale(path: str, replicas: int, manager: str, *, version: str = "") -> Request:
    """Ask a target for so many replicas; `path` is its `/scale`.

    With a `version`, only if nobody has changed the target since: else it is a conflict.
    """
    patch: dict[str, object] = {"spec": {"replicas": replicas}}
    if version:
        patch["metadata"] = {"resourceVersion": version}
    return merge(path, patch, manager)


def create(path: str, manifest: Mapping[str, object], manager: str) -> Request:
    """Make an object; `path` is its collection. A conflict if it is there."""
    return Request("POST", path, manifest, query={"fieldManager": manager})


def replace(path: str, manifest: Mapping[str, object], manager: str) -> Request:
    """Replace an object whole; a conflict unless the manifest's version is the present one."""
    return Request("PUT", path, manifest, query={"fieldManager": manager})


def delete(path: str, *, uid: str = "") -> Request:
    """Delete an object; with a `uid`, only that very one and no successor of its name."""
    body = {"preconditions": {"uid": uid}} if uid else None
    return Request("DELETE", path, body)
