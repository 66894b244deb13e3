"""Parts that follow from the configuration alone, and the check of every file that it names."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cardan.errors import ConfigError
from cardan.policies.base import Needs
from cardan_kube.api import check_installed

from cardan_router.access_log import AccessLog
from cardan_router.config_file import read_text
from cardan_router.discovery import FileSource
from cardan_router.fetch import Fetcher
from cardan_router.keys import read_keys
from cardan_router.rounds import Rounds
from cardan_router.telemetry import metrics
from cardan_router.tls import client_context, make_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from cardan.fleet import EndpointState, Fleet

    from cardan_router.config import Config, ProbeConfig, ScrapeConfig
    from cardan_router.discovery import Membership
    from cardan_router.keys import KeyRing
    from cardan_router.telemetry import Registry


def keys_of(config: Config) -> KeyRing | None:
    """The API keys; None where everybody may call."""
    return read_keys(Path(config.api_keys)) if config.api_keys else None


def with_secrets(config: Config) -> Config:
    """The configuration with the engines' key in it; `ConfigError` if its file is no good."""
    upstream = config.upstream
    if not upstream.api_key_file:
        return config
    document = {"api_key": read_text(Path(upstream.api_key_file)).strip()}
    try:
        key = msgspec.convert(document, type(upstream)).api_key
    except msgspec.ValidationError:
        key = ""
    if not key:  # nothing of what it holds is repeated: the log is no place for keys
        raise ConfigError(f"{upstream.api_key_file}: one line of printable ASCII is expected")
    filled = msgspec.structs.replace(upstream, api_key=key, api_key_file="")
    return msgspec.structs.replace(config, upstream=filled)


def files_of(config: Config, config_path: Path | None) -> list[Path]:
    """The files that a reload reads, but for the discovery file, which is watched by itself."""
    tls = (config.tls.cert, config.tls.key) if config.tls.enabled else ()
    upstream = (config.upstream.api_key_file, config.upstream.tls_ca)
    named = (config.api_keys, *upstream, *tls)
    return [*([config_path] if config_path else []), *(Path(name) for name in named if name)]


def fetcher_of(config: Config) -> Fetcher:
    """What asks engines about themselves, with the engines' key."""
    key = config.upstream.api_key
    headers = (("authorization", f"Bearer {key}"),) if key else ()
    return Fetcher(headers=headers, tls_ca=config.upstream.tls_ca)


def wants_scrape(config: Config) -> bool:
    """Does anybody want to know what engines say of themselves?"""
    if config.scrape.when == "auto":
        return Needs.ENGINE_METRICS in config.policy.needs()
    return config.scrape.when == "always"


def check_files(config: Config) -> None:
    """Read every file the configuration names; `ConfigError` if one is no good."""
    config.check_complete()
    keys_of(config)
    with_secrets(config)
    if config.tls.enabled:
        make_context(config.tls)
    check_upstream(config)
    check_kubernetes(config)
    if config.discovery.file:
        FileSource(Path(config.discovery.file), lambda _: None, lambda _: None).read()


def check_upstream(config: Config) -> None:
    """Raise `ConfigError` where the file of who signs for engines is no good."""
    if config.upstream.tls_ca:
        client_context(config.upstream.tls_ca)


def check_kubernetes(config: Config) -> None:
    """Raise `ConfigError` where a cluster is to be watched and the package or a file is missing."""
    wanted = config.discovery.kubernetes
    if wanted is None:
        return
    check_installed("discovery.kubernetes")
    if wanted.kubeconfig and not Path(wanted.kubeconfig).is_file():
        raise ConfigError(f"discovery.kubernetes.kubeconfig: {wanted.kubeconfig}: no such file")


def file_source_of(config: Config, membership: Membership, registry: Registry) -> FileSource | None:
    """The watched file of endpoints, if there is one; it reports to `membership`."""
    if not config.discovery.file:
        return None
    loads = registry.counter(metrics.DISCOVERY)
    return FileSource(
        Path(config.discovery.file),
        partial(membership.report, "file"),
        lambda good: loads.add(("file", "ok" if good else "failed")),
    )


def open_access_log(config: Config, registry: Registry, *, shared: bool) -> AccessLog:
    """Where requests are logged; `ConfigError` if it cannot be written.

    `shared` says that other processes write to the same standard output.
    """
    dropped = registry.counter(metrics.LOG_DROPPED)
    try:
        return AccessLog(config.log.access, lambda: dropped.add(()), shared=shared)
    except OSError as error:
        raise ConfigError(f"log.access: {config.log.access}: {error.strerror}") from error


def rounds(
    name: str,
    fleet: Fleet,
    visit: Callable[[EndpointState], Awaitable[float]],
    config: ProbeConfig | ScrapeConfig,
    rng: Random,
    eager: Callable[[EndpointState], bool] = lambda _: False,
) -> Rounds:
    """Visits to all endpoints, within the configured bounds."""
    return Rounds(
        *(name, fleet, visit, rng),
        max_concurrent=config.max_concurrent,
        max_per_s=config.max_per_s,
        eager=eager,
    )
