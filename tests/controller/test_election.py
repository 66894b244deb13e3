"""One replica leads at a time, whatever fails, stalls or disagrees about the time of day."""

from __future__ import annotations

from random import Random

import pytest
from cardan.instants import Monotonic, WallTime
from cardan_controller.election import Election, Lease, LeaseConfig, Look, Rest, Write
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

CONFIG = LeaseConfig()


class Server:
    """The one Lease, with a version that every write must name."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.version = 0

    def write(self, lease: Lease) -> Lease | None:
        """What was stored; None on a conflict."""
        if lease.version != (self.lease.version if self.lease else ""):
            return None
        self.version += 1
        self.lease = lease._replace(version=str(self.version))
        return self.lease


def run(election: Election, server: Server, now: float, skew_s: float = 0.0) -> object:
    """One step of a replica that reaches the server; `skew_s` is how wrong its wall clock is."""
    at = Monotonic(now)
    step = election.step(at, WallTime(1_800_000_000.0 + now + skew_s))
    if isinstance(step, Look):
        election.seen(server.lease, at)
    elif isinstance(step, Write):
        stored = server.write(step.lease)
        election.written(stored, at) if stored else election.failed(at)
    return step


def lead(name: str, server: Server, now: float) -> Election:
    """A replica that has just taken the lease."""
    election = Election(name, CONFIG, Random(1))
    while not election.leads(Monotonic(now)):
        run(election, server, now)
    return election


def test_the_first_makes_the_lease_and_leads() -> None:
    server = Server()
    election = lead("a", server, 100.0)
    assert server.lease is not None
    assert (server.lease.holder, server.lease.transitions) == ("a", 0)
    assert election.holder == "a"


def test_a_second_waits_while_the_first_renews() -> None:
    server, now = Server(), 100.0
    first, second = lead("a", server, now), Election("b", CONFIG, Random(2))
    while now < 300.0:
        now += 0.5
        run(first, server, now)
        run(second, server, now)
        assert first.leads(Monotonic(now))
        assert not second.leads(Monotonic(now))


def test_a_holder_that_is_silent_stops_before_another_takes_over() -> None:
    server, now = Server(), 100.0
    first, second = lead("a", server, now), Election("b", CONFIG, Random(2))
    stopped = took = None
    while took is None:
        now += 0.1
        run(second, server, now)
        if stopped is None and not first.leads(Monotonic(now)):
            stopped = now
        if second.leads(Monotonic(now)):
            took = now
    assert stopped is not None
    assert stopped - 100.0 == pytest.approx(CONFIG.renew_deadline_s, abs=0.2)
    assert took - 100.0 >= CONFIG.duration_s
    assert took - 100.0 <= CONFIG.duration_s + 2 * 1.2 * CONFIG.retry_s
    assert server.lease is not None
    assert server.lease.transitions == 1


@pytest.mark.parametrize("skew_s", [-86_400.0, 86_400.0])
def test_clocks_that_disagree_change_nothing(skew_s: float) -> None:
    server, now = Server(), 100.0
    first, second = lead("a", server, now), Election("b", CONFIG, Random(2))
    while now < 200.0:
        now += 0.5
        run(first, server, now)
        run(second, server, now, skew_s)
        assert not second.leads(Monotonic(now))


def test_who_resigns_is_followed_within_seconds() -> None:
    server, now = Server(), 100.0
    first, second = lead("a", server, now), Election("b", CONFIG, Random(2))
    run(second, server, now)
    resigned = first.resignation(WallTime(1.0))
    assert resigned is not None
    server.write(resigned)
    while not second.leads(Monotonic(now)):
        now += 0.1
        run(second, server, now)
    assert now - 100.0 <= 2 * 1.2 * CONFIG.retry_s + 1.0


def test_who_never_led_has_nothing_to_resign() -> None:
    assert Election("b", CONFIG, Random(2)).resignation(WallTime(1.0)) is None


def test_a_leader_whose_lease_somebody_took_stops_when_it_sees_it() -> None:
    server = Server()
    first = lead("a", server, 100.0)
    assert server.lease is not None
    server.write(server.lease._replace(holder="b"))
    now = 100.0
    while first.leads(Monotonic(now)):
        now += 0.1
        run(first, server, now)
    assert now - 100.0 <= 2 * 1.2 * CONFIG.retry_s + 0.2
    assert first.holder == "b"


def test_a_replica_that_rests_says_for_how_long() -> None:
    server = Server()
    first = lead("a", server, 100.0)
    rest = first.step(Monotonic(100.5), WallTime(0.0))
    assert isinstance(rest, Rest)
    assert 0 < rest.seconds <= 1.2 * CONFIG.retry_s


@pytest.mark.parametrize(
    "wrong", [{"duration_s": 9.0}, {"renew_deadline_s": 2.0}, {"retry_s": 20.0}]
)
def test_numbers_that_could_elect_two_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="renew_deadline_s"):
        LeaseConfig(**wrong)  # type: ignore[arg-type]


class Replicas(RuleBasedStateMachine):
    """Three replicas that stall, lose the server and have writes that arrive unseen."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.now = 100.0
        self.replicas = [Election(name, CONFIG, Random(i)) for i, name in enumerate("abc")]

    @rule(seconds=st.floats(0.1, 4.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(which=st.integers(0, 2))
    def one_steps(self, which: int) -> None:
        run(self.replicas[which], self.server, self.now)

    @rule(which=st.integers(0, 2), arrived=st.booleans(), took_s=st.floats(0.0, 5.0))
    def one_is_cut_off(self, which: int, arrived: bool, took_s: float) -> None:
        replica = self.replicas[which]
        step = replica.step(Monotonic(self.now), WallTime(self.now))
        if isinstance(step, Rest):
            return
        if isinstance(step, Write) and arrived:
            self.server.write(step.lease)  # it took effect, and the answer was lost
        self.now += took_s
        replica.failed(Monotonic(self.now))

    @invariant()
    def at_most_one_leads(self) -> None:
        assert sum(replica.leads(Monotonic(self.now)) for replica in self.replicas) <= 1


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
