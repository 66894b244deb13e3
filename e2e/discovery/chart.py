"""The chart's own account: what `helm template` makes of it, applied to an API server."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from tests.chart.helm import CHART, Object, gateway_file, of_kind, run, the

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster.interface import Cluster

SERVICE_NAME, POOL_NAME = "vllm", "llama"
KINDS = ("ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
OVERLAYS = {
    "apiGroups": ["cardan.dev"],
    "resources": ["routingoverlays"],
    "verbs": ["list", "watch"],
}
# A line of `kubectl auth can-i --list`: resource, paths, names, verbs.
_ROW = re.compile(r"(\S*)\s+\[(.*?)\]\s+\[(.*?)\]\s+\[(.*?)\]")


def modes(elsewhere: str, label: str) -> dict[str, dict[str, Any]]:
    """`discovery.kubernetes` of the chart, for each way to find engines that have a label."""
    pods = {"kind": "pods", "selector": label, "ports": [8000]}
    service = {"kind": "service", "name": SERVICE_NAME, "ports": []}
    return {
        "pods": pods,
        "pods-elsewhere": {**pods, "namespace": elsewhere},
        "pods-everywhere": {**pods, "namespace": "*"},
        "service": service,
        "service-elsewhere": {**service, "namespace": elsewhere},
        "inference-pool": {"kind": "inference_pool", "name": POOL_NAME},
        "none": {"kind": "none"},
    }


class Rendered(NamedTuple):
    """A release that is not installed: its objects, and where it would be."""

    namespace: str
    objects: list[Object]

    @property
    def account(self) -> str:
        """The name of the gateway's service account."""
        return str(the(self.objects, "ServiceAccount")["metadata"]["name"])

    @property
    def role(self) -> Object:
        """The Role or ClusterRole by which it finds engines."""
        roles = [found for kind in ("Role", "ClusterRole") for found in self._mine(kind)]
        (role,) = (found for found in roles if found["rules"] != [OVERLAYS])
        return role

    @property
    def rights(self) -> list[Object]:
        """The account, with its roles and bindings."""
        return [found for kind in KINDS for found in self._mine(kind)]

    def _mine(self, kind: str) -> list[Object]:
        return of_kind(self.objects, kind, "router")

    def without(self, rule: int, verb: str) -> list[Object]:
        """The same rights but one."""
        rights = copy.deepcopy(self.rights)
        mine = self.role["kind"], self.role["metadata"]
        (role,) = (found for found in rights if (found["kind"], found["metadata"]) == mine)
        role["rules"][rule]["verbs"].remove(verb)
        return rights

    def write_config(self, folder: Path) -> Path:
        """The gateway's configuration as the chart has it, without the listeners of a pod."""
        config = yaml.safe_load(gateway_file(self.objects))
        for name in ("listen", "grpc", "admin"):
            del config[name]
        path = folder / "cardan.yaml"
        path.write_text(yaml.safe_dump(config))
        return path


def render(namespace: str, kubernetes: dict[str, Any], *, release: str = "cardan") -> Rendered:
    """The chart with this way to find engines."""
    values: dict[str, Any] = {"discovery": {"kubernetes": kubernetes}}
    if kubernetes["kind"] == "none":
        values["config"] = {"endpoints": ["http://10.0.0.1:8000"]}
    ended = run("template", release, str(CHART), "--namespace", namespace, values=values)
    assert ended.returncode == 0, ended.stderr
    return Rendered(namespace, [found for found in yaml.safe_load_all(ended.stdout) if found])


def apply(cluster: Cluster, objects: list[Object]) -> None:
    """Make them so, all in one call."""
    every = {"apiVersion": "v1", "kind": "List", "items": objects}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(every))


def can_do(cluster: Cluster, namespace: str, account: str, where: str) -> Iterator[str]:
    """What an account may do in a namespace, a line for each row of `kubectl auth can-i --list`."""
    who = f"--as=system:serviceaccount:{namespace}:{account}"
    table = cluster.kubectl("auth", "can-i", "--list", who, "-n", where)
    for line in table.splitlines()[1:]:
        row = _ROW.fullmatch(line.strip() if line[:1] != " " else line)
        assert row, f"not a row: {line!r}"
        resource, paths, names, verbs = row.groups()
        yield f"{paths or resource} [{verbs}]" + (f" only {names}" if names else "")
