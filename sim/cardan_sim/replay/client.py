"""The HTTP client of the replay: one request out, one sample back, whatever happens to it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Self

import aiohttp
import orjson

from cardan_sim.replay.stream import BodyReader, StreamReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cardan_sim.replay.sample import Sample
    from cardan_sim.traces import WireRequest

# vLLM and SGLang close idle connections after five seconds; ours are given up before, so that a
# request never meets a connection that is being closed.
_KEEPALIVE_S: Final = 3.0
_RECEIPT_HEADER: Final = "x-cardan-explain"


class EndpointUnusableError(Exception):
    """The endpoint cannot be talked to at all; the message says why."""


class ReplayClient:
    """Sends wire requests to one OpenAI base URL, as many at once as are due."""

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_s: float) -> None:
        """`base_url` with or without `/v1`; `timeout_s` bounds one whole request."""
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        headers = {"content-type": "application/json"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            headers=headers,
        )

    async def __aenter__(self) -> Self:
        """The client is ready as soon as it is made."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self._session.close()

    async def first_model(self) -> str:
        """The first model the endpoint lists. Raises EndpointUnusableError."""
        url = f"{self.base_url}/v1/models"
        try:
            async with self._session.get(url) as response:
                listing = await response.read()
                if response.status != 200:
                    raise EndpointUnusableError(f"{url} answered {response.status}")
            return str(orjson.loads(listing)["data"][0]["id"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EndpointUnusableError(f"{url}: {in_words(error)}") from error
        except (orjson.JSONDecodeError, LookupError, TypeError) as error:
            raise EndpointUnusableError(f"{url} names no model: give --model") from error

    async def send(
        self,
        wire: WireRequest,
        sample: Sample,
        *,
        origin_s: float,
        on_first: Callable[[], None] = lambda: None,
    ) -> None:
        """Send one request and fill its sample; no failure of the request is raised.

        `origin_s` is the reading of `time.perf_counter()` that the sample's times count from.
        Times are taken when the event loop hands over what the socket received.
        """
        try:
            sample.error = await self._exchange(wire, sample, origin_s, on_first)
        except TimeoutError:
            sample.error = "timeout"
        except aiohttp.ClientConnectorError:
            sample.error = "connect"
        except aiohttp.ServerDisconnectedError:
            sample.error = "closed before the answer"
        except aiohttp.ClientPayloadError:
            sample.error = "cut"
        except aiohttp.ClientResponseError:
            sample.error = "broken HTTP"
        except (aiohttp.ClientOSError, ConnectionError):
            sample.error = "reset"
        sample.end_s = time.perf_counter() - origin_s

    async def _exchange(
        self, wire: WireRequest, sample: Sample, origin_s: float, on_first: Callable[[], None]
    ) -> str | None:
        async with self._session.post(
            self.base_url + wire.path, data=wire.body, headers={_RECEIPT_HEADER: "1"}
        ) as response:
            sample.endpoint = endpoint_of(response.headers.get(_RECEIPT_HEADER))
            if response.status != 200:
                await response.read()
                return f"http {response.status}"
            streamed = response.content_type == "text/event-stream"
            reader = StreamReader(sample) if streamed else BodyReader(sample)
            async for chunk in response.content.iter_any():
                waiting = sample.first_s is None
                reader.feed(chunk, time.perf_counter() - origin_s)
                if waiting and sample.first_s is not None:
                    on_first()
            return reader.end()


def in_words(error: aiohttp.ClientError | TimeoutError) -> str:
    """Why there was no answer, for somebody who mistyped an address or forgot to start a server."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "no such host"
        case aiohttp.ClientConnectorCertificateError():
            return f"its TLS certificate is not trusted ({error.certificate_error})"
        case aiohttp.ClientSSLError():
            return "it does not speak TLS: is the scheme http://?"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "nothing listens there (connection refused)"
        case aiohttp.ClientConnectorError():
            return f"cannot connect: {os.strerror(error.errno) if error.errno else error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case aiohttp.ClientResponseError():
            return "what answers there does not speak HTTP"
        case TimeoutError():
            return "it did not answer in time"
    return str(error)


def endpoint_of(receipt: str | None) -> str | None:
    """The endpoint a gateway's route receipt names, or None without a readable one."""
    if receipt is None:
        return None
    try:
        fields = orjson.loads(receipt)
    except orjson.JSONDecodeError:
        return None
    endpoint = fields.get("endpoint") if isinstance(fields, dict) else None
    return endpoint if isinstance(endpoint, str) else None
