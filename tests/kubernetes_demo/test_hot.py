"""The demo's hot prefix is one prompt, and is shown as moved only if its new owners answer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from cardan_sim.traces.read import read_trace

from e2e.demo import hot
from e2e.demo.errors import DemoError
from e2e.demo.load import bundled
from e2e.demo.story import STEADY

if TYPE_CHECKING:
    from pathlib import Path

MOVES = [{"kind": "add-owners", "key": "k", "owners": ["c", "d"]}]
EVENTS = """\
EVENT          WHY
ScaledUp       main: 0 to 1: a gateway holds a request
HotSpotMoved   re-weight: it is slow
HotSpotWarming add-owners: it is hot
HotSpotMoved   add-owners: it is hot
ScaledDown     main: 4 to 1: nobody asks
"""


def test_it_is_one_prompt_that_the_bundled_trace_has_nothing_of(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"".join(hot.trace()))
    sent = read_trace(path)
    assert len(sent) == hot.MANY + hot.FEW
    assert sent[hot.MANY].arrival_s == hot.MANY / hot.MANY_RPS
    assert {request.input_tokens for request in sent} == {hot.BLOCKS * hot.BLOCK_TOKENS}
    prompts = {request.prompt for request in sent}
    assert len(prompts) == 1
    path.write_bytes(b"".join(bundled(0, STEADY)))
    others = {block for request in read_trace(path) for block in request.prompt.blocks}  # type: ignore[union-attr]
    assert others.isdisjoint(next(iter(prompts)).blocks)  # type: ignore[union-attr]


def test_owners_that_answer_more_than_before_are_shown_beside_the_others() -> None:
    assert hot.table(MOVES, Counter(a=9), Counter(a=5, c=4)) == [
        ("answers of", "before", "after"),
        ("a", "9", "5"),
        ("c", "0", "4"),
    ]


@pytest.mark.parametrize("after", [Counter(a=9), Counter(a=8, c=1)])
def test_a_move_that_changes_nothing_is_not_shown_as_one(after: Counter[str]) -> None:
    with pytest.raises(DemoError, match=r"the prefix is \['c', 'd'\]'s too"):
        hot.table(MOVES, Counter(a=16, c=2), after)


def test_of_the_events_those_since_a_prefix_got_other_owners_are_shown() -> None:
    words = [line.split()[0] for line in hot.last(EVENTS).splitlines()]
    assert words == ["EVENT", "HotSpotWarming", "HotSpotMoved", "ScaledDown"]


def test_where_nothing_was_hot_no_event_is_shown() -> None:
    assert hot.last("EVENT  WHY\nScaledUp  main: 0 to 1\n") == "EVENT  WHY"
