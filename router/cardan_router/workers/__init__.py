"""`--workers N`: one process that supervises, N that serve.

The supervisor binds nothing it serves; it holds the ports (bound, not listening, SO_REUSEPORT) so
that they stay ours while workers come and go, forks the workers before anything has started a
thread or an event loop, restarts those that die, and passes signals on. Each worker is a whole
gateway with its own listening sockets; the kernel spreads connections over them.

What workers tell each other is written to a board (`cardan_router.workers.board`): metrics, recent
receipts, what was scraped. Routing needs none of it to be right: candidates follow from the prompt.
"""

from __future__ import annotations

from cardan_router.workers.board import Board, Published
from cardan_router.workers.supervisor import WorkerSlot, run_workers

__all__ = ["Board", "Published", "WorkerSlot", "run_workers"]
