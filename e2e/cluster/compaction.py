"""Compact etcd by its JSON gateway. A program: etcd listens in the cluster's namespace only.

`python -m e2e.cluster.compaction http://127.0.0.1:2379` prints the revision.
"""

from __future__ import annotations

import json
import sys
import urllib.request


def compact(url: str) -> int:
    """Forget every revision up to now, and remove them physically; that revision."""
    head = _post(url + "/v3/kv/range", {"key": "AA==", "count_only": True})
    revision = int(str(head["header"]["revision"]))
    _post(url + "/v3/kv/compaction", {"revision": revision, "physical": True})
    return revision


def _post(url: str, body: dict[str, object]) -> dict[str, dict[str, object]]:
    request = urllib.request.Request(url, json.dumps(body).encode())
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=10) as answer:
        told: dict[str, dict[str, object]] = json.load(answer)
        return told


if __name__ == "__main__":
    print(compact(sys.argv[1]))
