"""What policies remember between two ticks: windows of samples, a panic, a trim.

A policy is a frozen value; whatever it must remember it is given in its view and gives back from
`remember`. Samples are of this process: a new leader begins with an empty window, says that it
lacks one, and so may raise a fleet at once and lower it only when it has seen a whole window.
(Knative starts in panic after a restart to the same end.)
"""

from __future__ import annotations

import msgspec
from cardan.instants import WallTime

Sample = tuple[float, float]
"""When (wall time, s), and what."""

# A window is covered when its oldest sample is this old: ticks do not fall on its edge.
COVERED = 0.75


class PolicyMemory(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The memory of one policy for one role.

    `trim` is the guard's factor on what the model asks, `trim_at` when it last moved, `lowered`
    whether down, and `patience_s` for how long latency must be low for that. `panic_replicas` is
    the most that a panic asks for, `panic_at` when the short window last asked for too much.
    `lost_share` of the hits went with replicas at `lost_at`.
    """

    trim: float = 1.0
    trim_at: WallTime | None = None
    patience_s: float = 600.0
    lowered: bool = False
    panic_replicas: float = 0.0
    lost_at: WallTime | None = None
    lost_share: float = 0.0
    # of this process
    panic_at: WallTime | None = None
    samples: tuple[Sample, ...] = ()
    calm_since: WallTime | None = None
    supplied_since: WallTime | None = None
    ready: float | None = None

    def kept(self) -> PolicyMemory:
        """What is persisted of it."""
        return msgspec.structs.replace(
            self, panic_at=None, samples=(), calm_since=None, supplied_since=None, ready=None
        )


def note(
    samples: tuple[Sample, ...], value: float, now: WallTime, window_s: float
) -> tuple[Sample, ...]:
    """With one more sample, without those that are out of the window (but for one, its edge)."""
    recent = tuple(sample for sample in samples if sample[0] < now)
    old = sum(1 for at, _ in recent if at <= now - window_s)
    return (*recent[max(0, old - 1) :], (now, value))


def mean(samples: tuple[Sample, ...], now: WallTime, window_s: float) -> float | None:
    """Mean of the samples within the window that ends now; None if there are none."""
    inside = [value for at, value in samples if now - window_s < at <= now]
    return sum(inside) / len(inside) if inside else None


def covers(samples: tuple[Sample, ...], now: WallTime, window_s: float) -> bool:
    """Whether the samples reach back far enough to speak for the window."""
    return bool(samples) and samples[0][0] <= now - COVERED * window_s
