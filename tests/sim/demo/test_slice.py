"""The bundled slice is the published trace, cut as its recipe says, with its licence beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cardan_sim.demo.cut import MAX_INPUT_TOKENS, REQUESTS, SLICE, cut, kept_lines
from cardan_sim.demo.setting import OURS, Setting, display_name, load_slice, replay_of
from cardan_sim.traces import BlockPrompt

PUBLISHED = Path(__file__).parents[3] / "../shared/traces/mooncake/conversation_trace.jsonl.gz"


def test_the_slice_reads_as_a_trace_with_prefixes_to_reuse() -> None:
    requests = load_slice(Setting())
    assert len(requests) == REQUESTS
    assert max(request.input_tokens for request in requests) <= MAX_INPUT_TOKENS
    firsts = [r.prompt.blocks[1] for r in requests if isinstance(r.prompt, BlockPrompt)]
    assert len(firsts) == REQUESTS
    # Conversations are whole: there are many fewer of them than requests.
    assert len(set(firsts)) < 0.8 * REQUESTS


def test_the_slice_is_what_the_recipe_makes_of_the_published_trace() -> None:
    if not PUBLISHED.exists():
        pytest.skip("the published traces are not on this machine")
    assert cut(PUBLISHED) == SLICE.read_bytes()


def test_the_licence_and_the_citation_lie_beside_the_slice() -> None:
    licence = (SLICE.parent / "LICENSE-mooncake.txt").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "Version 2.0" in licence
    readme = (SLICE.parent / "README.md").read_text(encoding="utf-8")
    for word in ("Mooncake", "FAST 2025", "Changes", "3b5a594"):
        assert word in readme


def test_lines_are_kept_byte_for_byte_and_by_conversation() -> None:
    lines = [
        b'{"timestamp": %d, "input_length": %d, "output_length": 1, "hash_ids": [0, %d]}\n'
        % (at, tokens, second)
        for at, (second, tokens) in enumerate((n % 100, 600 + n) for n in range(1000))
    ]
    kept = list(kept_lines(lines))
    assert kept
    assert set(kept) <= set(lines)
    seconds = [line.rsplit(b" ", 1)[1] for line in kept]
    assert all(seconds.count(second) == 10 for second in set(seconds))


def test_the_replay_of_the_demo_is_the_same_for_every_policy_but_its_name() -> None:
    setting = Setting(requests=3)
    requests = load_slice(setting)
    base = replay_of(setting, "round-robin", requests, "http://g", {"e": "http://e"})
    ours = replay_of(setting, OURS, requests, "http://g", {"e": "http://e"})
    assert (base.label, ours.label) == ("round-robin", "Cardan (dualmap)")
    assert display_name("p2c") == "p2c"
    assert base.requests == ours.requests
    assert base.pace == ours.pace
    assert base.max_output_tokens == ours.max_output_tokens == setting.max_output_tokens
