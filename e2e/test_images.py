"""Images under test: what a process uses stays while others build, those on another base are other
images, and what cannot be built is said.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from e2e import images
from e2e.cluster import given
from e2e.cluster.errors import UNAVAILABLE, UnavailableError
from e2e.cluster.paths import ROOT, cache, cache_root, claim

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, in which a build is a file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(images, "_build", lambda _, path: path.touch())
    return cache_root() / "built"


def checkout(monkeypatch: pytest.MonkeyPatch, tag: str) -> Path:
    """Build in a checkout with other sources."""
    monkeypatch.setattr(images, "tag", lambda: tag)
    return images.archive("router")


USER = """\
import sys
from e2e import images
images.tag = lambda: "of-another"
images._build = lambda _, path: path.touch()
print(images.archive("router"), flush=True)
sys.stdin.read()
"""


def test_a_build_in_use_is_not_forgotten(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [sys.executable, "-c", USER]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout
        used = builds / "of-another" / "router.tar"
        assert user.stdout.readline() == f"{used}\n"
        for number in range(images.KEPT + 1):
            checkout(monkeypatch, f"newer{number}")
        assert used.exists()
        user.communicate()  # it ends with its input
    checkout(monkeypatch, "newest")
    assert not used.exists()


def test_what_this_process_has_asked_for_is_its_own(
    builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = checkout(monkeypatch, "mine")
    assert claim(mine.parent) is None


def lay_base(digest: str) -> None:
    """What `make cluster` leaves of our own base, as far as it is looked at."""
    index = json.dumps({"manifests": [{"digest": digest}]}).encode()
    cache().mkdir(parents=True, exist_ok=True)
    with tarfile.open(cache() / "python.tar", "w") as archive:
        member = tarfile.TarInfo("index.json")
        member.size = len(index)
        archive.addfile(member, io.BytesIO(index))


def test_images_on_another_base_are_other_images(
    builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(given.VARIABLE, raising=False)
    lay_base("sha256:1")
    own = images.tag()
    lay_base("sha256:2")  # other packages, or other versions of them
    assert images.tag() != own
    lay_base("sha256:1")
    assert images.tag() == own


def test_a_given_cluster_never_gets_the_images_on_our_own_base(
    builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(given.VARIABLE, "/its/config")
    users = images.tag()  # needs no base of ours: there is none yet
    monkeypatch.delenv(given.VARIABLE)
    lay_base("sha256:1")
    assert images.tag() != users


def test_a_cluster_that_does_not_run_is_not_started_to_load_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["images", "--load", "nobodys"])
    assert images.main() == UNAVAILABLE
    assert "there is no cluster nobodys: run `make cluster`" in capsys.readouterr().err


def test_images_that_cannot_be_built_are_said_in_a_sentence(
    builds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_base("sha256:1")

    def refuse(*_: object) -> None:
        raise UnavailableError("needs a builder")

    monkeypatch.setattr(images, "_build", refuse)
    monkeypatch.setattr(sys, "argv", ["images"])
    assert images.main() == UNAVAILABLE
    assert capsys.readouterr().err.endswith("needs a builder\n")
