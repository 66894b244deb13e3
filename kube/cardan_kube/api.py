"""Requests to the API server.

The package `kubernetes` knows where the server is and who we are: the service account of the pod
(its token is read again every minute), a kubeconfig with its certificates, tokens and exec
plug-ins. Its models are not used: one pod as an object of theirs costs a hundred times what
decoding the fields that matter does. Importing it takes 0.3 s and 28 MB, so it is imported only
where discovery wants it, and by the supervisor of workers before they fork.

Every way to fail becomes an `ApiError` with one word, for the reflector and the metric. What has to
do with the way there (no connection, no credentials, a token that is no longer good) makes the next
request read the configuration again: certificates and tokens are replaced while we run. Requests
that are in the air then go on: they keep the client that they began with, and the last one closes
it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

import yaml
from cardan.errors import CardanError, ConfigError

from cardan_kube.frames import read_status
from cardan_kube.reflector import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    import aiohttp

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Where it answers at all it does so within milliseconds; a list of thousands of pods is prepared
# for some seconds by a busy one.
CONNECT_S: Final = 5.0
ANSWER_S: Final = 30.0
# An API server sends a bookmark about once a minute; one and a half without a byte is a connection
# that has died without saying so.
SILENCE_S: Final = 90.0
# 250 pods of 8 KB are 2 MB; thirty times that is no page of a list.
MAX_PAGE_BYTES: Final = 64 * 1024 * 1024
MAX_REFUSAL_BYTES: Final = 64 * 1024

_FAULTS: Final = {
    401: Fault.UNAUTHORIZED,
    403: Fault.FORBIDDEN,
    404: Fault.NOT_FOUND,
    409: Fault.CONFLICT,
    410: Fault.EXPIRED,
    422: Fault.INVALID,
    429: Fault.OVERLOADED,
    503: Fault.OVERLOADED,
}
# What reading a configuration that is none raises, beside the package's own error.
_UNREADABLE: Final = (yaml.YAMLError, OSError, ValueError, TypeError, KeyError)
# BROKEN is among them since with TLS 1.3 a certificate of ours that is no longer good shows as a
# connection that is closed after the handshake.
_THE_WAY_THERE: Final = frozenset(
    {Fault.UNREACHABLE, Fault.UNAUTHORIZED, Fault.CREDENTIALS, Fault.BROKEN}
)


class ApiError(CardanError):
    """A request to the API failed."""

    def __init__(self, fault: Fault, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.fault = fault
        self.retry_after_s = retry_after_s


def fault_of(status: int) -> Fault:
    """The word for a status that is no success."""
    return _FAULTS.get(status, Fault.REFUSED)


class Request(NamedTuple):
    """A write: what is to be done to which object. `body` becomes JSON; None sends nothing."""

    method: str
    path: str
    body: object = None
    content_type: str = "application/json"
    query: Mapping[str, str] = {}


class Api(Protocol):
    """What a watcher needs of an API server."""

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """A whole answer; raises `ApiError`."""

    def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """An answer as it comes, an empty piece first: it has begun; raises `ApiError`.

        Leaving it closes the connection.
        """

    async def close(self) -> None:
        """Drop all connections, those in use when their requests end."""


def check_installed(wanted_by: str) -> None:
    """Import the package; `ConfigError` saying what to do where it is missing."""
    try:
        import kubernetes.aio.client
        import kubernetes.aio.config  # noqa: F401 - for the worker processes to be
    except ModuleNotFoundError as error:
        missing = (error.name or "kubernetes").partition(".")[0]
        raise ConfigError(
            f"{wanted_by}: {missing} is not installed; in the checkout: pip install '.[kubernetes]'"
        ) from error


def own_namespace(kubeconfig: str) -> str:
    """The namespace to watch where none is configured: the pod's own, or the kubeconfig's."""
    from kubernetes.aio.config import ConfigException, list_kube_config_contexts

    try:
        if in_cluster(kubeconfig):
            return (SERVICE_ACCOUNT / "namespace").read_text().strip()
        _, context = list_kube_config_contexts(kubeconfig or None)
        return str(context["context"].get("namespace") or "default")
    except (ConfigException, AttributeError, *_UNREADABLE):
        return "default"  # whatever is wrong with it, the first request says it better


def in_cluster(kubeconfig: str) -> bool:
    """Is the service account of this pod to be used? A pod without one may have a kubeconfig."""
    inside = "KUBERNETES_SERVICE_HOST" in os.environ
    account = (SERVICE_ACCOUNT / "token").is_file()
    return not kubeconfig and inside and (account or "KUBECONFIG" not in os.environ)


def outside(kubeconfig: str) -> str:
    """Why there is no API server to ask, now or later; empty if a configuration names one."""
    from kubernetes.aio.config import KUBE_CONFIG_DEFAULT_LOCATION

    where = kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION
    if in_cluster(kubeconfig) or _any_file(where):
        return ""
    return f"this is no pod of a cluster, and there is no {where}"


class KubernetesApi:
    """One API server, as the configuration says that it is reached.

    `agent` is who asks, for the server's audit log.
    """

    def __init__(self, kubeconfig: str, agent: str = "cardan") -> None:
        self._kubeconfig = kubeconfig
        self._agent = agent
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._in_the_air: dict[Any, int] = {}  # requests, by client

    async def close(self) -> None:
        """See `Api`; the next request reads the configuration again."""
        client, self._client = self._client, None
        if client is not None and not self._in_the_air.get(client):
            await client.close()

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """See `Api`."""
        body = bytearray()
        async with aclosing(self._chunks(path, query, ANSWER_S)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_PAGE_BYTES:
                    raise ApiError(Fault.GARBAGE, f"a list is over {MAX_PAGE_BYTES} bytes")
        return bytes(body)

    def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """See `Api`."""
        return self._chunks(path, query, SILENCE_S)

    async def send(self, request: Request) -> bytes:
        """Send a write and return what the server made of it; raises `ApiError`.

        Not tried again: whether it took effect is not known when the answer is lost.
        """
        body = bytearray()
        async for chunk in self._chunks(request.path, request.query, ANSWER_S, request):
            body += chunk
        return bytes(body)

    async def _chunks(
        self,
        path: str,
        query: Mapping[str, str],
        silence_s: float,
        write: Request | None = None,
    ) -> AsyncGenerator[bytes]:
        import aiohttp

        async with self._borrowed() as client:
            try:
                response = await self._open(client, path, query, silence_s, write)
                try:
                    if not response.ok:
                        raise await _refusal(response)
                    yield b""
                    async for chunk in response.content.iter_any():
                        yield chunk
                finally:
                    response.close()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _translated(error) from error

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Any]:
        """The client for one request; forgotten, not closed under others, if it leads nowhere."""
        async with self._connecting:
            client = self._client = self._client or await _connect(self._kubeconfig)
            self._in_the_air[client] = self._in_the_air.get(client, 0) + 1
        try:
            yield client
        except ApiError as error:
            if error.fault in _THE_WAY_THERE and self._client is client:
                self._client = None
            raise
        finally:
            self._in_the_air[client] -= 1
            if not self._in_the_air[client]:
                del self._in_the_air[client]
                if self._client is not client:
                    await client.close()

    async def _open(
        self,
        client: Any,  # noqa: ANN401 - the package's client is not typed
        path: str,
        query: Mapping[str, str],
        silence_s: float,
        write: Request | None,
    ) -> aiohttp.ClientResponse:
        import aiohttp
        from kubernetes.aio.config import ConfigException

        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",  # the network is near, and inflating is CPU time of ours
            "user-agent": self._agent,
        }
        if write is not None:
            headers["Content-Type"] = write.content_type
        method = "GET" if write is None else write.method
        try:  # a token that was read a while ago is read again
            await client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        except (ConfigException, *_UNREADABLE) as error:
            raise _no_credentials(error) from error
        answer = await client.rest_client.request(
            method,
            f"{client.configuration.host}{path}?{urlencode(query)}",
            headers=headers,
            body=None if write is None else write.body,
            _request_timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_S, sock_read=silence_s
            ),
        )
        response: aiohttp.ClientResponse = answer.response
        return response


async def _connect(kubeconfig: str) -> Any:  # noqa: ANN401 - the package's client is not typed
    """A client of the package, configured."""
    from kubernetes.aio.client import ApiClient, Configuration
    from kubernetes.aio.config import (
        KUBE_CONFIG_DEFAULT_LOCATION,
        ConfigException,
        load_incluster_config,
        load_kube_config,
    )

    configuration = Configuration()
    where = kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION
    try:
        if in_cluster(kubeconfig):
            load_incluster_config(configuration)
        elif nowhere := outside(kubeconfig):
            raise ConfigException(nowhere)
        else:
            async with asyncio.timeout(ANSWER_S):  # it may run a plug-in
                await load_kube_config(
                    config_file=where,
                    client_configuration=configuration,
                    persist_config=False,
                )
        # Python 3.13 wants extensions in certificates that the CAs of many clusters lack, and that
        # no other client asks for. Chain, name and dates are verified all the same.
        configuration.disable_strict_ssl_verification = True
        return ApiClient(configuration)
    except (ConfigException, *_UNREADABLE) as error:
        raise _no_credentials(error) from error


def _no_credentials(error: Exception) -> ApiError:
    words = str(error) or f"{type(error).__name__} after {ANSWER_S:g} s"
    return ApiError(Fault.CREDENTIALS, f"no credentials for the API: {words}")


def _any_file(paths: str) -> bool:
    return any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep))


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    """What an answer that is no success says."""
    body = await response.content.read(MAX_REFUSAL_BYTES)
    text = read_status(body).message or f"{response.status} for {response.url.path}"
    wait = response.headers.get("retry-after", "")
    wait_s = float(wait) if wait.isascii() and wait.isdecimal() else 0.0
    return ApiError(fault_of(response.status), text, wait_s)


def _translated(error: Exception) -> ApiError:
    """The word for what went wrong below HTTP."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        of_the_system = (cause.errno or 0) > 0 and not isinstance(cause, ssl.SSLError)
        reason = os.strerror(cause.errno or 0) if of_the_system else str(cause)
        where = f"{error.host}:{error.port}"
        return ApiError(Fault.UNREACHABLE, f"no connection to {where}: {reason}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ApiError(Fault.UNREACHABLE, f"no connection within {CONNECT_S:g} s")
    if isinstance(error, TimeoutError):
        return ApiError(Fault.TIMEOUT, "no word from the API in time")
    return ApiError(Fault.BROKEN, f"the connection broke: {str(error) or type(error).__name__}")
