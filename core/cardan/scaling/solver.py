"""Small integer programs, by HiGHS.

The one place of the core that imports it, and only when there is something to solve: gateways never
do. One solve takes milliseconds, so callers remember answers.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.errors import CardanError

if TYPE_CHECKING:
    from collections.abc import Sequence


# Exact (the default stops within 0.01 % of the best), on the one core that a controller has.
_OPTIONS: Final = {"output_flag": False, "threads": 1, "mip_rel_gap": 0.0}


class SolverError(CardanError):
    """A program that has a solution was not solved."""


class Row(msgspec.Struct, frozen=True):
    """`low <= sum(coefficient * variable) <= high`."""

    coefficients: tuple[float, ...]
    low: float = float("-inf")
    high: float = float("inf")


def least(
    costs: Sequence[float], bounds: Sequence[tuple[float, float]], rows: Sequence[Row]
) -> tuple[int, ...]:
    """Integers within `bounds` that keep the rows at the least cost.

    Raises SolverError where the solver finds none; callers ask only what has a solution.
    """
    import highspy

    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in _OPTIONS.items():
        solver.setOptionValue(option, value)
    variables = [solver.addIntegral(lb=low, ub=high) for low, high in bounds]
    for row in rows:
        weighed = solver.qsum(a * v for a, v in zip(row.coefficients, variables, strict=True))
        if isfinite(row.low):
            solver.addConstr(weighed >= row.low)
        if isfinite(row.high):
            solver.addConstr(weighed <= row.high)
    solver.minimize(solver.qsum(c * v for c, v in zip(costs, variables, strict=True)))
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise SolverError(f"no solution: {solver.modelStatusToString(status)}")
    return tuple(round(value) for value in solver.getSolution().col_value)
