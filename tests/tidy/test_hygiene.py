"""Nothing is left lying about: no notes to self, no unexplained exceptions to a rule, no dead
links, no generated page that lies.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".proto", ".c", ".js", ".css", ".html", ""}
NOTE = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
NOQA = re.compile(r"# noqa(?P<code>: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*)?")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def tracked(*suffixes: str) -> list[Path]:
    """Files in version control, or to be, that are text and written by hand."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    wanted = set(suffixes) or SUFFIXES
    return [
        path
        for path in paths
        if path.suffix in wanted and path.is_file() and "pb" not in path.parts
    ]


def text_of(path: Path) -> str:
    return path.read_text(errors="replace")


def test_no_note_to_self_is_left() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if (match := NOTE.search(text_of(path)))
    ]
    assert not found, "\n".join(found)


def test_every_exception_to_a_lint_rule_names_the_rule() -> None:
    nameless = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked(".py")
        for match in NOQA.finditer(text_of(path))
        if not match["code"] and path != Path(__file__)
    ]
    assert not nameless, "\n".join(nameless)


def broad_handlers(source: str) -> Iterator[int]:
    """Lines of handlers that catch everything and do not raise it again."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else "Exception"
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        if caught in {"Exception", "BaseException"} and not raises:
            yield node.lineno


def test_what_catches_everything_says_why() -> None:
    silent = []
    for path in tracked(".py"):
        lines = text_of(path).splitlines()
        for number in broad_handlers(text_of(path)):
            around = lines[number - 1 : number + 1]  # beside the `except`, or first thing below it
            if not any("# " in line for line in around):
                silent.append(f"{path.relative_to(ROOT)}:{number}")
    assert not silent, "\n".join(silent)


def test_links_between_documents_resolve() -> None:
    dead = []
    for path in tracked(".md"):
        for match in LINK.finditer(FENCE.sub("", text_of(path))):
            target = match["target"].partition("#")[0]
            if not target or "://" in target or target.startswith("mailto:"):
                continue
            if not (path.parent / target).exists():
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert not dead, "\n".join(dead)


def test_anchors_within_a_document_exist() -> None:
    dead = []
    for path in tracked(".md"):
        text = FENCE.sub("", text_of(path))
        anchors = {
            re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }
        dead += [
            f"{path.relative_to(ROOT)}: {match['target']}"
            for match in LINK.finditer(text)
            if match["target"].startswith("#") and match["target"][1:] not in anchors
        ]
    assert not dead, "\n".join(dead)


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    home = re.compile(r"(?<![\w.])/(home|root|Users)/\w|/work/(main|shared)\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path != Path(__file__) and (match := home.search(text_of(path)))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("tool", ["gen_reference.py", "gen_config_reference.py", "gen_crds.py"])
def test_generated_pages_are_fresh(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{tool.removesuffix('.py')}", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
