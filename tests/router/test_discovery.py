"""Discovery: whole lists become the fleet; bad content keeps the last good one."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING

import pytest
from cardan.endpoint import Endpoint
from cardan.errors import ConfigError
from cardan.fleet import Fleet
from cardan_router.discovery import FileSource, Membership

if TYPE_CHECKING:
    from pathlib import Path

    from cardan.fleet import EndpointState

A = Endpoint(url="http://a:1", name="a")
B = Endpoint(url="http://b:1", name="b")


class Watched:
    """A watched file, its reports and whether readings went well."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.path.write_text(text)
        self.reports: list[list[str]] = []
        self.loads: list[bool] = []
        self.source = FileSource(
            path, lambda found: self.reports.append([e.id for e in found]), self.loads.append
        )
        self.source.load()

    def replace(self, text: str) -> None:
        """Atomically, as careful writers do."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """A file with one endpoint."""
    return Watched(tmp_path / "endpoints.yaml", "- http://a:1\n")


def test_yaml_and_json_lists_are_read(watched: Watched) -> None:
    watched.replace(json.dumps({"endpoints": [{"url": "http://b:1", "name": "b"}, "http://c:1"]}))
    watched.source.poll()
    assert watched.reports == [["http://a:1"], ["b", "http://c:1"]]
    assert watched.loads == [True, True]


def test_an_unchanged_file_is_reported_once(watched: Watched) -> None:
    for _ in range(30):
        watched.source.poll()
    watched.replace("- http://a:1\n")
    watched.source.poll()
    assert len(watched.reports) == 1


def test_writing_in_place_is_noticed_even_within_one_tick_of_the_clock(watched: Watched) -> None:
    stat = watched.path.stat()
    watched.path.write_text("- http://b:1\n")
    os.utime(watched.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for _ in range(20):
        watched.source.poll()
    assert watched.reports[-1] == ["http://b:1"]


@pytest.mark.parametrize(
    "bad", ["- http://a:1\n- [", "endpoint: x", "- url: nonsense", "", "- a\n"]
)
def test_bad_content_keeps_the_last_good_list_and_is_said_once(
    watched: Watched, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched.replace(bad)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            watched.source.poll()
    assert watched.reports == [["http://a:1"]]
    assert watched.loads == [True, False]
    assert caplog.text.count("last good list stays") == 1
    watched.replace("- http://c:1\n")
    watched.source.poll()
    assert watched.reports[-1] == ["http://c:1"]


def test_a_file_that_vanishes_and_returns_changes_nothing(watched: Watched) -> None:
    text = watched.path.read_text()
    watched.path.unlink()
    watched.source.poll()
    watched.path.write_text(text)
    watched.source.poll()
    assert watched.reports == [["http://a:1"]]


def test_an_empty_list_is_a_list(watched: Watched) -> None:
    watched.replace("[]")
    watched.source.poll()
    assert watched.reports[-1] == []


def test_there_must_be_something_good_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        FileSource(tmp_path / "none", print, print).load()


def members(fleet: Fleet) -> list[str]:
    """Ids in a fleet."""
    return sorted(fleet.endpoints)


def test_sources_add_up_and_the_configuration_wins() -> None:
    fleet = Fleet()
    gone: list[str] = []

    def left(states: list[EndpointState]) -> None:
        gone.extend(state.id for state in states)

    membership = Membership(fleet, lambda: 0.0, left)
    membership.report("config", [A])
    membership.report("file", [B, Endpoint(url="http://elsewhere:1", name="a")])
    assert members(fleet) == ["a", "b"]
    assert fleet.endpoints[A.id].endpoint.url == "http://a:1"
    membership.report("file", [])
    assert members(fleet) == ["a"]
    assert gone == ["b"]


def test_a_name_that_two_sources_give_to_two_engines_is_an_error_that_names_both(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fleet = Fleet()
    membership = Membership(fleet, lambda: 0.0, lambda _: None)
    membership.report("config", [A])
    membership.report("file", [Endpoint(url="http://elsewhere:1", name="a")])
    membership.report("file", [Endpoint(url="http://elsewhere:1", name="a"), B])
    (record,) = [found for found in caplog.records if found.levelno >= logging.WARNING]
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "two endpoints are called 'a': http://a:1 (config) and http://elsewhere:1 (file); only the"
        " first is used"
    )
    assert fleet.endpoints[A.id].endpoint == A


def test_an_engine_under_two_names_is_used_once_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fleet = Fleet()
    membership = Membership(fleet, lambda: 0.0, lambda _: None)
    membership.report("config", [A, Endpoint(url="http://A:1", name="again")])
    membership.report("file", [B, Endpoint(url="http://b:1")])
    assert members(fleet) == ["a", "b"]
    told = [found.getMessage() for found in caplog.records if found.levelno >= logging.WARNING]
    assert told == [
        "http://A:1 is listed twice: as 'a' (config) and as 'again' (config); only the first is"
        " used",
        "http://b:1 is listed twice: as 'b' (file) and as 'http://b:1' (file); only the first is"
        " used",
    ]


def test_two_sources_that_say_the_same_do_not_contradict_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    membership = Membership(Fleet(), lambda: 0.0, lambda _: None)
    membership.report("config", [A])
    membership.report("file", [A])
    assert not [found for found in caplog.records if found.levelno >= logging.WARNING]


def test_who_stays_keeps_what_is_known_of_it() -> None:
    fleet = Fleet()
    membership = Membership(fleet, lambda: 0.0, lambda _: None)
    membership.report("file", [A])
    state = fleet.endpoints[A.id]
    state.health.probe_succeeded()
    membership.report("file", [A, B])
    assert fleet.endpoints[A.id] is state
    assert not state.health.not_ready
    assert fleet.endpoints[B.id].health.not_ready


def test_who_moves_from_one_source_to_another_keeps_what_is_known_of_it() -> None:
    fleet, gone = Fleet(), list[list["EndpointState"]]()
    membership = Membership(fleet, lambda: 0.0, gone.append)
    membership.report_all({"config": (A,), "file": (B,)})
    states = dict(fleet.endpoints)
    membership.report_all({"config": (B,), "file": (A,)})
    assert dict(fleet.endpoints) == states
    assert gone == [[], []]
    membership.report_all({"config": (B,), "file": (A,)})
    assert len(gone) == 2


def test_the_same_list_again_does_not_touch_the_fleet() -> None:
    calls: list[int] = []
    membership = Membership(Fleet(), lambda: 0.0, lambda _: calls.append(1))
    membership.report("file", [A])
    membership.report("file", [A])
    assert calls == [1]
