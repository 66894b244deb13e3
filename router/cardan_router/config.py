"""What can be configured: one tree of frozen structs, the same words in the file and on flags.

A configuration document (YAML, or the flags laid over it) decodes straight into `Config`; a typo,
a wrong type or a bound fails with the path of the field. Nothing reads the environment and nothing
is read twice: the process is built from one `Config` value, and a reload makes another one.

Most leaves can change while the process runs. Those in `FIXED` cannot: sockets are bound and
endpoints' memory is laid out when the process starts.
"""

from __future__ import annotations

import ipaddress
import itertools
import urllib.parse
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import msgspec
from cardan.endpoint import Endpoint
from cardan.errors import ConfigError
from cardan.fleet import FleetConfig
from cardan.policies import AnyPolicy, DualMap
from cardan.prompt import KeyConfig
from cardan.retries import RetryConfig
from cardan.scheduler import AdmissionConfig

from cardan_router.discovery_config import DiscoveryConfig
from cardan_router.grpc.limits import GrpcLimits
from cardan_router.limits import (
    HttpConfig,
    LimitsConfig,
    PrewarmConfig,
    TimeoutsConfig,
    UpstreamConfig,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: unknown fields are typos."""


class TlsConfig(Section, frozen=True):
    """TLS for the front doors (HTTP and gRPC); both files or none.

    `cert` is a PEM file with the certificate and its chain, `key` its private key. Both are read
    again at SIGHUP: new connections get the new certificate.
    """

    cert: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ValueError("cert and key belong together: give both or none")

    @property
    def enabled(self) -> bool:
        """Is TLS asked for?"""
        return bool(self.cert)


class SloConfig(Section, frozen=True):
    """Time to first token that requests are promised, in milliseconds.

    `ttft_ms` is the default, `models` names others by model; the header `x-slo-ttft-ms` of a
    request wins over both. 5,000 ms is the paper's target for interactive chat (DualMap, §5).
    """

    ttft_ms: Positive = 5000.0
    models: dict[str, Positive] = {}

    def ttft_s(self, model: str) -> float:
        """The promise for a model, in seconds."""
        return self.models.get(model, self.ttft_ms) / 1000.0


class ProbeConfig(Section, frozen=True):
    """How engines are asked who they are and whether they are well.

    The period and the time limit of the health probe are `fleet.health`'s. `reintrospect_s` is how
    often a healthy engine is asked again for its models (adapters come and go).
    `max_concurrent` bounds probes in the air, `max_per_s` their rate: with more endpoints than
    that, the period grows (200 probes cost about 3 % of a core).
    """

    reintrospect_s: Positive = 30.0
    max_concurrent: Annotated[int, msgspec.Meta(ge=1)] = 64
    max_per_s: Positive = 200.0


class ScrapeConfig(Section, frozen=True):
    """Reading the engines' own metrics.

    `when`: `auto` scrapes if the policy asks for engine metrics, `always` also for `/metrics` and
    `/ui` alone, `never` not at all. An engine is asked at most every `interval_s`; all of them
    together at most `max_per_s` times a second (reading one costs 0.4 ms), so a fleet of more is
    asked less often.
    """

    when: Literal["auto", "always", "never"] = "auto"
    interval_s: Annotated[float, msgspec.Meta(ge=1.0)] = 1.0
    timeout_s: Positive = 1.0
    max_concurrent: Annotated[int, msgspec.Meta(ge=1)] = 16
    max_per_s: Positive = 200.0


class LogConfig(Section, frozen=True):
    """Logs.

    `format` and `level` are of the process's own log on standard error. `access` is where one JSON
    line for each request goes: `-` for standard output, a file's path, or `off`.
    `access_sample` is the share of successful requests that is logged; all others always are.
    """

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    access: str = "-"
    access_sample: Ratio = 1.0


class ShutdownConfig(Section, frozen=True):
    """SIGTERM: not ready at once, then what runs may finish within `grace_s`.

    With `linger_s` it first serves on, for that long and until every client has been told to come
    by another connection (`connection: close`) or has asked nothing for that long. So nothing is
    lost while load balancers still send clients here, nor by those that keep connections: give it
    more than they keep an idle one (5 s in httpx and the OpenAI SDK). An interrupt does not linger.
    """

    grace_s: NotNegative = 30.0
    linger_s: NotNegative = 0.0

    @property
    def total_s(self) -> float:
        """The longest that an end in peace takes, but for the last words."""
        return self.linger_s + self.grace_s


class ReloadConfig(Section, frozen=True):
    """When the configuration, the keys and the certificates are read again.

    At SIGHUP, and where `poll_s` is not 0 also when one of these files has changed: they are
    looked at that often, in seconds. In a container nobody sends signals; mounted ConfigMaps and
    Secrets change by themselves, each in its own time: a reload that fails is tried again at every
    look.
    """

    poll_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0


class UiConfig(Section, frozen=True):
    """The status page at `/ui`. `receipts` is how many recent decisions it keeps."""

    enabled: bool = True
    receipts: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 50


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[V6]:PORT` or `:PORT` (all interfaces); port 0 lets the kernel choose.

    Raises `ValueError`.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdecimal():
        raise ValueError(f"{text!r} is not HOST:PORT")
    port = int(port_text)
    if port > 65535:
        raise ValueError(f"{text!r}: there is no port {port}")
    if host.startswith("["):
        if not host.endswith("]"):
            raise ValueError(f"{text!r} is not [HOST]:PORT")
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address needs brackets")
    return Address(host or "0.0.0.0", port)  # noqa: S104 - `:PORT` says so


def check_listeners(fields: Mapping[str, str]) -> None:
    """Raise `ValueError` if two of these (by field; empty: none) want the same port."""
    addresses = {name: parse_address(text) for name, text in fields.items() if text}
    for (one, a), (other, b) in itertools.combinations(addresses.items(), 2):
        if a.port and a.port == b.port and _overlap(a.host, b.host):
            raise ValueError(f"{one} ({a}) and {other} ({b}) cannot share a port")


def _overlap(one: str, other: str) -> bool:
    """Do two hosts, as they are written, mean a common address?"""
    if (":" in one) != (":" in other):
        return False
    return one == other or bool({one, other} & {"0.0.0.0", "::"})  # noqa: S104 - compared only


def check_endpoint(endpoint: Endpoint) -> None:
    """Raise `ValueError` unless an endpoint's URL is an origin and its weight usable."""
    url = urllib.parse.urlsplit(endpoint.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"{endpoint.url!r} is not http://HOST:PORT")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError(f"{endpoint.url!r} has a path: give the origin, as http://HOST:PORT")
    if url.username is not None or url.password is not None:
        raise ValueError("an endpoint's URL carries no user or password")
    url.port  # noqa: B018 - raises ValueError if it is no port
    if not 0 < endpoint.weight < float("inf"):
        raise ValueError(f"{endpoint.url!r}: weight must be positive")


def check_endpoints(endpoints: Iterable[Endpoint]) -> None:
    """Raise `ValueError` if one is wrong or two have the same name."""
    seen = set()
    for endpoint in endpoints:
        check_endpoint(endpoint)
        if endpoint.id in seen:
            raise ValueError(f"two endpoints are called {endpoint.id!r}")
        seen.add(endpoint.id)


class Config(Section, frozen=True):
    """Everything that can be configured of `cardan router`.

    `listen` is the HTTP front door, `grpc` the gRPC one (empty: none), `admin` an HTTP listener of
    its own for `/metrics` and `/ui` (empty: both are on `listen`). `api_keys` is a file of hashed
    keys (empty: everybody may call). `seed` fixes the random ties of routing, for tests and
    comparisons. `workers` processes share the listeners.
    """

    listen: str = "127.0.0.1:8080"
    grpc: str = ""
    admin: str = ""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    endpoints: tuple[Endpoint, ...] = ()
    discovery: DiscoveryConfig = DiscoveryConfig()
    policy: AnyPolicy = DualMap()
    routing_key: KeyConfig = KeyConfig()
    slo: SloConfig = SloConfig()
    admission: AdmissionConfig = AdmissionConfig()
    retry: RetryConfig = RetryConfig()
    limits: LimitsConfig = LimitsConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()
    upstream: UpstreamConfig = UpstreamConfig()
    http: HttpConfig = HttpConfig()
    grpc_limits: GrpcLimits = GrpcLimits()
    fleet: FleetConfig = FleetConfig()
    probe: ProbeConfig = ProbeConfig()
    scrape: ScrapeConfig = ScrapeConfig()
    prewarm: PrewarmConfig = PrewarmConfig()
    api_keys: str = ""
    tls: TlsConfig = TlsConfig()
    log: LogConfig = LogConfig()
    ui: UiConfig = UiConfig()
    shutdown: ShutdownConfig = ShutdownConfig()
    reload: ReloadConfig = ReloadConfig()
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("listen", "grpc", "admin"):
            text = getattr(self, name)
            if text or name == "listen":
                try:
                    parse_address(text)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        check_listeners({name: getattr(self, name) for name in ("listen", "grpc", "admin")})
        check_endpoints(self.endpoints)
        if self.routing_key.block_tokens != self.fleet.block_tokens:
            raise ValueError("routing_key.block_tokens and fleet.block_tokens must be equal")

    def check_complete(self) -> None:
        """Raise `ConfigError` if a gateway cannot be started from this."""
        discovery = self.discovery
        if not self.endpoints and not discovery.file and discovery.kubernetes is None:
            raise ConfigError(
                "no endpoints: give --endpoint URL, --discovery-file FILE,"
                " --discovery-kubernetes-kind KIND, or `endpoints:` in the configuration file"
            )


FIXED: Final = (
    *("listen", "grpc", "grpc_limits", "http", "admin", "workers", "fleet", "ui", "seed"),
)
"""Fields that only a restart changes."""


def keep_fixed(running: Config, wanted: Config) -> tuple[Config, list[str]]:
    """`wanted` with what cannot change taken from `running`, and the names of those that differ.

    Of two fields half can change: TLS takes new files but is not turned on or off, and gRPC does
    not learn of another size of messages.
    """
    refused = [name for name in FIXED if getattr(running, name) != getattr(wanted, name)]
    if running.tls.enabled != wanted.tls.enabled:
        refused.append("tls")
    kept = {name: getattr(running, name) for name in refused}
    if running.grpc and running.limits.max_body_bytes != wanted.limits.max_body_bytes:
        refused.append("limits.max_body_bytes for gRPC")
    return msgspec.structs.replace(wanted, **kept), refused
