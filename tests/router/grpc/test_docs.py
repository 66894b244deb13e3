"""The program in the how-to runs as it is printed."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from tests.router.grpc.door import door
from tests.router.grpc.engine import engine

PAGE = Path(__file__).parents[3] / "docs/how-to/grpc.md"


async def test_the_how_tos_program_runs() -> None:
    program = "".join(
        re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    )
    async with engine() as one, door([one.url], model="llama-3.1-8b") as gate:
        assert program.count('"127.0.0.1:8081"') == 1
        program = program.replace("127.0.0.1:8081", gate.target)
        command = [sys.executable, "-W", "error", "-c", program]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        output = ran.stdout
        assert gate.open_leases == 0
        words = [f"w{i} " for i in range(32)]
        assert output.splitlines()[:3] == ["".join(words), "32 tokens", "stop from e0"]
        assert "MODEL_NOT_FOUND request req-" in output
        assert f"send it to {one.url}" in output
        assert output.endswith("closed: True\n")
        assert one.asks[1].body["ignore_eos"] is True
