"""The preview without a Prometheus ends with a sentence, and leaves an earlier page alone."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from tools.dashboards import preview

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_nobody_answers_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "fleet.html"
    page.write_text("earlier")
    with socket.socket() as bound:  # and not listening, so that nobody else does
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        monkeypatch.setattr(sys, "argv", ["preview", "--prometheus", url, "--out", str(page)])
        assert preview.main() == 1
    said = capsys.readouterr().err
    assert said.startswith(f"preview: no Prometheus answers at {url}: ")
    assert said.count("\n") == 1
    assert page.read_text() == "earlier"
