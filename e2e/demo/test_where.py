"""The demo takes the cluster that this machine can have, and ends it exactly when it is its own.

There is no Docker in these tests: `kind` and `docker` are scripts that note what they are told, and
the cluster that kind "creates" is an API server of ours under kind's name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from e2e import images
from e2e.cluster import find, given
from e2e.cluster.errors import UnavailableError
from e2e.demo import where
from tools.build_images import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster
NOTE = '#!/bin/sh\necho "$(basename "$0") $@" >> {folder}/said\n'
# It creates its cluster by handing out a kubeconfig, where it was told to. Once there is a file
# `ctrl-c`, somebody presses it when the creation has begun.
KIND = """\
case "$1 $2" in
  "get clusters") cat {folder}/clusters 2>/dev/null; exit 0;;
  "create cluster") echo cardan > {folder}/clusters
    if [ -e {folder}/ctrl-c ]; then kill -INT $PPID; exec sleep 60; fi
    cp {folder}/kubeconfig "$6";;
  "export kubeconfig") cp {folder}/kubeconfig "$6";;
  "delete cluster") rm -f {folder}/clusters;;
esac
"""
# `docker save -o FILE NAME` writes an archive of an image without layers.
DOCKER = """\
case "$1" in
  info) exit $(cat {folder}/docker-is-down 2>/dev/null || echo 0);;
  save) cd {folder}
    echo '[{{"RepoTags": ["'"$4"'"]}}]' > manifest.json
    tar cf "$3" manifest.json;;
esac
"""


@pytest.fixture
def docker(api: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Docker and kind; the folder in which both note what they are told."""
    config = json.loads(api.kubeconfig.read_text())
    config["contexts"][0]["name"] = config["current-context"] = "kind-cardan"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    for name, script in (("kind", KIND), ("docker", DOCKER)):
        (tmp_path / name).write_text((NOTE + script).format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(find.tool("kubectl").parent))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(given.VARIABLE, raising=False)
    return tmp_path


def said(folder: Path) -> list[str]:
    return (folder / "said").read_text().splitlines()


def test_kind_is_taken_where_docker_answers_and_our_own_where_it_does_not(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert where.choose() == "kind"
    (docker / "docker-is-down").write_text("1")
    assert where.choose() == "own"
    monkeypatch.setenv(given.VARIABLE, "/somewhere")
    assert where.choose() == "given"


def test_a_kind_cluster_lasts_as_long_as_the_demo(docker: Path) -> None:
    with where.cluster("kind", keep=False) as found:
        assert "default" in found.cluster.kubectl("get", "namespaces", "-o", "name")
        assert where.environment(found)[0] == f"export KUBECONFIG={found.cluster.kubeconfig}"
        assert not found.stays
    assert given.asked_for() is None
    assert said(docker)[-1].startswith("kind delete cluster --name cardan")


def test_it_is_deleted_if_the_demo_is_stopped_even_if_it_was_to_be_kept(docker: Path) -> None:
    with pytest.raises(KeyboardInterrupt), where.cluster("kind", keep=True):
        raise KeyboardInterrupt
    assert said(docker)[-1].startswith("kind delete cluster --name cardan")


def test_it_is_deleted_if_the_demo_is_stopped_while_it_is_made(docker: Path) -> None:
    (docker / "ctrl-c").touch()
    with pytest.raises(KeyboardInterrupt), where.cluster("kind", keep=True):
        pass
    assert said(docker)[-1].startswith("kind delete cluster --name cardan")
    (docker / "ctrl-c").unlink()
    with where.cluster("kind", keep=False) as found:
        assert not found.stays


def test_a_kind_that_is_missing_is_what_is_said(docker: Path) -> None:
    (docker / "kind").unlink()
    with pytest.raises(UnavailableError, match="a kind cluster needs kind"):  # and no `deleting`
        where.cluster("kind", keep=False).__enter__()


def test_it_stays_where_it_is_to_be_kept_or_was_there_before(docker: Path) -> None:
    with where.cluster("kind", keep=True) as first:
        assert first.removal == "make kind-down"
    with where.cluster("kind", keep=False) as second:
        assert second.stays
    assert not [line for line in said(docker) if "delete" in line]


def test_two_demos_do_not_share_a_cluster(docker: Path) -> None:
    with (
        where.cluster("kind", keep=False),
        pytest.raises(UnavailableError, match="another demo"),
        where.cluster("kind", keep=False),
    ):
        pass


def test_images_for_kind_are_what_a_user_would_build_with_docker(docker: Path) -> None:
    with where.cluster("kind", keep=False) as found:
        tag = images.load(found.cluster)
    built = [line for line in said(docker) if line.startswith("docker build")]
    assert [line.partition("--target ")[2].split()[:3] for line in built] == [
        [name, "-t", f"localhost/cardan-{name}:{tag}"] for name in TARGETS
    ]
    assert not any("BASE=" in line for line in built)
    loaded = [line for line in said(docker) if line.startswith("kind load")]
    archives = [f"{docker}/cache/cardan/cluster/built/{tag}/{name}.tar" for name in TARGETS]
    assert loaded == [f"kind load image-archive --name cardan {path}" for path in archives]
