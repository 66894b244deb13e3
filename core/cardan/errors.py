"""The error tree: who has to act on it.

`CardanError` is the root. A `ConfigError` is for the operator, a `RequestError` for the client.
What an engine or a network does wrong is not an exception in the core: it is a
`cardan.lifecycle.Failure`, an event in a request's life.
"""

from __future__ import annotations


class CardanError(Exception):
    """Root of everything this project raises on purpose."""


class ConfigError(CardanError):
    """The configuration is wrong. The message names the path of the field."""


class RequestError(CardanError):
    """The client's request is wrong.

    `param` names the offending field in the client's own words (None when it is the whole body),
    `code` is a stable word for programs.
    """

    def __init__(
        self, message: str, *, param: str | None = None, code: str = "invalid_value"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
