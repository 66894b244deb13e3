"""An API server asked directly: a test that waits looks often, and kubectl is slow to start."""

from __future__ import annotations

import base64
import json
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import yaml

if TYPE_CHECKING:
    from pathlib import Path

Document = dict[str, Any]


class Rest:
    """Requests as the administrator of a kubeconfig; any failure but 404 and 409 raises."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        pair = folder / "admin.pem"
        parts = (user["client-certificate-data"], user["client-key-data"])
        pair.write_bytes(b"\n".join(base64.b64decode(part) for part in parts))
        context.load_cert_chain(pair)
        self._client = httpx.Client(base_url=cluster["server"], verify=context, timeout=20.0)

    def close(self) -> None:
        """Drop all connections."""
        self._client.close()

    def get(self, path: str) -> Document:
        """An object or a list; empty if there is none."""
        return self._told(self._client.get(path))

    def patch(self, path: str, document: Document) -> Document:
        """A merge patch; empty if the object has gone."""
        body = json.dumps(document)
        headers = {"content-type": "application/merge-patch+json"}
        return self._told(self._client.patch(path, content=body, headers=headers))

    def delete(self, path: str) -> Document:
        """Delete at once."""
        return self._told(self._client.delete(path, params={"gracePeriodSeconds": "0"}))

    @staticmethod
    def _told(reply: httpx.Response) -> Document:
        if reply.status_code in (404, 409):
            return {}
        reply.raise_for_status()
        found: Document = reply.json()
        return found
