"""Where there is no cluster to talk to, the command says so and ends; one that is away returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan_controller import app
from cardan_controller.main import main

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from cardan_controller.config import OperatorConfig

FAR = """
apiVersion: v1
kind: Config
current-context: far
contexts: [{name: far, context: {cluster: far, user: me}}]
clusters: [{name: far, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: me, user: {token: x}}]
"""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[OperatorConfig]:
    """With which configurations an operator has begun; it ends at once."""
    begun: list[OperatorConfig] = []

    async def serve(config: OperatorConfig, rng: Random) -> int:
        del rng
        begun.append(config)
        return 0

    monkeypatch.setattr(app, "serve", serve)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return begun


def config(folder: Path, kubeconfig: Path) -> str:
    """An operator's configuration that names a kubeconfig."""
    path = folder / "operator.yaml"
    path.write_text(f"kubeconfig: {kubeconfig}\n")
    return str(path)


def test_without_a_cluster_it_is_one_sentence(
    served: list[OperatorConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "kubeconfig"
    assert main(["--config", config(tmp_path, missing)]) == 1
    told = capsys.readouterr().err
    assert told == (f"cardan controller: this is no pod of a cluster, and there is no {missing}\n")
    assert not served


def test_a_cluster_that_is_away_is_waited_for(served: list[OperatorConfig], tmp_path: Path) -> None:
    there = tmp_path / "kubeconfig"
    there.write_text(FAR)
    assert main(["--config", config(tmp_path, there)]) == 0
    assert [one.kubeconfig for one in served] == [str(there)]
