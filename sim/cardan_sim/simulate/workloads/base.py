"""What every workload has: how much of it is played, and cuts of what is too long."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cardan_sim.simulate.jobs import Job

Count = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class WorkloadError(ValueError):
    """A workload that cannot be played as it is asked for."""


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a workload, as shares of it: tune on one half, report on the other."""

    start: Share = 0.0
    stop: Share = 1.0

    def of(self, count: int) -> slice:
        """The part of `count` things. WorkloadError if it is empty."""
        part = slice(round(self.start * count), round(self.stop * count))
        if part.start >= part.stop:
            raise WorkloadError(f"nothing lies between {self.start:g} and {self.stop:g} of it")
        return part


WHOLE = Segment()


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    """Base of every workload. Lengths in tokens; what is longer is cut."""

    max_input_tokens: Count | None = None
    max_output_tokens: Count | None = None

    @property
    def label(self) -> str:
        """A few words for titles."""
        return str(self.__struct_config__.tag)

    def jobs(self, *, root: Path, segment: Segment, rate: float | None, seed: int) -> Iterable[Job]:
        """The requests of a segment in the order of their times, which begin at zero.

        `rate` is in requests a second in the mean, None as recorded; paths are relative to `root`.
        Raises WorkloadError or TraceError.
        """
        raise NotImplementedError

    def cut(self, job: Job) -> Job:
        """The same request within the limits of length."""
        tokens, output = job.tokens, job.output_tokens
        if self.max_input_tokens is not None:
            tokens = min(tokens, self.max_input_tokens)
        if self.max_output_tokens is not None:
            output = min(output, self.max_output_tokens)
        if (tokens, output) == (job.tokens, job.output_tokens):
            return job
        blocks = job.blocks[: -(-tokens // job.block_tokens)]
        return replace(job, tokens=tokens, output_tokens=output, blocks=blocks)


def at_rate(jobs: Sequence[Job], rate: float | None) -> list[Job]:
    """The same requests with their gaps scaled by one factor, so that order and bursts stay.

    WorkloadError where all came at once: there is no gap to scale.
    """
    if not jobs:
        return []
    origin_s = jobs[0].due_s
    span_s = jobs[-1].due_s - origin_s
    if rate is None:
        factor = 1.0
    elif span_s > 0:
        factor = (len(jobs) - 1) / rate / span_s
    else:
        raise WorkloadError("all requests have one time; there is no rate to change")
    return [replace(job, due_s=(job.due_s - origin_s) * factor) for job in jobs]


def rng_of(name: str, seed: int) -> Random:
    """The generator of a workload's own chance, apart from the run's."""
    return Random(f"{name} {seed}")
