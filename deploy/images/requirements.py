"""Writes what each image installs, from pyproject.toml alone: one requirements file a target.

    python3 requirements.py PYPROJECT FOLDER

Runs inside a build on nothing but the base image's Python.
"""

import sys
import tomllib
from pathlib import Path

EXTRAS = {
    "router": ("router", "kubernetes"),
    "controller": ("controller",),
    "engine": ("sim",),
}


def main(pyproject: str, folder: str) -> None:
    """Write the requirements of each image, and build.txt (what makes the wheel)."""
    document = tomllib.loads(Path(pyproject).read_text())
    project = document["project"]
    optional = project["optional-dependencies"]
    lists = {
        name: sum((optional.get(extra, []) for extra in extras), project["dependencies"])
        for name, extras in EXTRAS.items()
    }
    # The pip of the base image may be too old for what follows.
    lists["build"] = ["pip", *document["build-system"]["requires"]]
    for name, lines in lists.items():
        Path(folder, f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
