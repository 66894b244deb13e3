"""A progress line on the terminal while a replay runs; nothing where there is no terminal."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import Console
    from rich.progress import TaskID

    from cardan_sim.replay.openloop import Tally

# Often enough to look alive; each refresh takes about a millisecond from the measurement.
_REFRESH_S: Final = 0.25


@asynccontextmanager
async def show_progress(tally: Tally, label: str, console: Console) -> AsyncIterator[None]:
    """Show how far a replay is for as long as the block runs."""
    if not console.is_terminal:
        yield
        return
    progress = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=console,
        auto_refresh=False,
    )
    with progress:
        line = progress.add_task(label, total=tally.planned, state="")
        painting = asyncio.create_task(_paint(progress, line, tally))
        try:
            yield
        finally:
            painting.cancel()
            progress.update(line, completed=tally.ended, state=_state(tally), refresh=True)


async def _paint(progress: Progress, line: TaskID, tally: Tally) -> None:
    while True:
        progress.update(line, completed=tally.ended, state=_state(tally), refresh=True)
        await asyncio.sleep(_REFRESH_S)


def _state(tally: Tally) -> str:
    waiting = tally.in_flight - tally.answering
    parts = [f"{waiting} waiting", f"{tally.answering} answering"]
    if tally.mean_ttft_s is not None:
        parts.append(f"mean TTFT {tally.mean_ttft_s:.2f} s")
    if tally.failed:
        parts.append(f"[red]{tally.failed} failed[/red]")
    return ", ".join(parts)
