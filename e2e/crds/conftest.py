"""The definitions of this version, installed on a real API server, and a namespace to write in."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cluster.errors import CommandError
from e2e.definitions import with_definitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

Document = dict[str, Any]
API_VERSION = "cardan.dev/v1alpha1"


def fleet(**spec: object) -> Document:
    """A fleet of one Deployment, with what a test changes of its specification."""
    pool = {"name": "main", "scaleTargetRef": {"kind": "Deployment", "name": "llama"}}
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceFleet",
        "metadata": {"name": "llama"},
        "spec": {"model": "org/llama", "pools": [pool], **spec},
    }


class Server:
    """One namespace of an API server, written to as a user would."""

    def __init__(self, api: Cluster, namespace: str) -> None:
        self._api = api
        self._where = ("-n", namespace)

    def kubectl(self, *words: str, document: Document | None = None) -> str:
        """What kubectl prints."""
        given = None if document is None else json.dumps(document)
        return self._api.kubectl(*words, *self._where, input=given)

    def create(self, document: Document) -> Document:
        """The object as it is stored; strictly: an unknown field is a mistake."""
        words = ("create", "--validate=strict", "-o", "json", "-f", "-")
        found: Document = json.loads(self.kubectl(*words, document=document))
        return found

    def refusal(self, document: Document) -> str:
        """Why the API server does not take it."""
        words = ("create", "--dry-run=server", "--validate=strict", "-f", "-")
        with pytest.raises(CommandError) as told:
            self.kubectl(*words, document=document)
        return str(told.value)

    def get(self, *words: str) -> Document:
        """An object."""
        found: Document = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found


@pytest.fixture(scope="session")
def installed(api: Cluster) -> Cluster:
    """The definitions are there, and in use."""
    return with_definitions(api)


@pytest.fixture(scope="module")
def server(installed: Cluster) -> Iterator[Server]:
    """A namespace for the tests of one module."""
    namespace = f"c{time.monotonic_ns()}"
    installed.kubectl("create", "namespace", namespace)
    yield Server(installed, namespace)
    installed.kubectl("delete", "namespace", namespace, "--wait=false")
