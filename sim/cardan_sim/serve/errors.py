"""A request that gets no answer but an error; the make words and shapes it."""

from __future__ import annotations


class ApiError(Exception):
    """An error with an HTTP status.

    kind: the `type` of the body. param: the field to blame, where the make tells it.
    """

    def __init__(
        self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        """`status` is also the body's `code`."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param


class InvalidError(ApiError):
    """The body does not have the form of its route; `loc` is the field, () the whole body.

    `fault` is the validator's word for it ("missing", "int_parsing", ...).
    """

    def __init__(self, loc: tuple[str | int, ...], fault: str, message: str, shown: str) -> None:
        """`shown` is the offending input as the validator repeats it."""
        param = ".".join(map(str, ("body", *loc)))
        super().__init__(400, message, "Bad Request", param)
        self.loc = loc
        self.fault = fault
        self.shown = shown


class NotFoundError(ApiError):
    """No such route: answered in the web framework's form, not in OpenAI's."""

    def __init__(self) -> None:
        """404."""
        super().__init__(404, "Not Found")


class MethodError(ApiError):
    """The route exists for other methods."""

    def __init__(self, allowed: str) -> None:
        """405; `allowed` goes to the Allow header."""
        super().__init__(405, "Method Not Allowed")
        self.allowed = allowed


class WrongTypeError(InvalidError):
    """The body is not declared as JSON."""

    def __init__(self) -> None:
        """400, as both makes say; never 415."""
        message = "Unsupported Media Type: Only 'application/json' is allowed"
        super().__init__((), "value_error", message, "")
        self.param = None


class NotObjectError(InvalidError):
    """The body is JSON but no object."""

    def __init__(self, kind: str) -> None:
        """`kind` is what it is instead."""
        message = "Input should be a valid dictionary or object to extract fields from"
        super().__init__((), "model_attributes_type", message, f"<{kind}>")
