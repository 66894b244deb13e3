"""What routing knows of a request: a narrow view, never the body."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from cardan.value import Value

if TYPE_CHECKING:
    from cardan.instants import Monotonic
    from cardan.prompt import Prompt


class Api(enum.StrEnum):
    """The kind of call, which tells where in the body the prompt is."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSES = "responses"
    MESSAGES = "messages"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    SCORE = "score"
    TOKENIZE = "tokenize"
    OTHER = "other"


class RequestView(Value):
    """One request as the core sees it.

    `prompt` carries the chained block hashes and the sizes (`cardan.prompt`). `slo_ttft_s` is the
    time to first token this request was promised, in seconds from `arrived_at`. `session` and
    `tenant` are what the client named, or "". `deadline_at` is when the answer is worth nothing
    any more, None when the client set none.
    """

    request_id: str
    api: Api
    model: str
    prompt: Prompt
    stream: bool
    arrived_at: Monotonic
    slo_ttft_s: float
    body_bytes: int = 0
    max_tokens: int | None = None
    priority: int = 0
    session: str = ""
    tenant: str = ""
    deadline_at: Monotonic | None = None
