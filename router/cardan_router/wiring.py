"""Parts that follow from the configuration alone, and the check of every file that it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cardan.errors import ConfigError
from cardan.policies.base import Needs

from cardan_router.config_file import read_text
from cardan_router.discovery import FileSource
from cardan_router.fetch import Fetcher
from cardan_router.keys import read_keys
from cardan_router.tls import make_context

if TYPE_CHECKING:
    from cardan_router.config import Config
    from cardan_router.keys import KeyRing


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
    named = (config.api_keys, config.upstream.api_key_file, *tls)
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
    if config.discovery.file:
        FileSource(Path(config.discovery.file), lambda _: None, lambda _: None).read()
