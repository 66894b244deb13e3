"""`cardan replay` as its users run it: a process, files, exit codes, signals."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from cardan_sim.replay.figures import read_figures
from cardan_sim.replay.main import main

from tests.sim.replay.standin import Answer, standing_in
from tests.system.processes import START_DEADLINE_S

if TYPE_CHECKING:
    from pathlib import Path


def write_trace(path: Path, count: int, gap_ms: int = 10) -> Path:
    lines = [
        json.dumps(
            {"timestamp": n * gap_ms, "input_length": 600, "output_length": 3, "hash_ids": [0, n]}
        )
        for n in range(1, count + 1)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


async def start(*args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cardan_cli",
        "replay",
        *args,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_replay_prints_a_table_and_writes_json_and_a_page(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "t.jsonl", 12)
    json_file, html_file = tmp_path / "run.json", tmp_path / "run.html"
    async with standing_in(lambda _: Answer(cached_tokens=15, endpoint="e-1")) as server:
        process = await start(
            str(trace), "--endpoint", server.url, "--limit", "10", "--rate", "100",
            "--json", str(json_file), "--html", str(html_file),
        )  # fmt: skip
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert re.search(rb"Whole answers\W+10 ", out)
    assert b"75.0 %" in out
    figures = read_figures(json_file)
    assert (figures.schema, figures.succeeded, figures.hit_ratio) == (1, 10, 0.75)
    assert figures.settings.model == "standing-in"
    assert figures.settings.offered_rps == pytest.approx(100)
    assert figures.balance is not None
    assert [share.name for share in figures.balance.endpoints] == ["e-1"]
    assert "<svg" in html_file.read_text(encoding="utf-8")
    assert len(server.bodies) == 10


async def test_ctrl_c_ends_cleanly_and_reports_what_was_measured(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "t.jsonl", 200, gap_ms=1000)
    json_file = tmp_path / "run.json"
    third = asyncio.Event()

    def script(body: dict[str, object]) -> Answer:
        if len(server.bodies) == 3:
            third.set()
            return Answer(gate=asyncio.Event())
        return Answer()

    async with standing_in(script) as server:
        process = await start(
            str(trace), "--endpoint", server.url, "--speed", "20", "--json", str(json_file)
        )
        await asyncio.wait_for(third.wait(), START_DEADLINE_S)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
    assert b"Stopped early" in out
    figures = read_figures(json_file)
    assert figures.succeeded + figures.unfinished + figures.unsent == 200
    # The first two answers have been sent; whether all of them has been read by now is its affair.
    assert figures.succeeded + figures.unfinished >= 3
    assert figures.unfinished >= 1


async def test_the_exit_code_is_one_when_nothing_succeeded(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "t.jsonl", 2)
    async with standing_in(lambda _: Answer(status=500)) as server:
        process = await start(str(trace), "--endpoint", server.url)
        out, _ = await process.communicate()
    assert process.returncode == 1
    assert b"2 \xc3\x97 http 500" in out


def test_earlier_runs_are_compared_without_sending_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for label in ("first", "second"):
        file = tmp_path / f"{label}.json"
        assert main([str(write_trace(tmp_path / "t", 1)), "--endpoint", "http://127.0.0.1:9",
                     "--model", "m", "--label", label, "--json", str(file)]) == 1  # fmt: skip
        files.append(str(file))
    capsys.readouterr()
    page = tmp_path / "both.html"
    assert main(["--compare", *files, "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "first" in out
    assert "second" in out
    assert "<th>first</th><th>second</th>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("args", "blame"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: No such file"),
        (["--compare", "nowhere.json"], "nowhere.json: No such file"),
        (["{trace}", "--max-input-tokens", "5"], "every prompt is longer than 5 tokens"),
        (
            ["{trace}", "--endpoint", "http://127.0.0.1:9"],
            "http://127.0.0.1:9/v1/models: nothing listens there (connection refused)\n",
        ),
        (["{trace}", "--endpoint", "http://no.invalid"], "/v1/models: no such host\n"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], blame: str
) -> None:
    trace = write_trace(tmp_path / "t.jsonl", 1)
    assert main([arg.replace("{trace}", str(trace)) for arg in args]) == 1
    err = capsys.readouterr().err
    assert err.startswith("cardan replay: ")
    assert blame in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [[], ["t", "--rate", "0"], ["t", "--rate", "1", "--speed", "2"], ["t", "--limit", "0"],
     ["t", "--compare", "a"], ["t", "--rate", "nan"], ["t", "--josn", "x"],
     ["t", "--endpoint", "http://x:99999"], ["t", "--endpoint", "ftp://x"]],
)  # fmt: skip
def test_a_wrong_call_is_refused_in_one_line(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("cardan replay: ")
    assert err.endswith("; see cardan replay --help\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--endpoint", "--engine-url"])
def test_a_url_without_its_scheme_is_refused_with_the_one_to_write(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["t", flag, "127.0.0.1:8080"])
    assert "127.0.0.1:8080 has no scheme: write http://127.0.0.1:8080" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--json", "--html"])
async def test_a_file_that_cannot_be_written_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    trace = write_trace(tmp_path / "t.jsonl", 1)
    async with standing_in(lambda _: Answer()) as server:
        process = await start(str(trace), "--endpoint", server.url, flag, "/nope/x")
        out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err == b"cardan replay: cannot write /nope/x: there is no directory /nope\n"
    assert server.bodies == []


async def test_endpoints_without_a_name_are_explained_where_they_are_shown(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "t.jsonl", 1)
    async with standing_in(lambda _: Answer(endpoint="endpoint-0a1b2c3d")) as server:
        process = await start(str(trace), "--endpoint", server.url)
        out, _ = await process.communicate()
    assert "endpoint-XXXXXXXX is an endpoint without a name" in " ".join(out.decode().split())


def test_runs_of_one_name_are_told_apart_by_their_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = str(write_trace(tmp_path / "t", 1))
    files = [str(tmp_path / name) for name in ("before.json", "after.json")]
    for file in files:
        main([trace, "--endpoint", "http://127.0.0.1:9", "--model", "m", "--json", file])
    capsys.readouterr()
    assert main(["--compare", *files]) == 0
    head = capsys.readouterr().out.splitlines()[1]
    assert head.index("before") < head.index("after")
