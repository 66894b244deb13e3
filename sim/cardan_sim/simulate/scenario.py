"""Scenario files: what is played, in which worlds, under which policies, how often.

A YAML file decodes into `Scenario`; what does not fit is an error that names the place. `variants`
and `quick` are parts of the same shape that replace what stands above them, so one file holds an
experiment and its short form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import yaml
from cardan.errors import ConfigError
from cardan.policies import AnyPolicy

from cardan_sim.simulate.recorder import WARM_UP
from cardan_sim.simulate.workloads import AnyWorkload
from cardan_sim.simulate.workloads.base import WHOLE, Segment
from cardan_sim.simulate.world import Setup

if TYPE_CHECKING:
    from pathlib import Path

Positive = Annotated[float, msgspec.Meta(gt=0)]
Ratio = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Goodput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Find the highest rate at which a share `attain` keeps the SLO, within `tolerance` of it.

    The search begins between `low` and `high` (requests a second) and widens them if it must.
    """

    low: Positive
    high: Positive
    attain: Ratio = 0.9
    tolerance: Ratio = 0.01


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An experiment: every variant of the world, every policy, every rate, segment and seed.

    `rates` are requests a second, for each engine if `per_engine`. `baseline` names the row that
    others are compared with, "VARIANT: POLICY" where there are variants. `plot_rate` is the rate
    whose distributions are drawn (the middle one unless said). `cuts_s` are moments of a run, in
    order: what arrives between two of them is also summed up by itself.
    """

    title: str
    workload: AnyWorkload
    world: Setup
    policies: Annotated[dict[str, AnyPolicy], msgspec.Meta(min_length=1)]
    about: str = ""
    rates: tuple[Positive, ...] = ()
    per_engine: bool = False
    seeds: Annotated[int, msgspec.Meta(ge=1)] = 5
    segments: Annotated[tuple[Segment, ...], msgspec.Meta(min_length=1)] = (WHOLE,)
    warm_up: Annotated[int, msgspec.Meta(ge=0)] = WARM_UP
    cuts_s: tuple[Positive, ...] = ()
    goodput: Goodput | None = None
    baseline: str | None = None
    plot_rate: Positive | None = None
    variants: dict[str, dict[str, Any]] = {}
    quick: dict[str, Any] = {}

    def worlds(self) -> dict[str, Setup]:
        """The variants by name; "" alone where there are none. ConfigError for a wrong one."""
        if not self.variants:
            return {"": self.world}
        plain = msgspec.to_builtins(self.world)
        worlds = {}
        for name, changes in self.variants.items():
            try:
                worlds[name] = msgspec.convert(plain | changes, Setup)
            except msgspec.ValidationError as error:
                raise ConfigError(f"$.variants.{name}: {error}") from error
        return worlds

    def rows(self) -> list[tuple[str, str, str]]:
        """(row's name, variant, policy) in the order of the file."""
        return [
            (f"{variant}: {policy}" if variant else policy, variant, policy)
            for variant in self.worlds()
            for policy in self.policies
        ]

    def reference(self) -> str:
        """The row that others are compared with. ConfigError if there is none of that name."""
        names = [name for name, _, _ in self.rows()]
        if self.baseline is None:
            return names[0]
        if self.baseline not in names:
            raise ConfigError(f"$.baseline: no row {self.baseline!r}; there are {', '.join(names)}")
        return self.baseline


def read_plain(path: Path, *, quick: bool = False) -> dict[str, Any]:
    """What a scenario file says, or its short form. Raises ConfigError, naming the file."""
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(plain, dict):
        raise ConfigError(f"{path}: a scenario is a mapping")
    return plain | (plain.get("quick") or {}) if quick else plain


def read_scenario(path: Path, *, quick: bool = False) -> Scenario:
    """A scenario file, or its short form. Raises ConfigError, naming file and place."""
    plain = read_plain(path, quick=quick)
    try:
        _check_policies(plain.get("policies"))
        scenario = msgspec.convert(plain, Scenario)
        scenario.reference()
    except (msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not scenario.rates and scenario.goodput is None:
        raise ConfigError(f"{path}: there are neither rates nor goodput to find")
    return scenario


def _check_policies(policies: object) -> None:
    """A wrong policy is told with its name in the file, which a mapping's path does not have."""
    if not isinstance(policies, dict):
        return
    for name, policy in policies.items():
        try:
            msgspec.convert(policy, AnyPolicy)
        except msgspec.ValidationError as error:
            raise ConfigError(f"$.policies.{name}: {error}") from error
