"""Namespaces as a careful owner has them: only pods after the restricted standard are admitted."""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@contextlib.contextmanager
def restricted(cluster: Cluster, prefix: str) -> Iterator[str]:
    """A namespace `PREFIX-…` with its name; in the end it is deleted, without waiting for it."""
    name = f"{prefix}-{secrets.token_hex(3)}"
    metadata = {"name": name, "labels": RESTRICTED}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.kubectl("create", "-f", "-", input=json.dumps(document))
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")
