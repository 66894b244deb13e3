"""What can go wrong with a cluster for tests: a small flat tree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class ClusterError(Exception):
    """The cluster did not do what was asked; the message is for a person."""


class UnavailableError(ClusterError):
    """Something is missing on this machine; the message is one line that says what to do."""


class UnsupportedError(ClusterError):
    """This kind of cluster cannot do it; another one could."""


class CommandError(ClusterError):
    """A command ended with another status than 0; the message has its errors."""

    def __init__(self, argv: list[str], code: int, output: str) -> None:
        self.code = code
        self.output = output
        super().__init__(f"`{' '.join(argv)}` ended with {code}:\n{output.strip()[-4000:]}")


# What a command ends with where the machine lacks something, which is not its failure: CI goes on.
UNAVAILABLE = 3


def status_of(do: Callable[[], object]) -> int:
    """Do it, for `sys.exit`: 0, or a sentence on standard error.

    With it 3 where something is missing on this machine, and 1 where it was tried and failed.
    """
    try:
        do()
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return UNAVAILABLE
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
