"""What who begins to lead waits for: that it knows of every fleet there is.

Fleets share budgets, and of two that name one target the first has it. So a tick over some of them,
while nothing is known of the others yet, gives away what is theirs. What each fleet asks for comes
from kopf, one by one; that they are there our own watch has told already.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cardan_controller.fleets import Fleets, Key

log = logging.getLogger(__name__)

# kopf tells of hundreds of fleets within seconds. One that it cannot tell of is not to keep all the
# others from being looked after for longer than it takes to take over twice.
HEARD_WITHIN_S: Final = 30.0
POLL_S: Final = 0.05
# Names that a line of the log has room for.
MOST_NAMES: Final = 5


async def all_heard(
    fleets: Fleets,
    there: Callable[[], Mapping[Key, str]],
    within_s: float = HEARD_WITHIN_S,
) -> bool:
    """Wait until all that are there were heard of; False if some were not in that time."""
    try:
        async with asyncio.timeout(within_s):
            while fleets.unheard(there()):  # noqa: ASYNC110 - once in a process's life
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        missing = fleets.unheard(there())
        names = ", ".join("/".join(key) for key in missing[:MOST_NAMES])
        words = "nothing was heard of %d fleets within %g s, others are looked after: %s"
        log.warning(words, len(missing), within_s, names)
        return False
    return True
