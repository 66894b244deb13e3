"""Binaries are found where the documentation says, trusted only in the version that is pinned, and
where there are none a test is skipped with one line, or fails if a cluster is required.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from e2e.cluster import __main__ as cli
from e2e.cluster import build, cgroups, find, golang, held, paths, up
from e2e.cluster.errors import ClusterError, UnavailableError, UnsupportedError
from e2e.cluster.given import VARIABLE
from e2e.cluster.paths import ROOT, cache, locked
from e2e.missing import excused, give_up

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster
TOOL = build.Tool("tool", "example.org/tool", "1.2.3", "example.org/tool", ("--version",))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    (cache() / "bin").mkdir(parents=True)
    return cache()


def program(path: Path, says: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho x >> {path}.asked\necho "{says}"\n')
    path.chmod(0o755)


def test_assets_come_before_the_cache(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (own_cache / "bin", tmp_path / "assets"):
        for name in find.API_TOOLS:
            program(folder / name, "")
    assert find.api_binaries() == own_cache / "bin"
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert find.api_binaries() == tmp_path / "assets"


def test_what_is_missing_is_said_in_one_line(own_cache: Path) -> None:
    with pytest.raises(UnavailableError, match="make cluster") as missing:
        find.api_binaries()
    assert "\n" not in str(missing.value)
    with pytest.raises(UnavailableError, match="make cluster"):
        find.full_binaries()


def test_a_missing_cluster_is_a_failure_where_one_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARDAN_REQUIRE_CLUSTER", "1")
    with pytest.raises(pytest.fail.Exception, match="nothing here"):
        give_up("nothing here")
    monkeypatch.delenv("CARDAN_REQUIRE_CLUSTER")
    with pytest.raises(pytest.skip.Exception, match="nothing here"):
        give_up("nothing here")


def test_only_a_given_cluster_is_excused_for_what_it_cannot_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UnsupportedError), excused():
        raise UnsupportedError("not here")
    monkeypatch.setenv(VARIABLE, "/somewhere")
    with pytest.raises(pytest.skip.Exception, match="not here"), excused():
        raise UnsupportedError("not here")


def test_who_waits_for_a_lock_is_told_so_what_for_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "PATIENCE_S", 0.0)
    lock = tmp_path / "lock"
    with (
        locked(lock),
        pytest.raises(ClusterError, match=str(lock)),
        locked(lock, deadline_s=0.1, doing="builds images"),
    ):
        pass
    assert capsys.readouterr().err.count("waiting for another process, which builds images") == 1
    with locked(lock, deadline_s=0.1):
        pass


def test_a_kernel_that_refuses_cgroups_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "TREE", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "cgroup.subtree_control").mkdir()  # as little to be written as where it is busy
    with pytest.raises(UnavailableError, match="CARDAN_KUBECONFIG"):
        cgroups.create("any")


def test_a_binary_of_another_version_is_not_trusted(own_cache: Path) -> None:
    assert not build.verified(TOOL)
    program(own_cache / "bin" / "tool", "tool 1.2.2")
    assert not build.verified(TOOL)


def test_a_binary_is_asked_for_its_version_once_and_again_when_it_changed(own_cache: Path) -> None:
    path = own_cache / "bin" / "tool"
    asked = path.with_suffix(".asked")
    program(path, "tool 1.2.3")
    assert build.verified(TOOL)
    assert build.verified(TOOL)
    assert asked.read_text().count("x") == 1
    program(path, "tool 1.2.4")
    assert not build.verified(TOOL)


def test_what_go_compiled_is_not_kept_in_the_checkout(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path / "bin" / "go", f"go version go{golang.LANGUAGE_SHORT}.1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(golang, "_usual_cache", lambda _: ROOT / "cache" / "go-build")
    go = golang.go()
    assert go.scratch
    assert go.scratch.is_relative_to(own_cache.parent)
    go.scratch.mkdir()
    go.tidy(finished=False)
    assert go.scratch.exists()  # an interrupted build goes on with it
    go.tidy(finished=True)
    assert not go.scratch.exists()


def test_many_who_want_one_cluster_get_one(api: Cluster) -> None:
    name = f"same{os.getpid()}"

    def keeper(_: int) -> object:
        with up.api(name) as cluster:
            line = held.connect(cluster.layout.folder)
            assert line
            together.wait()  # all three hold it now
            told = line.ask("status")["keeper"]
            line.let_go()
            return told

    together = Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(keeper, range(3)))) == 1
    held.await_end(f"{name}-api")
    assert not held.found(f"{name}-api")


@pytest.mark.parametrize("name", ["", "../x", "Upper", "a_b", "-a", "a-", "a" * 25, "a\n"])
def test_a_name_that_cannot_be_a_folder_and_a_host_is_refused_before_anything_is_made(
    name: str,
) -> None:
    with pytest.raises(ClusterError, match="cannot name a cluster"):
        held.hold(name)


def test_taking_down_a_cluster_that_is_not_there_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["e2e.cluster", "down", "nosuch"])
    assert cli.main() == 0
    assert "there is no cluster nosuch" in capsys.readouterr().err
