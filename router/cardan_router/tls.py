"""TLS: a server context whose certificate can be replaced while it serves, and one for engines."""

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


def client_context(signer: str) -> ssl.SSLContext:
    """A context for asking engines; `signer` is a PEM file that signs them ("": the system's).

    `ConfigError` if the file is no good.
    """
    try:
        return ssl.create_default_context(cafile=signer or None)
    except OSError as error:  # which ssl.SSLError is
        why = error.strerror if not isinstance(error, ssl.SSLError) else error
        raise ConfigError(f"upstream.tls_ca: {signer}: {why}") from error


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
    _check_pem("tls.cert", config.cert, "CERTIFICATE-----")
    _check_pem("tls.key", config.key, "PRIVATE KEY-----")
    try:
        context.load_cert_chain(config.cert, config.key, password=lambda: _no_password(config))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"the certificate in {config.cert} was made for another key"
            raise ConfigError(f"tls: {why} than {config.key}") from error
        why = error.reason or str(error)
        raise ConfigError(f"tls: {config.cert} or {config.key} is damaged ({why})") from error
    except OSError as error:
        raise ConfigError(f"tls: {config.cert} and {config.key}: {error.strerror}") from error


def _check_pem(field: str, path: str, mark: str) -> None:
    """OpenSSL says of a wrong file only that it is wrong, not which one it was."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{field}: {path}: {error.strerror}") from error
    if b"-----BEGIN " not in text or mark.encode() not in text:
        what = mark.rstrip("-").lower()
        raise ConfigError(f"{field}: {path} holds no {what} in PEM form (-----BEGIN …-----)")


def _no_password(config: TlsConfig) -> bytes:
    raise ConfigError(
        f"tls.key: {config.key} is encrypted; a server cannot ask for its passphrase, so store the"
        " key without one, readable only by the gateway's user"
    )
