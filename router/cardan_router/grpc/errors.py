"""Failures as google.rpc statuses.

Every failed call carries an `ErrorInfo` (domain `cardan.dev`, a stable reason, the request id), a
`BadRequest` that names the field when one is wrong, and a `RetryInfo` when trying again makes
sense. Which failure is which status stands in `cardan_router.rejections`, beside HTTP's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from cardan.errors import CardanError
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from cardan_router import rejections

if TYPE_CHECKING:
    from cardan.errors import RequestError
    from cardan.lifecycle import Reject
    from google.protobuf.message import Message

    from cardan_router.rejections import Told

DOMAIN = "cardan.dev"
# Where clients look for the details of a status (the gRPC protocol's name for it).
DETAILS = "grpc-status-details-bin"
# A status travels in HTTP/2 trailers, which peers bound (8 KiB by default in gRPC), and it carries
# the message twice.
MAX_MESSAGE_CHARS = 1024


class CallError(CardanError):
    """A call that fails: status code, stable reason, message, and what helps the client.

    `param` is the wrong field in the client's own words; `retry_after_s` is set when trying again
    makes sense.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message[:MAX_MESSAGE_CHARS]
        self.param = param
        self.retry_after_s = retry_after_s

    def details(self, request_id: str) -> bytes:
        """The google.rpc.Status, serialised: the value of the trailer `DETAILS`."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self._details(request_id):
            status.details.add().Pack(detail)
        serialised: bytes = status.SerializeToString()
        return serialised

    def _details(self, request_id: str) -> list[Message]:
        metadata = {"request_id": request_id} if request_id else {}
        details: list[Message] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=metadata)
        ]
        if self.param is not None:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self.param, description=self.message
            )
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.retry_after_s is not None:
            details.append(error_details_pb2.RetryInfo(retry_delay=duration(self.retry_after_s)))
        return details


def duration(seconds: float) -> duration_pb2.Duration:
    """Seconds as a protobuf duration, to the millisecond."""
    out = duration_pb2.Duration()
    out.FromMilliseconds(round(seconds * 1000))
    return out


# What an engine's own HTTP error means in gRPC's words (google.rpc.Code names the HTTP statuses).
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(http_status: int) -> grpc.StatusCode:
    """The status code for an engine's HTTP status."""
    if http_status in _STATUS:
        return _STATUS[http_status]
    known = 400 <= http_status < 500
    return grpc.StatusCode.FAILED_PRECONDITION if known else grpc.StatusCode.INTERNAL


def of_told(told: Told, message: str, param: str | None = None) -> CallError:
    """An entry of the table of rejections."""
    return CallError(grpc.StatusCode[told.grpc], told.code.upper(), message, param=param)


def of_reject(reject: Reject) -> CallError:
    """A request that was turned away."""
    error = of_told(rejections.of_reject(reject), reject.message)
    error.retry_after_s = reject.retry_after_s
    return error


def of_request_error(error: RequestError) -> CallError:
    """A request that is wrong."""
    return of_told(rejections.of_error(error), error.message, error.param)
