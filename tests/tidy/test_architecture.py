"""The house stands as it was drawn: imports point one way, unions are complete, nothing is too big,
and everything public says what it is.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest
from cardan.candidates import AnyMapping
from cardan.candidates.base import MappingBase
from cardan.exposition.dialects import DIALECTS
from cardan.metrics import EngineMetrics
from cardan.policies import AnyPolicy, PolicyBase

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CODE = ["core", "kube", "router", "controller", "sim", "cli", "tools"]
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 400
MAX_MEDIAN_FUNCTION_LINES = 8


def modules(*folders: str) -> list[Path]:
    """Every hand-written module under these folders."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "pb" not in path.relative_to(ROOT).parts
    )


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a module with its length in lines, decorators not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def undocumented(path: Path) -> Iterator[str]:
    """Public modules, classes, functions and methods without a docstring."""
    tree = ast.parse(path.read_text())
    if tree.body and ast.get_docstring(tree) is None:
        yield "the module"
    yield from _undocumented(tree)


def _undocumented(parent: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(parent):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield f"{node.name}, line {node.lineno}"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node)


def test_imports_point_one_way() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("package", "union", "base"),
    [("cardan.policies", AnyPolicy, PolicyBase), ("cardan.candidates", AnyMapping, MappingBase)],
)
def test_every_module_of_a_union_is_in_it_once(package: str, union: type, base: type) -> None:
    folder = ROOT / "core" / package.replace(".", "/")
    names = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    members = get_args(union)
    assert sorted(member.__module__ for member in members) == sorted(
        f"{package}.{name}" for name in names
    )
    for name in names:
        module = importlib.import_module(f"{package}.{name}")
        own = [
            thing
            for thing in vars(module).values()
            if isinstance(thing, type)
            and issubclass(thing, base)
            and thing.__module__ == module.__name__
        ]
        assert len(own) == 1, f"{module.__name__} holds {own}"


def test_every_dialect_fills_fields_that_exist() -> None:
    known = set(EngineMetrics.__struct_fields__)
    for kind, dialect in DIALECTS.items():
        assert set(dialect.fields) <= known, kind


def test_configuration_entries_are_strict_and_frozen() -> None:
    for member in (*get_args(AnyPolicy), *get_args(AnyMapping)):
        config = member.__struct_config__
        assert config.frozen, member
        assert config.forbid_unknown_fields, member
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"type": config.tag, "no_such_field": 1}, member)


@pytest.mark.parametrize("folder", [*CODE, "benchmarks"])
def test_no_function_is_too_long(folder: str) -> None:
    long = [
        f"{path.relative_to(ROOT)}: {name} has {lines} lines"
        for path in modules(folder)
        for name, lines in functions(path)
        if lines > MAX_FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("folder", [*CODE, "benchmarks"])
def test_no_module_is_too_long(folder: str) -> None:
    counted = {path: path.read_text().count("\n") for path in modules(folder)}
    long = [
        f"{path.relative_to(ROOT)} has {lines} lines"
        for path, lines in counted.items()
        if lines > MAX_MODULE_LINES
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("folder", ["core", "kube", "router", "sim"])
def test_most_functions_are_short(folder: str) -> None:
    lengths = [lines for path in modules(folder) for _, lines in functions(path)]
    assert median(lengths) <= MAX_MEDIAN_FUNCTION_LINES


@pytest.mark.parametrize("folder", CODE)
def test_everything_public_says_what_it_is(folder: str) -> None:
    silent = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules(folder)
        for name in undocumented(path)
    ]
    assert not silent, "\n".join(silent)


def test_test_modules_open_with_what_they_prove() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules("tests")
        if path.name.startswith("test_") and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert not silent, "\n".join(silent)
