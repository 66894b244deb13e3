"""Outputs are tried before the work, and replaced whole or not at all."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from cardan_sim.outputs import OutputError, check_outputs, write_output

if TYPE_CHECKING:
    from pathlib import Path


def test_trying_leaves_no_trace(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text("old", encoding="utf-8")
    check_outputs([kept, tmp_path / "new.json", None])
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert kept.read_text(encoding="utf-8") == "old"


def test_a_place_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*/no/x: there is no directory .*/no$"):
        check_outputs([tmp_path / "no" / "x"])
    with pytest.raises(OutputError, match=r"it is a directory$"):
        check_outputs([tmp_path])
    with pytest.raises(OutputError, match=r"cannot write /proc/none/x"):
        write_output(tmp_path.__class__("/proc/none/x"), b"")


def test_a_file_is_replaced_and_a_link_to_it_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old", encoding="utf-8")
    link.symlink_to(real)
    write_output(link, "new ≤")
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "new ≤"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "real.html"]
    assert stat.S_IMODE(real.stat().st_mode) & stat.S_IRUSR


def test_a_device_is_written_to_and_stays_one(tmp_path: Path) -> None:
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    check_outputs([null])
    write_output(null, b"x")
    assert null.is_char_device()
