"""The demo takes nothing from a cluster that it did not put there, and tells what it leaves."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e import images
from e2e.cluster.errors import CommandError
from e2e.cluster.paths import ROOT
from e2e.demo import __main__ as demo
from e2e.demo import steps
from e2e.demo.errors import DemoError
from e2e.demo.story import LOAD, Story
from e2e.demo.tell import Teller
from e2e.demo.where import Where
from tools import build_images
from tools.build_images import BuildError

OURS = {"image": {"registry": images.REGISTRY, "tag": "i0123456789a-next"}}


class Noted:
    """Stands where a cluster would: it has a release, or none, and notes what is done to it."""

    kubeconfig = Path("/its/config")

    def __init__(self, values: dict[str, Any] | None, fails_at: str = "") -> None:
        self._values = values
        self._fails_at = fails_at
        self.done: list[str] = []

    def helm(self, *words: str, timeout_s: float = 0.0) -> str:
        if words[:2] == ("get", "values"):
            if self._values is None:
                raise CommandError(["helm"], 1, "Error: release: not found")
            return json.dumps(self._values)
        return self._do("helm", words)

    def kubectl(self, *words: str, input: str | None = None, timeout_s: float = 0.0) -> str:
        return self._do("kubectl", words)

    def _do(self, tool: str, words: tuple[str, ...]) -> str:
        self.done.append(" ".join([tool, *words]))
        if words[0] == self._fails_at:
            self._fails_at = ""
            raise KeyboardInterrupt
        return ""


def story(cluster: Noted, out: io.StringIO) -> Story:
    return Story(cluster, Teller(out))  # type: ignore[arg-type]


def test_an_earlier_demos_release_is_known_by_its_images() -> None:
    assert steps.earlier(Noted(OURS))  # type: ignore[arg-type]
    assert not steps.earlier(Noted(None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [{}, {"image": {"tag": "1.2"}}, {"image": {"registry": images.REGISTRY, "tag": "dev"}}],
)
def test_somebody_elses_release_is_neither_replaced_nor_removed(values: dict[str, Any]) -> None:
    cluster = Noted(values)
    ours = story(cluster, io.StringIO())
    with pytest.raises(DemoError, match="no demo has installed"):
        ours.run()
    ours.undo()
    assert cluster.done == []


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> str:
    """Images that are there without being built."""
    monkeypatch.setattr(images, "load", lambda _: "i0123456789a")
    return "i0123456789a"


def test_ctrl_c_on_a_cluster_that_stays_removes_what_was_installed_and_says_so(
    tag: str,
) -> None:
    cluster, out = Noted(OURS, fails_at="install"), io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        demo._show(Where(cluster, "", "", stays=True), Teller(out))  # type: ignore[arg-type]
    assert cluster.done[-3:] == [
        f"kubectl delete --ignore-not-found job/{LOAD} configmap/{LOAD}",
        "kubectl get crd inferencefleets.cardan.dev --ignore-not-found",
        "helm uninstall cardan --ignore-not-found --wait",
    ]
    assert "earlier demo is replaced" in out.getvalue()
    assert "The cluster stays" in out.getvalue()


def test_a_second_ctrl_c_leaves_some_of_it_and_says_how_to_remove_it(tag: str) -> None:
    cluster = Noted(None, fails_at="install")
    ours = story(cluster, io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        ours.run()
    cluster._fails_at = "delete"
    with pytest.raises(DemoError, match=f"helm uninstall cardan; .* {LOAD}"):
        ours.undo()


@pytest.mark.parametrize("target", ["demo-k8s", "kind-demo"])
def test_who_can_have_no_cluster_is_told_so_before_anything_is_installed(
    tmp_path: Path, target: str
) -> None:
    for name, script in (("id", "echo 1000"), ("docker", "exit 1"), ("python3", "exit 9")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    environment.pop("CARDAN_KUBECONFIG", None)
    argv = ["make", "-C", str(ROOT), target, f"VENV={tmp_path}/venv"]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode
    assert "kind and a Docker that answers" in done.stdout
    assert "Python 3.11" not in done.stdout


def test_a_base_image_that_cannot_be_had_is_answered_with_the_way_to_name_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "docker"
    tool.write_text("#!/bin/sh\necho 'ERROR: failed to resolve source metadata' >&2; exit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BuildError, match="BASE=IMAGE"):
        build_images.build("router", "x", tool="docker")
    with pytest.raises(BuildError, match=r"source metadata$"):
        build_images.build("router", "x", base="mine", tool="docker")
