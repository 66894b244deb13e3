"""A given cluster is used as it is: named in so many words, images loaded by its own tool, its
daemons left alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from e2e.cluster.errors import UnavailableError, UnsupportedError
from e2e.cluster.given import LOADER, VARIABLE, GivenCluster, asked_for, given

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def kind(api: Cluster, tmp_path: Path) -> Iterator[GivenCluster]:
    """The API server under kind's name for a cluster called `demo`."""
    config = json.loads(api.kubeconfig.read_text())
    config["contexts"][0]["name"] = config["current-context"] = "kind-demo"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    with given(path) as cluster:
        yield cluster


def test_only_its_own_variable_gives_a_cluster_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/somewhere")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert asked_for() is None
    monkeypatch.setenv(VARIABLE, "/elsewhere")
    assert str(asked_for()) == "/elsewhere"


def test_it_answers_as_the_kubeconfig_says(kind: GivenCluster) -> None:
    assert kind.name == "kind-demo"
    assert "default" in kind.kubectl("get", "namespaces", "-o", "name")
    assert kind.helm("list", "-n", "nobody-is-here", "-o", "json") == "[]\n"


def test_images_are_loaded_by_kind(
    kind: GivenCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "kind"
    tool.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    kind.load_image(tmp_path / "image.tar")
    said = (tmp_path / "said").read_text()
    assert said == f"load image-archive --name demo {tmp_path}/image.tar\n"


def test_another_loader_may_be_named(
    kind: GivenCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOADER, "cp -t /nowhere")
    with pytest.raises(Exception, match="cp -t /nowhere"):
        kind.load_image(tmp_path / "image.tar")


def test_its_daemons_are_left_alone(kind: GivenCluster) -> None:
    with pytest.raises(UnsupportedError, match="not ours"):
        kind.stop("api-server")
    with pytest.raises(UnsupportedError, match="not ours"):
        kind.compact()


def test_one_that_does_not_answer_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="not there"), given(tmp_path / "none"):
        pass
    (tmp_path / "empty").write_text("{}")
    with pytest.raises(UnavailableError, match="does not answer"), given(tmp_path / "empty"):
        pass
