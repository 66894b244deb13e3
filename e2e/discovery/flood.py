"""Hundreds of changes of pods a second, by a client that keeps its connections."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_kube_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# More at a time make the API server's share of two cores larger, not the rate.
WRITERS = 8


class Flood:
    """Annotates pods in turn, as fast as the API takes it, until the scope is left."""

    def __init__(self, kubeconfig: Path, namespace: str, names: Sequence[str]) -> None:
        self.changes = 0
        self.seconds = 0.0
        self._kubeconfig = kubeconfig
        self._where = f"/api/v1/namespaces/{namespace}/pods"
        self._turn = itertools.cycle(names)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        began = time.monotonic()
        try:
            asyncio.run(self._write())
        except (aiohttp.ClientError, RuntimeError, OSError) as error:
            self._error = error
        self.seconds = time.monotonic() - began

    async def _write(self) -> None:
        configuration = Configuration()
        await load_kube_config(
            config_file=str(self._kubeconfig), client_configuration=configuration
        )
        async with ApiClient(configuration) as client:
            await asyncio.gather(*(self._writer(client) for _ in range(WRITERS)))

    async def _writer(self, client: Any) -> None:  # noqa: ANN401 - the package is not typed
        while not self._stop.is_set():
            self.changes += 1
            answer = await client.rest_client.request(
                "PATCH",
                f"{client.configuration.host}{self._where}/{next(self._turn)}",
                headers={"Content-Type": "application/merge-patch+json"},
                body={"metadata": {"annotations": {"noise": str(self.changes)}}},
            )
            text = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {text[:300]!r}")
