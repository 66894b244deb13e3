"""What is done to a release under load, and what may be lost by it: nothing, but by a kill.

A process that is killed takes with it what it carries. For a gateway these are the streams it
passes on: their connections break, together, in the moment in which the kernel closes them. For an
engine these are the streams that had begun, and each client is told so by an error event; what had
not begun is asked elsewhere, and nobody notices.

There is one deviation from "a kill costs what the process carried". Until the node notices that a
gateway's process is dead, new connections are still sent to where nobody listens, and refused.
Nothing in the pod can help that, for nothing of it is left; these are counted by themselves, and
there may be no more of them than one gateway's share of the load in the time that the node is
given. Where the pod itself is deleted by force, nobody is sent there any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from e2e import images
from e2e.deploy import running
from e2e.deploy.release import ENGINE, ENGINES, GATEWAYS, ROUTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.deploy.clients import Outcome
    from e2e.deploy.load import Failure, Report
    from e2e.deploy.release import Release

# The kernel closes a dead process's connections within milliseconds, and each client looks when it
# gets a turn on a busy machine.
LAST_WORDS_S: Final = 2.0
# From its first closed connection to the moment in which a dying process is seen to be gone.
DYING_S: Final = 0.5
# kubelet looks for dead containers once a second; then Pod, EndpointSlice and rules have to change.
UNNOTICED_S: Final = 3.0


class Killed(NamedTuple):
    """A process that was killed, and what its clients may see of it."""

    at: float
    """When it was gone, by the wall clock."""
    seen_as: tuple[Outcome, ...]
    is_listed: bool = False
    """Whether new connections are sent to it until the node notices."""

    def carried(self, failure: Failure) -> bool:
        """Whether the killed process carried this request: begun before its end, ended by it."""
        was_begun = failure.sent_at is not None and failure.began_at <= self.at
        is_ended_by_it = self.at - DYING_S <= failure.ended_at <= self.at + LAST_WORDS_S
        return was_begun and is_ended_by_it and failure.outcome in self.seen_as

    def was_unnoticed(self, failure: Failure) -> bool:
        """Whether nobody knew yet that it is dead."""
        is_early = self.at - DYING_S <= failure.ended_at <= self.at + UNNOTICED_S
        return self.is_listed and is_early and failure.outcome == "refused"


def most_unnoticed(rate_per_s: float) -> int:
    """How many requests may be refused: one gateway's share, while the node may not know."""
    return int(rate_per_s * UNNOTICED_S / GATEWAYS)


class Change(NamedTuple):
    """Something done to a release."""

    name: str
    title: str
    do: Callable[[Release], Killed | None]
    before: Callable[[Release], object] = lambda _: None
    """What it starts from, made without load."""
    after: Callable[[Release], object] = lambda _: None
    """Puts things back as they were, without load."""


class Result(NamedTuple):
    """A change and what became of all requests around it."""

    name: str
    title: str
    took_s: float
    report: Report
    carried: list[Failure]
    """Requests that a killed process carried."""
    unnoticed: list[Failure]
    """Connections refused where a process was, before the node noticed that it is dead."""
    lost: list[Failure]
    """All other failures."""


def measure(release: Release, change: Change, rate_per_s: float) -> Result:
    """Do it under load."""
    change.before(release)
    release.settle()
    with running.load(release, rate_per_s) as load:
        took_s, killed = load.around(lambda: change.do(release))
    change.after(release)
    return judge(change, took_s, load.told(), killed)


def judge(change: Change, took_s: float, report: Report, killed: Killed | None) -> Result:
    """Tell what a killed process carried, and what nobody could know, from what is lost."""
    most = most_unnoticed(report.rate_per_s)
    result = Result(change.name, change.title, took_s, report, [], [], [])
    for failure in report.failures:
        if killed is not None and killed.carried(failure):
            result.carried.append(failure)
        elif killed and killed.was_unnoticed(failure) and len(result.unnoticed) < most:
            result.unnoticed.append(failure)
        else:
            result.lost.append(failure)
    return result


def _upgrade(release: Release) -> None:
    release.upgrade(images.next_tag())
    release.settle()


def _rollback(release: Release) -> None:
    release.helm("rollback", "cardan", "1", "--wait", "--timeout", "120s")
    release.settle()


def _scale(release: Release) -> None:
    release.scale(ENGINE, 2 * ENGINES)
    release.scale(ENGINE, ENGINES // 2)


def _force_gateway(release: Release) -> Killed:
    killed = Killed(release.delete_by_force(ROUTER), ("cut", "reset"))
    release.settle()
    return killed


def _kill_gateway(release: Release) -> Killed:
    killed = Killed(release.kill(ROUTER), ("cut", "reset"), is_listed=True)
    release.settle()
    return killed


def _kill_engine(release: Release) -> Killed:
    killed = Killed(release.kill(ENGINE), ("told",))
    release.settle()
    return killed


CHANGES: Final = (
    Change(
        "upgrade",
        "`helm upgrade` to another image tag: gateways and engines roll at once",
        _upgrade,
    ),
    Change(
        "rollback",
        "`helm rollback` to the first revision: both roll again",
        _rollback,
        before=lambda release: release.upgrade(images.next_tag()),
    ),
    Change(
        "gateways",
        "`kubectl rollout restart` of the gateways",
        lambda release: release.restart(ROUTER),
    ),
    Change(
        "engines",
        "`kubectl rollout restart` of the engines",
        lambda release: release.restart(ENGINE),
    ),
    Change(
        "scale",
        f"engines scaled {ENGINES} → {2 * ENGINES} → {ENGINES // 2}",
        _scale,
        after=lambda release: release.scale(ENGINE, ENGINES),
    ),
    Change(
        "evict-gateways",
        "every gateway evicted, as by `kubectl drain`",
        lambda release: release.evict(ROUTER),
    ),
    Change(
        "evict-engines",
        "every engine evicted, as by `kubectl drain`",
        lambda release: release.evict(ENGINE),
    ),
    Change(
        "force-gateway",
        "a gateway's pod killed: `kubectl delete --force --grace-period=0`",
        _force_gateway,
    ),
    Change("kill-gateway", "SIGKILL of a gateway's process, unknown to Kubernetes", _kill_gateway),
    Change("kill-engine", "SIGKILL of an engine's process", _kill_engine),
)
