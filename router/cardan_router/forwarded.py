"""The paths that an engine answers: the one table of what is passed on, for every front door.

An engine is asked under the path that stands here, whatever the client wrote, and under no other.
"""

from __future__ import annotations

from typing import NamedTuple

from cardan.request import Api


class Forwarded(NamedTuple):
    """A path that an engine answers: POST, JSON, by the engine's own path."""

    path: str
    api: Api


OPENAI_ROUTES: tuple[Forwarded, ...] = (
    Forwarded("/v1/chat/completions", Api.CHAT),
    Forwarded("/v1/completions", Api.COMPLETION),
    Forwarded("/v1/embeddings", Api.EMBEDDING),
    Forwarded("/v1/responses", Api.RESPONSES),
    Forwarded("/v1/messages", Api.MESSAGES),
    Forwarded("/tokenize", Api.TOKENIZE),
    Forwarded("/detokenize", Api.OTHER),
    Forwarded("/rerank", Api.RERANK),
    Forwarded("/v1/rerank", Api.RERANK),
    Forwarded("/v2/rerank", Api.RERANK),
    Forwarded("/score", Api.SCORE),
    Forwarded("/v1/score", Api.SCORE),
)
