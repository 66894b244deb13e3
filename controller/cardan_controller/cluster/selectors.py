"""Label selectors, matched here.

The operator keeps the pods of all fleets from one watch and asks which belong to a scale target; a
`/scale` tells its selector as text (`app=vllm,tier in (a,b),!canary`). Grammar:
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Operator(enum.Enum):
    """How a requirement looks at a label."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


class Requirement(NamedTuple):
    """One of a selector's requirements, all of which must hold."""

    label: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Does it hold for an object with these labels?"""
        there = self.label in labels
        if self.operator is Operator.EXISTS:
            return there
        if self.operator is Operator.ABSENT:
            return not there
        among = there and labels[self.label] in self.values
        return among if self.operator is Operator.IN else not among

    def text(self) -> str:
        """As it is written."""
        if self.operator in (Operator.EXISTS, Operator.ABSENT):
            return self.label if self.operator is Operator.EXISTS else f"!{self.label}"
        return f"{self.label} {self.operator.value} ({','.join(sorted(self.values))})"


class Selector(NamedTuple):
    """A conjunction. One without requirements matches nothing here: no fleet owns every pod.

    `everything`: one that is empty on purpose, as a PodDisruptionBudget may have it.
    """

    requirements: tuple[Requirement, ...]
    everything: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Is an object with these labels meant?"""
        if not self.requirements:
            return self.everything
        return all(one.matches(labels) for one in self.requirements)

    def text(self) -> str:
        """As `kubectl get -l` takes it."""
        return ",".join(one.text() for one in self.requirements)

    def handle(self) -> tuple[str, str] | None:
        """A label and the value that all matching objects have, to find them by; None if none."""
        for label, operator, values in self.requirements:
            if operator is Operator.IN and len(values) == 1:
                return label, next(iter(values))
        return None


_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_./-]*[A-Za-z0-9])?"
_VALUE: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"({_LABEL})\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(rf"({_LABEL})\s*(==|=|!=)\s*({_VALUE})")
_THERE = re.compile(rf"(!?)\s*({_LABEL})")
_COMMA = re.compile(r"\s*(,|$)\s*")


def parse(text: str) -> Selector:
    """A selector from text; `ValueError` says where it is none."""
    return Selector(tuple(_requirements(text.strip())))


def _requirements(text: str) -> Iterator[Requirement]:
    position = 0
    while position < len(text):
        found = _one(text, position)
        end = _COMMA.match(text, found[1]) if found else None
        if found is None or end is None or (end[1] and end.end() == len(text)):
            raise ValueError(f"{text!r} is no label selector, from {text[position:]!r} on")
        yield found[0]
        position = end.end()


def _one(text: str, position: int) -> tuple[Requirement, int] | None:
    if match := _SET.match(text, position):
        values = frozenset(value.strip() for value in match[3].split(","))
        if not all(re.fullmatch(_VALUE, value) for value in values):
            return None
        return Requirement(match[1], Operator(match[2]), values), match.end()
    if match := _EQUAL.match(text, position):
        operator = Operator.NOT_IN if match[2] == "!=" else Operator.IN
        return Requirement(match[1], operator, frozenset({match[3]})), match.end()
    if match := _THERE.match(text, position):
        operator = Operator.ABSENT if match[1] else Operator.EXISTS
        return Requirement(match[2], operator), match.end()
    return None
