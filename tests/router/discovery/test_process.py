"""A gateway process that watches a cluster: how it starts without one, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.fakes.kube import FakeKube
from tests.system.processes import Processes, processes, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def procs(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as group:
        yield group


def readiness(url: str) -> tuple[int, str]:
    """Status and reason of `/readyz`."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["reason"]


def options(kubeconfig: Path, *more: str) -> list[str]:
    return [
        *("router", "--listen", "127.0.0.1:0", "--discovery-kubernetes-kind", "pods"),
        *("--discovery-kubernetes-selector", "app=vllm"),
        *("--discovery-kubernetes-kubeconfig", str(kubeconfig), *more),
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_starts_without_an_api_server_says_why_it_is_not_ready_and_ends_at_once(
    procs: Processes, tmp_path: Path, workers: str
) -> None:
    nowhere = FakeKube()
    nowhere.port = 9  # discard: nobody listens there
    argv = options(nowhere.kubeconfig(tmp_path), "--workers", workers)
    gateway = procs.start("router", *argv, "--endpoint", "http://127.0.0.1:1")
    until(lambda: "unreachable" in readiness(gateway.url)[1], "the reason")
    assert "Connection refused" in gateway.output()
    assert readiness(gateway.url)[0] == 503
    began = time.monotonic()
    assert gateway.terminate() == 0
    assert time.monotonic() - began < 5.0
    assert "Traceback" not in gateway.output()


def test_what_is_missing_is_told_before_anything_starts(tmp_path: Path) -> None:
    argv = options(tmp_path / "none")
    for script, words in (
        ("", f"discovery.kubernetes.kubeconfig: {tmp_path / 'none'}: no such file"),
        (
            "sys.modules['kubernetes'] = None;",
            "discovery.kubernetes: kubernetes is not installed; in the checkout: pip install"
            " '.[kubernetes]'",
        ),
    ):
        main = f"import sys; {script} import cardan_cli; sys.exit(cardan_cli.main({argv!r}))"
        ended = subprocess.run(
            [sys.executable, "-c", main], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 2
        assert ended.stderr == f"cardan router: {words}\n"


def test_the_package_is_not_imported_where_no_cluster_is_watched() -> None:
    script = (
        "import sys; import cardan_router.app, cardan_router.main;"
        " sys.exit('kubernetes' in sys.modules or 'aiohttp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
