"""Lines on the terminal: steps with their times, commands as one would type them, what they say."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARGIN: Final = "   "
# Often enough to look alive.
TICK_S: Final = 0.5


class Teller:
    """Tells steps to a person. Bold and a running clock only where there is a terminal."""

    def __init__(self, out: TextIO | None = None) -> None:
        """`out`: standard output, unless told otherwise."""
        self._out = out or sys.stdout
        self._terminal = self._out.isatty()
        self._steps = 0
        self.began = time.monotonic()

    def title(self, text: str) -> None:
        """A line that stands by itself."""
        self._print(f"\n{self._bold(text)}")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: its title before, the time it took after."""
        self._steps += 1
        began = time.monotonic()
        self._print(f"\n{self._bold(f'{self._steps}. {title}')}")
        yield
        self.line(f"({time.monotonic() - began:.1f} s)")

    def line(self, text: str) -> None:
        """A sentence."""
        self._print(f"{MARGIN}{text}")

    def command(self, *words: str) -> None:
        """A command, as it would be typed in a checkout."""
        self.line(self._bold("$ " + " ".join(words)))

    def block(self, text: str) -> None:
        """What a command has printed."""
        for line in text.rstrip().splitlines():
            self.line(line)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Columns, the first one left, the others right."""
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        for first, *others in rows:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            self.line("  ".join([first.ljust(widths[0]), *cells]).rstrip())

    @contextmanager
    def clock(self, what: str) -> Iterator[Clock]:
        """A line that says how long something has been going on, gone when it is over."""
        yield Clock(self._out if self._terminal else None, what)
        if self._terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._terminal else text

    def _print(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


class Clock:
    """Seconds since something began, on a terminal."""

    def __init__(self, out: TextIO | None, what: str) -> None:
        """`out` None: silent."""
        self._out = out
        self._what = what
        self._began = time.monotonic()

    def tick(self) -> None:
        """Wait a moment, and say how long it has been."""
        time.sleep(TICK_S)
        if self._out:
            self._out.write(f"\r{MARGIN}{self._what}: {time.monotonic() - self._began:.0f} s\x1b[K")
            self._out.flush()
