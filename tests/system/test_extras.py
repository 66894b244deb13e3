"""Each command runs with what its extra installs, and no more: images carry nothing else.

What the extra does not bring is hidden from the interpreter, as if it had not been installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("cardan",)
NAME = re.compile(r"^[A-Za-z0-9._-]+")
OPTIONAL = re.compile(r"extra\s*==")

# Commands run in an interpreter that finds no package of those named in its arguments.
HIDING = """
import json, sys
hidden = frozenset(json.loads(sys.argv[1]))

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            return None
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Hiding, sys.meta_path)
import cardan_cli
sys.exit(cardan_cli.main(sys.argv[2:]))
"""

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name: str) -> str:
    """A distribution's name as all its spellings mean it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted_by(lines: list[str]) -> set[str]:
    """The distributions that requirements name, without those of extras."""
    names = (NAME.match(line) for line in lines if not OPTIONAL.search(line))
    return {normal(name[0]) for name in names if name}


def brought_by(*extras: str) -> set[str]:
    """The distributions that an install with these extras brings."""
    optional: dict[str, list[str]] = PROJECT["optional-dependencies"]
    lines = sum((optional[extra] for extra in extras), list(PROJECT["dependencies"]))
    found: set[str] = set()
    todo = wanted_by(lines)
    while todo:
        name = todo.pop()
        found.add(name)
        try:
            todo |= wanted_by(metadata.requires(name) or []) - found
        except metadata.PackageNotFoundError:  # for another platform
            continue
    return found


def hidden_from(*extras: str) -> list[str]:
    """The packages here that an install with these extras would not have."""
    kept = brought_by(*extras)
    return sorted(
        package
        for package, owners in metadata.packages_distributions().items()
        if not any(normal(owner) in kept or owner in OURS for owner in owners)
        and not package.startswith(("_", "cardan"))
    )


def command(hidden: list[str], *argv: str) -> list[str]:
    return [sys.executable, "-c", HIDING, json.dumps(hidden), *argv]


@pytest.mark.parametrize(
    ("argv", "extras"),
    [
        ("router --help", ("router",)),
        ("engine --help", ("sim",)),
        ("replay --help", ("sim",)),
        ("demo --help", ("router", "sim")),
        ("controller --help", ("controller",)),
        ("crds", ("controller",)),
    ],
)
def test_a_command_needs_no_more_than_its_extra(argv: str, extras: tuple[str, ...]) -> None:
    ended = subprocess.run(
        command(hidden_from(*extras), *argv.split()), capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_engine_serves_with_its_extra_alone_and_carries_no_solver() -> None:
    assert {"highspy", "numpy", "croniter"} <= set(hidden_from("sim"))
    argv = command(hidden_from("sim"), "engine", "--listen", "127.0.0.1:0", "--model", "tiny")
    engine = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert engine.stdout is not None
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+\n", engine.stdout.readline())
    finally:
        engine.terminate()
        engine.communicate(timeout=30)
