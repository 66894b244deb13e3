"""Kubeconfig files, whole in themselves: certificates are in them, so a file can be handed on."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(
    path: Path, cluster: Mapping[str, object], user: Mapping[str, object], namespace: str = ""
) -> Path:
    """Write a kubeconfig of one cluster, one user, one context. JSON is YAML."""
    context = {"cluster": "cardan", "user": "user"} | (
        {"namespace": namespace} if namespace else {}
    )
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cardan", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "cardan", "context": context}],
        "current-context": "cardan",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
    return path


def server(url: str, authority: Path) -> dict[str, str]:
    """The cluster's half."""
    return {"server": url, "certificate-authority-data": _data(authority)}


def certificate(pki: Path, name: str) -> dict[str, str]:
    """The user's half: a client certificate of the cluster's own authority."""
    return {
        "client-certificate-data": _data(pki / f"{name}.crt"),
        "client-key-data": _data(pki / f"{name}.key"),
    }


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
