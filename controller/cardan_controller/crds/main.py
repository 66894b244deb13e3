"""`cardan crds`: the CustomResourceDefinitions of this version, for `kubectl apply -f -`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cardan_controller.crds.definitions import definitions

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Block(yaml.SafeDumper):
    """Texts of several words on one line, lists indented below their key: what kubectl writes."""

    def ignore_aliases(self, data: object) -> bool:
        """Every value where it stands: the API's own readers take no anchors."""
        del data
        return True


def text_of(definition: dict[str, Any]) -> str:
    """One definition as YAML."""
    return yaml.dump(definition, Dumper=_Block, sort_keys=False, allow_unicode=True, width=100_000)


def text() -> str:
    """All of them, one document each."""
    return "".join(f"---\n{text_of(definition)}" for definition in definitions())


def main(argv: Sequence[str]) -> int:
    """Print them; with `--check`, compare a file with what would be printed."""
    parser = argparse.ArgumentParser(
        prog="cardan crds", description="Print the custom resource definitions of this version."
    )
    parser.add_argument(
        "--check",
        metavar="FILE",
        type=Path,
        help="print nothing; end with 1 if the definitions in FILE are others",
    )
    options = parser.parse_args(argv)
    if options.check is None:
        sys.stdout.write(text())
        return 0
    return _check(options.check)


def _check(path: Path) -> int:
    try:
        held = [found for found in yaml.safe_load_all(path.read_text()) if found]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        sys.stderr.write(f"cardan crds: {path}: {error}\n")
        return 2
    if held == definitions():
        return 0
    sys.stderr.write(f"{path} is not what this version of cardan defines\n")
    return 1
