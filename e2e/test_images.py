"""Images under test: what a process uses stays while others build; what cannot be built is said."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from e2e import images
from e2e.cluster.errors import UNAVAILABLE, UnavailableError
from e2e.cluster.paths import ROOT, cache_root, claim

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


def test_images_that_cannot_be_built_are_said_in_a_sentence(
    builds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise UnavailableError("needs a builder")

    monkeypatch.setattr(images, "_build", refuse)
    assert images.main() == UNAVAILABLE
    assert capsys.readouterr().err.endswith("needs a builder\n")
