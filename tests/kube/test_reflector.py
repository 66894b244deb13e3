"""List and watch: whatever happens on the way, what is known is what the server had, and in the end
what it has.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from cardan_kube.frames import (
    Bookmark,
    Gone,
    Page,
    Put,
    Reading,
    Refused,
    read_event,
    read_page,
)
from cardan_kube.reflector import (
    EXPIRED_SPREAD_S,
    FIRST_BACKOFF_S,
    MAX_BACKOFF_S,
    MAX_RETRY_AFTER_S,
    RELIST_S,
    Fault,
    ListPage,
    Pause,
    Reflector,
    Watch,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.kube import KubeState, line, pod

if TYPE_CHECKING:
    import msgspec

Told = dict[str, Any]


def reflector(relists: list[str] | None = None) -> Reflector[str]:
    """A fresh one."""
    return Reflector(random.Random(1), relists.append if relists is not None else None)


def reading(name: str, value: str = "v", version: int = 5) -> Reading[str]:
    return Reading(name, str(version), value)


def listed(one: Reflector[str], *names: str, version: int = 10, now: float = 0.0) -> None:
    """Give it a whole list."""
    step = one.step(now)
    while isinstance(step, Pause):
        step = one.step(now)
    assert step == ListPage("")
    one.page(Page([reading(name) for name in names], str(version), ""), now)


def test_it_lists_then_watches_from_the_lists_version() -> None:
    one = reflector()
    listed(one, "a", version=10)
    step = one.step(0.0)
    assert isinstance(step, Watch)
    assert step.version == "10"
    assert 300 <= step.timeout_s <= 600
    assert one.objects == {"a": "v"}


def test_nothing_is_known_before_the_last_page() -> None:
    one = reflector()
    assert one.step(0.0) == ListPage("")
    assert not one.page(Page([reading("a")], "10", "more"), 0.0)
    assert not one.synced
    assert one.objects == {}
    assert one.step(0.0) == ListPage("more")
    assert one.page(Page([reading("b")], "10", ""), 0.0)
    assert one.objects == {"a": "v", "b": "v"}


def test_a_page_that_fails_begins_the_list_anew_and_keeps_what_was_known() -> None:
    one = reflector()
    listed(one, "a", "b")
    one.failed(Fault.EXPIRED, 0.0)
    assert isinstance(one.step(0.0), Pause)
    assert one.step(0.0) == ListPage("")
    one.page(Page([reading("c")], "20", "more"), 0.0)
    one.failed(Fault.UNREACHABLE, 0.0)
    assert one.objects == {"a": "v", "b": "v"}
    listed(one, "c", version=30)
    assert one.objects == {"c": "v"}


def test_events_change_what_is_known_and_move_the_version_on() -> None:
    one = reflector()
    listed(one, "a")
    assert one.event(Put(reading("b", version=11)))
    assert one.event(Put(reading("a", "w", version=12)))
    assert one.event(Gone("b", "13"))
    assert not one.event(Bookmark("20"))
    assert one.objects == {"a": "w"}
    one.ended(100.0)
    step = one.step(100.0)
    assert isinstance(step, Watch)
    assert step.version == "20"


def test_equal_news_is_no_news() -> None:
    one = reflector()
    listed(one, "a")
    assert not one.event(Put(reading("a", version=11)))
    assert not one.event(Gone("never-there", "12"))
    one.failed(Fault.EXPIRED, 0.0)
    assert isinstance(one.step(0.0), Pause)
    one.step(0.0)
    assert not one.page(Page([reading("a")], "20", ""), 0.0)


@pytest.mark.parametrize(
    "fault", [Fault.UNREACHABLE, Fault.BROKEN, Fault.STALLED, Fault.OVERLOADED, Fault.UNAUTHORIZED]
)
def test_a_way_that_is_lost_is_taken_up_where_it_was(fault: Fault) -> None:
    one = reflector()
    listed(one, "a")
    one.step(0.0)
    one.event(Put(reading("b", version=17)))
    one.failed(fault, 60.0)
    pause = one.step(60.0)
    assert isinstance(pause, Pause)
    assert pause.seconds <= FIRST_BACKOFF_S
    step = one.step(61.0)
    assert isinstance(step, Watch)
    assert step.version == "17"


@pytest.mark.parametrize(
    "fault", [Fault.EXPIRED, Fault.GARBAGE, Fault.REFUSED, Fault.FORBIDDEN, Fault.NOT_FOUND]
)
def test_a_version_that_is_no_good_is_listed_anew_and_nobody_is_forgotten(fault: Fault) -> None:
    relists: list[str] = []
    one = reflector(relists)
    listed(one, "a")
    one.step(0.0)
    one.failed(fault, 60.0)
    pause = one.step(60.0)
    assert isinstance(pause, Pause)
    assert pause.seconds <= EXPIRED_SPREAD_S
    assert one.step(60.0) == ListPage("")
    assert one.objects == {"a": "v"}
    assert relists == ["start", fault.value]


def test_failures_back_off_with_jitter_to_a_bound_and_never_end() -> None:
    one = reflector()
    pauses = []
    for _ in range(12):
        assert one.step(0.0) == ListPage("")
        one.failed(Fault.UNREACHABLE, 0.0)
        pause = one.step(0.0)
        assert isinstance(pause, Pause)
        pauses.append(pause.seconds)
    assert pauses[0] <= FIRST_BACKOFF_S
    assert all(MAX_BACKOFF_S / 2 <= pause <= MAX_BACKOFF_S for pause in pauses[6:])
    assert len(set(pauses)) == len(pauses)


def test_a_server_may_ask_for_patience_but_not_for_ever() -> None:
    one = reflector()
    one.step(0.0)
    one.failed(Fault.OVERLOADED, 0.0, retry_after_s=7.0)
    assert one.step(0.0) == Pause(7.0)
    one.failed(Fault.OVERLOADED, 0.0, retry_after_s=1e9)
    assert one.step(0.0) == Pause(MAX_RETRY_AFTER_S)


def test_what_may_well_be_missing_is_asked_for_in_its_own_time() -> None:
    one: Reflector[str] = Reflector(random.Random(1), None, {Fault.NOT_FOUND: 60.0})
    one.failed(Fault.NOT_FOUND, 0.0)
    pause = one.step(0.0)
    assert isinstance(pause, Pause)
    assert 30.0 <= pause.seconds <= 60.0
    one.failed(Fault.UNREACHABLE, 0.0)
    pause = one.step(0.0)
    assert isinstance(pause, Pause)
    assert pause.seconds <= MAX_BACKOFF_S


def test_a_server_that_lists_and_refuses_to_watch_is_not_asked_without_pause() -> None:
    one = reflector()
    now = 0.0
    for _ in range(10):
        step = one.step(now)
        while isinstance(step, Pause):
            now += step.seconds
            step = one.step(now)
        assert step == ListPage("")
        one.page(Page([], "10", ""), now)
        assert isinstance(one.step(now), Watch)
        one.failed(Fault.FORBIDDEN, now)
    assert now > 15.0


def test_watches_that_end_at_once_back_off_too() -> None:
    one = reflector()
    listed(one)
    now = 0.0
    for _ in range(20):
        step = one.step(now)
        if isinstance(step, Pause):
            now += step.seconds
        else:
            one.ended(now)
    assert now > 10.0


def test_a_list_is_asked_for_now_and_then_even_if_nothing_fails() -> None:
    relists: list[str] = []
    one = reflector(relists)
    listed(one, "a")
    now = 0.0
    while len(relists) < 2:
        assert isinstance(one.step(now), Watch)
        now += 60.0
        one.ended(now)
        assert now <= RELIST_S[1] + 60.0
        if one.step(now) == ListPage(""):
            break
    assert relists == ["start", "period"]


def test_an_object_that_cannot_be_read_is_kept_without_a_value_and_said() -> None:
    one = reflector()
    listed(one, "a")
    assert one.event(Put(Reading("a", "11", None, "a: label")))
    assert one.objects == {"a": None}
    assert one.complaints == {"a": "a: label"}
    assert not one.event(Put(Reading("a", "12", None, "a: label")))
    assert one.event(Put(reading("a", version=13)))
    assert one.complaints == {}


# -- the law ---------------------------------------------------------------------------------------


class Client:
    """Drives a reflector against a model server, with the faults that it is told."""

    def __init__(self, seed: int) -> None:
        self.server = KubeState()
        self.reflector: Reflector[Told] = Reflector(random.Random(seed))
        self.now = 0.0
        self.known_version = 0

    @staticmethod
    def read(raw: msgspec.Raw) -> Told:
        told: Told = json.loads(bytes(raw))
        return told

    def check(self) -> None:
        """What is known is what the server had at that version."""
        if self.reflector.version:
            self.known_version = int(self.reflector.version)
        if self.reflector.synced:
            at = self.server.at(self.known_version)
            assert self.reflector.objects == {f"ns/{name}": found for name, found in at.items()}

    def step(self, fault: Fault | None, deliver: int, limit: int) -> None:
        """One step of the reflector: all goes well, or `fault` after `deliver` events."""
        step = self.reflector.step(self.now)
        if isinstance(step, Pause):
            self.now += step.seconds
        elif isinstance(step, ListPage):
            self._list(step, fault, limit)
        else:
            self._watch(step, fault, deliver)

    def _list(self, step: ListPage, fault: Fault | None, limit: int) -> None:
        page = self.server.page(limit, step.token)
        if fault is not None or page is None:
            self.reflector.failed(fault or Fault.EXPIRED, self.now)
            return
        self.reflector.page(read_page(json.dumps(page).encode(), self.read), self.now)

    def _watch(self, step: Watch, fault: Fault | None, deliver: int) -> None:
        changes = self.server.since(int(step.version))
        if changes is None:
            self.reflector.failed(Fault.EXPIRED, self.now)
            return
        for change in changes[:deliver] if fault is not None else changes:
            event = read_event(line(change.type, change.object).strip(), self.read)
            assert not isinstance(event, Refused)
            self.reflector.event(event)
            self.check()
        self.now += 30.0
        if fault is not None:
            self.reflector.failed(fault, self.now)
        else:
            bare = {"metadata": {"resourceVersion": str(self.server.version)}}
            bookmark = read_event(line("BOOKMARK", bare).strip(), self.read)
            assert isinstance(bookmark, Bookmark)
            self.reflector.event(bookmark)
            self.reflector.ended(self.now)


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
DOINGS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(0, 3)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("compact")),
    st.tuples(
        st.just("step"),
        st.one_of(st.none(), st.sampled_from(list(Fault))),
        st.integers(0, 3),
        st.integers(1, 3),
    ),
)


@given(st.lists(DOINGS, max_size=60), st.integers(0, 100))
@settings(max_examples=300, deadline=None)
def test_whatever_happens_it_ends_with_the_servers_list(
    doings: list[tuple[Any, ...]], seed: int
) -> None:
    client = Client(seed)
    for what, *rest in doings:
        if what == "put":
            client.server.put(pod(rest[0], f"10.0.0.{rest[1]}"))
        elif what == "delete":
            client.server.delete(rest[0])
        elif what == "compact":
            client.server.compact()
        else:
            client.step(*rest)
        client.check()
    for _ in range(20):
        client.step(None, 0, 2)
        client.check()
    assert client.reflector.synced
    assert client.reflector.objects == {
        f"ns/{name}": found for name, found in client.server.objects.items()
    }
