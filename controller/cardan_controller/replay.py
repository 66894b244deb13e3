"""What would have been done: decisions on recorded observations, one line each, and why.

The same `decide` as in production, with the times of the recording as its clock. The replicas are
those that were there when it was recorded: a replay says what would have been decided at each
moment, not what would have followed (`python -m benchmarks.scaling` closes that loop). By the
recorded specification it comes to what the operator decided, before a budget that several fleets
share has taken from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec
from cardan.errors import ConfigError
from cardan.scaling.blind import growing_only
from cardan.scaling.decide import decide
from cardan.scaling.memory import Memory
from cardan.scaling.recording import read_recording

from cardan_controller.conditions import moment
from cardan_controller.crds.documents import read_spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cardan.scaling.decision import PoolDecision, ScalingDecision
    from cardan.scaling.recording import Tick
    from cardan.scaling.spec import ScalingSpec


def replay(recording: str, fleet: str, out: TextIO) -> int:
    """Decide on every observation of a recording, and print each decision that is another.

    `fleet` is a file with an InferenceFleet, for decisions by another specification than the
    recorded one. Returns 0; raises `RecordingError` or `ConfigError` for what cannot be read.
    """
    with Path(recording).open("rb") as lines:
        header, ticks = read_recording(lines)
        spec = _spec_of(fleet) if fleet else header.spec
        if spec is None:
            raise ConfigError(f"{recording} has no specification: name one with --fleet FILE")
        _tell(decisions(spec, ticks, header.memory or Memory()), out)
    return 0


def decisions(
    spec: ScalingSpec, ticks: Iterable[Tick], memory: Memory
) -> Iterator[ScalingDecision]:
    """What is decided at each tick; `memory` is from before the first."""
    for tick in ticks:
        decision, memory = decide(spec, tick, tick.remembering(memory), tick.at, tick.held)
        yield growing_only(decision, tick.stale) if tick.stale and not tick.held else decision


def _tell(decided: Iterable[ScalingDecision], out: TextIO) -> None:
    told, ticks, changes = "", 0, 0
    for decision in decided:
        ticks += 1
        line = _line(decision)
        if line != told:
            told, changes = line, changes + 1
            out.write(f"{moment(decision.at)}  {line}\n")
            for pool in decision.pools:
                out.writelines(f"    {words}\n" for words in _why(pool))
    out.write(f"{ticks} ticks, {changes} decisions\n")


def _line(decision: ScalingDecision) -> str:
    return ", ".join(
        f"{pool.pool}: {pool.current} -> {pool.desired}" + ("" if pool.valid else " (held)")
        for pool in decision.pools
    )


def _why(pool: PoolDecision) -> list[str]:
    return [f"{pool.pool}: {reason.code.value}: {reason.message}" for reason in pool.reasons]


def _spec_of(path: str) -> ScalingSpec:
    try:
        document = msgspec.yaml.decode(Path(path).read_bytes())
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("spec"), dict):
        raise ConfigError(f"{path}: no InferenceFleet: it has no `spec`")
    return read_spec(document["spec"]).scaling()
