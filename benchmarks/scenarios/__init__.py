"""What today's gateways do badly, one function each: it plays the scenario and says what came."""

from __future__ import annotations

from benchmarks.scenarios import clients, engines, surface
from benchmarks.scenarios.stage import Finding, Scenario

ALL: tuple[Scenario, ...] = (
    Scenario("a reader stalls on 200 MB", "≤ 2 MB", clients.stalled_reader),
    Scenario("a client leaves a silent stream", "≤ 1 s", clients.silent_leave),
    Scenario("unfinished heads", "cut ≤ 30 s, others served", clients.unfinished_heads),
    Scenario("5,000 idle clients", "≤ 20 MB", clients.idle_clients),
    Scenario("the owner of a prefix dies", "none fails", engines.owner_dies),
    Scenario("1 s of 503 from all, then recovery", "first is served", engines.all_refuse),
    Scenario("an engine returns", "traffic ≤ 5 s", engines.engine_returns),
    Scenario("a 500 is an answer", "1 try, 500", engines.internal_error),
    Scenario("a poisonous prompt: reset", "≤ 2 tries", engines.poisonous_reset),
    Scenario("a poisonous prompt: broken head", "≤ 2 tries", engines.poisonous_head),
    Scenario("keep-alive closes at the wrong moment", "none fails", engines.keep_alive_race),
    Scenario("administration paths", "none reaches an engine", surface.admin_paths),
    Scenario("unknown body fields", "none lost or changed", surface.unknown_fields),
    Scenario("engine addresses in answers", "none", surface.address_leaks),
)

__all__ = ["ALL", "Finding", "Scenario"]
