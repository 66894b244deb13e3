"""TLS of the front doors: a server context whose certificate can be replaced while it serves."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from cardan.errors import ConfigError

if TYPE_CHECKING:
    from cardan_router.config import TlsConfig


def make_context(config: TlsConfig) -> ssl.SSLContext:
    """A server context (TLS 1.2 and up); `ConfigError` if certificate and key are no pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, config)
    return context


def reload_context(context: ssl.SSLContext, config: TlsConfig) -> None:
    """New connections get what the files hold now; a bad pair changes nothing and raises."""
    make_context(config)
    _load(context, config)


def read_pair(config: TlsConfig) -> tuple[bytes, bytes]:
    """Private key and certificate chain in PEM, as gRPC wants them, checked to be a pair."""
    make_context(config)
    try:
        return Path(config.key).read_bytes(), Path(config.cert).read_bytes()
    except OSError as error:
        raise ConfigError(f"tls: {error}") from error


def _load(context: ssl.SSLContext, config: TlsConfig) -> None:
    try:
        context.load_cert_chain(config.cert, config.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls: {config.cert} and {config.key}: {error}") from error
