"""`cardan simulate calibrate FILE.csv`: coefficients of the cost model from measured points.

    kind,tokens,context,batch,seconds
    prefill,2048,2048,1,0.071
    prefill,512,8192,1,0.024
    decode,32,48000,32,0.0121

A `prefill` row is one prompt: `tokens` computed, `context` tokens in all when it ended, `seconds`
until its first token on an idle engine. A `decode` row is one step: `batch` sequences with
`context` tokens together, and the `seconds` between two tokens of each (`tokens` is not looked at).

    prefill = a0 + a1 tokens + a2 (context^2 - (context - tokens)^2)
    decode  = d0 + d1 batch + d2 context

Least squares of relative errors: a prompt of 100 tokens counts as much as one of 30,000. None of
the coefficients is negative: one that would be is left out, and the others fitted without it.
"""

from __future__ import annotations

import csv
from math import sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from cardan_sim.traces import TraceError
from cardan_sim.traces.source import read_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS: Final = ("kind", "tokens", "context", "batch", "seconds")
_SINGULAR: Final = 1e-12


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What a measured duration is made of: one term for each coefficient."""

    terms: tuple[float, float, float]
    seconds: float


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """Three coefficients and what they leave: relative errors, by point, in the file's order."""

    coefficients: tuple[float, float, float]
    residuals: list[float]

    @property
    def worst(self) -> float:
        """The largest relative error, in size."""
        return max(map(abs, self.residuals))

    @property
    def typical(self) -> float:
        """The root of the mean of the squares."""
        return sqrt(sum(r * r for r in self.residuals) / len(self.residuals))


def read_points(path: Path) -> dict[str, list[Point]]:
    """The points of a file by kind. Raises TraceError, naming the file and the line."""
    lines = read_lines(path)
    header = next(lines, None)
    if header is None:
        raise TraceError(f"{path}: nothing in it")
    names = [name.strip() for name in header.text.split(",")]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise header.error(f"no column {', '.join(missing)}")
    points: dict[str, list[Point]] = {"prefill": [], "decode": []}
    for line in lines:
        row = dict(zip(names, next(csv.reader([line.text])), strict=False))
        try:
            kind = row["kind"].strip()
            tokens, context = float(row["tokens"] or 0), float(row["context"])
            batch, seconds = float(row["batch"] or 0), float(row["seconds"])
        except (KeyError, ValueError) as error:
            raise line.error(f"not a point: {error}") from error
        if kind not in points or seconds <= 0:
            raise line.error("kind must be prefill or decode, and seconds over zero")
        terms = (1.0, batch, context)
        if kind == "prefill":
            terms = (1.0, tokens, context * context - (context - tokens) ** 2)
        points[kind].append(Point(terms=terms, seconds=seconds))
    return points


def fit(points: Sequence[Point]) -> Fit:
    """Coefficients for points of one kind, at least one."""
    active = [0, 1, 2]
    while True:
        solved = _least_squares(points, active)
        negative = [term for term in active if solved[term] < 0]
        if not negative:
            break
        active.remove(min(negative, key=lambda term: solved[term] * _scale(points, term)))
    residuals = [
        sum(c * t for c, t in zip(solved, point.terms, strict=True)) / point.seconds - 1.0
        for point in points
    ]
    return Fit(coefficients=(solved[0], solved[1], solved[2]), residuals=residuals)


def _scale(points: Sequence[Point], term: int) -> float:
    return max(point.terms[term] for point in points)


def _least_squares(points: Sequence[Point], active: Sequence[int]) -> list[float]:
    """Normal equations in scaled terms, solved by elimination; what is not told apart is zero."""
    scales = {term: _scale(points, term) or 1.0 for term in active}
    rows = [
        [point.terms[term] / scales[term] / point.seconds for term in active] for point in points
    ]
    size = len(active)
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)]
        for i in range(size)
    ]
    solved = [0.0, 0.0, 0.0]
    for position, value in enumerate(_solve(matrix)):
        solved[active[position]] = value / scales[active[position]]
    return solved


def _solve(matrix: list[list[float]]) -> list[float]:
    """Gauss and Jordan with pivots; a column without one gives zero."""
    size = len(matrix)
    largest = max((abs(matrix[i][i]) for i in range(size)), default=1.0)
    pivots: dict[int, int] = {}
    for column in range(size):
        free = [row for row in range(size) if row not in pivots.values()]
        pivot = max(free, key=lambda row: abs(matrix[row][column]))
        if abs(matrix[pivot][column]) <= _SINGULAR * largest:
            continue
        pivots[column] = pivot
        for row in range(size):
            if row != pivot:
                factor = matrix[row][column] / matrix[pivot][column]
                matrix[row] = [
                    a - factor * b for a, b in zip(matrix[row], matrix[pivot], strict=True)
                ]
    return [
        matrix[pivots[column]][size] / matrix[pivots[column]][column] if column in pivots else 0.0
        for column in range(size)
    ]
