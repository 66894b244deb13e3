"""What the words in receipts, metrics and the access log mean: for the status page and the docs.

`docs/reference/receipts-and-outcomes.md` is generated from this; tests hold it to the code.
"""

from __future__ import annotations

from typing import Final

from cardan.decision import Reason
from cardan.ledger import Outcome

REASONS: Final[dict[Reason, str]] = {
    Reason.WARM: "the candidate that holds the longest prefix of this prompt fits the budget (the"
    " share `theta` of the promised time to first token)",
    Reason.TIE: "the candidates hold equally much of the prompt, often nothing yet: the one that"
    " will answer sooner, or has less in flight",
    Reason.SWITCH: "the warmest candidate would be too late, the other one will not",
    Reason.SPILL: "no candidate fits the budget, an endpoint outside of them does",
    Reason.HOPELESS: "nobody fits the budget: the warmest candidate wastes the least work",
    Reason.ORDERED: "the first candidate in hash order that fits the budget",
    Reason.LEAST_TTFT: "the least predicted time to first token: without a prefix to go by, or"
    " where the budget is missed anyway",
    Reason.DRAINING_WARM: "a draining endpoint still holds this prefix and answers sooner",
    Reason.POLICY: "the policy's one rule (round-robin, random, least-request, p2c, …)",
    Reason.AFFINITY: "the owner of this session or prefix, in policies that know one",
    Reason.BALANCE: "the owner of this session or prefix had too much to do",
    Reason.ONLY: "there was just one to choose",
    Reason.FIRST_TURN: "nobody is known to hold any of this prompt's own part: an endpoint outside"
    " its candidates answers sooner",
    Reason.LATE: "late wherever it goes, for the work that is there: it waits where it makes nobody"
    " else late",
    Reason.MIGRATED: "it waited its turn at another candidate, which had too much to do, and was"
    " moved here (`admission.queues`)",
}

OUTCOMES: Final[dict[Outcome, str]] = {
    Outcome.OK: "answered in full",
    Outcome.CLIENT_ERROR: "the engine answered 4xx: the request was wrong",
    Outcome.ENGINE_ERROR: "the engine answered 5xx, or with an error event in its stream",
    Outcome.REFUSED: "every engine that was tried had no room",
    Outcome.UNREACHABLE: "no connection could be made to any engine that was tried",
    Outcome.RESET: "the engine broke off before its answer began",
    Outcome.CUT: "the engine broke off while it answered",
    Outcome.TIMEOUT: "the engine was silent for too long (`timeouts.first_byte_s`, `idle_s`)",
    Outcome.CLIENT_LEFT: "the client left before the end",
    Outcome.DEADLINE: "the request's own deadline passed",
    Outcome.SHED: "never sent to an engine: no room, no endpoint, or too long in the queue",
    Outcome.INTERNAL: "something in the gateway itself failed: a bug, with a traceback in its log",
    Outcome.INVALID: "never sent to an engine: the request was wrong (an unknown model, no key, …)",
}

CLIENTS_OWN: Final = frozenset(
    {Outcome.OK, Outcome.CLIENT_ERROR, Outcome.CLIENT_LEFT, Outcome.INVALID}
)
"""Outcomes that are no failure to serve. All others are: alert on these."""

UNSERVED: Final = tuple(outcome for outcome in Outcome if outcome not in CLIENTS_OWN)

RECEIPT: Final[dict[str, str]] = {
    "request_id": "as in `x-request-id`",
    "endpoint": "who was chosen: its name, or `endpoint-` and eight digits if it has none",
    "reason": "why, in a word of the table above",
    "key": "the routing key, in hex: prompts with the same key have the same candidates",
    "depth": "how many prefix blocks the key stands for; 0 where the policy looks at no prompt",
    "moved": "has an operator given the key other owners than hashing would?",
    "predicted_ttft_s": "time to first token that was predicted there, waiting included",
    "predicted_cached_tokens": "prompt tokens it was believed to hold, as the engine counts them",
    "candidates": "who was considered, each with `endpoint`, `ttft_s`, `backlog_s` (wait for work"
    " that is already there), `cached_tokens` and `uncached_tokens`",
    "attempts": "endpoints that were tried, the answering one included",
    "queued_s": "from arrival to the dispatch that was answered",
}

QUEUED_RECEIPT: Final[dict[str, str]] = {
    "assigned": "only of a request that waited for its turn (`admission.queues`): the `endpoint` it"
    " was assigned to at first, for which `reason`, the `predicted_ttft_s` there, and for how long"
    " it has `waited_s` since, with how many `migrations` to other candidates",
}

ACCESS_LOG: Final[dict[str, str]] = {
    "time": "when the request ended, seconds since 1970",
    "request_id": "as in `x-request-id`",
    "tenant": "name of the key; empty where everybody may call",
    "api": "kind of call: chat, completions, …",
    "model": "as the request names it",
    "stream": "was a stream asked for?",
    "status": "HTTP status; null where none was sent",
    "outcome": "what became of it, in a word of the table above",
    "attempts": "endpoints that were tried",
    "body_bytes": "size of the request's body",
    "bytes_out": "bytes of the answer's body that were handed to the client",
    "ttft_s": "arrival to first byte of the answer; null if none came",
    "queue_s": "arrival to the dispatch that was answered; null if there was none",
    "duration_s": "arrival to end",
    "endpoint": "who was asked last: its name, or its URL (this log is the operator's)",
    "reason": "why there",
    "predicted_ttft_s": "what was predicted",
    "predicted_cached_tokens": "what was believed cached, in the engine's tokens",
    "prompt_tokens": "as the engine reported, as the next two; null where it did not say",
    "cached_tokens": "prompt tokens that it found in its cache",
    "completion_tokens": "tokens that it generated",
    "path": "only of requests refused before they were read: the path",
    "code": "only of those: the code of the error they were answered with",
}


def document() -> dict[str, object]:
    """The words for the status page."""
    return {
        "reasons": {reason.value: text for reason, text in REASONS.items()},
        "outcomes": {outcome.value: text for outcome, text in OUTCOMES.items()},
        "unserved": [outcome.value for outcome in UNSERVED],
    }
