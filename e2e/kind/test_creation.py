"""A kind cluster is created once, under a kubeconfig of its own, and deleted whole."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e.cluster.errors import CommandError, UnavailableError
from e2e.cluster.paths import ROOT
from e2e.kind import create, delete, exists, works

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster
# It keeps a list of clusters in a file, as kind does in Docker. `then` is what it does when it has
# begun to create one.
TOOL = """\
#!/bin/sh
echo "$@" >> {folder}/said
case "$1 $2" in
  "get clusters") cat {folder}/clusters 2>/dev/null; exit 0;;
  "create cluster") echo cardan > {folder}/clusters; . {folder}/then;;
  "export kubeconfig") . {folder}/then;;
  "delete cluster") rm -f {folder}/clusters;;
esac
"""
CTRL_C = "kill -INT $PPID; exec sleep 60"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("kind", "docker"):
        (tmp_path / name).write_text(TOOL.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "then").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_it_is_created_once(tools: Path) -> None:
    assert not exists()
    assert create() == create() == tools / "cache/cardan/cluster/kind.kubeconfig"
    said = (tools / "said").read_text()
    assert said.count("create cluster --name cardan --kubeconfig") == 1
    assert said.count("export kubeconfig --name cardan --kubeconfig") == 1


@pytest.mark.parametrize(("then", "error"), [(CTRL_C, KeyboardInterrupt), ("exit 1", CommandError)])
def test_no_half_of_it_stays_to_be_taken_for_a_whole_one(
    tools: Path, then: str, error: type[BaseException]
) -> None:
    (tools / "then").write_text(then)
    with pytest.raises(error):
        create()
    assert not exists()


def test_one_that_was_there_before_outlasts_ctrl_c(tools: Path) -> None:
    create()
    (tools / "then").write_text(CTRL_C)
    with pytest.raises(KeyboardInterrupt):
        create()
    assert exists()


def test_it_is_deleted_with_its_kubeconfig(tools: Path) -> None:
    create().touch()
    assert exists()
    delete()
    assert not exists()
    assert not (tools / "cache/cardan/cluster/kind.kubeconfig").exists()


def test_without_kind_nothing_is_deleted_and_that_is_said(tools: Path) -> None:
    (tools / "kind").unlink()
    with pytest.raises(UnavailableError, match="deleting a kind cluster needs kind"):
        delete()


def test_what_is_missing_is_said(tools: Path) -> None:
    (tools / "kind").unlink()
    with pytest.raises(UnavailableError, match="needs kind"):
        create()
    assert not works()


def test_a_docker_that_does_not_answer_is_none(tools: Path) -> None:
    (tools / "docker").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UnavailableError, match="docker that answers"):
        create()


@pytest.mark.parametrize("status", [0, 1])
def test_no_test_runs_without_the_cluster_that_it_was_meant_for(
    tmp_path: Path, status: int
) -> None:
    """What `make e2e-kind` does where `python -m e2e.kind up` ends with this status."""
    program = f"#!/bin/sh\necho $0 $CARDAN_KUBECONFIG $@ >> {tmp_path}/said\n"
    (tmp_path / "pytest").write_text(program)
    (tmp_path / "python").write_text(
        f'{program}case "$*" in "-m e2e.kind up") echo /its/config; exit {status};; esac\n'
    )
    for name in ("pytest", "python"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".ready").touch()
    argv = ["make", "-C", str(ROOT), "e2e-kind", f"BIN={tmp_path}", f"READY={tmp_path}/.ready"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode == 0) is (status == 0)
    said = (tmp_path / "said").read_text()
    assert (f"{tmp_path}/pytest /its/config e2e -m cluster" in said) is (status == 0)
