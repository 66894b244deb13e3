"""A gateway process that watches a cluster: how it starts without one, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.fakes.kube import FakeKube
from tests.system.processes import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.processes import Processes

pytestmark = pytest.mark.slow


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
    nowhere = FakeKube()  # never started
    argv = options(nowhere.kubeconfig(tmp_path), "--workers", workers)
    patient = ("--set", "shutdown.grace_s=600")  # what waits for anything waits for too long
    gateway = procs.start("router", *argv, "--endpoint", "http://127.0.0.1:1", *patient)
    until(lambda: "unreachable" in readiness(gateway.url)[1], "the reason")
    until(lambda: "Connection refused" in gateway.output(), "it to be told")
    assert readiness(gateway.url)[0] == 503
    assert gateway.terminate() == 0
    assert "Traceback" not in gateway.output()
    nowhere.let_go()


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
