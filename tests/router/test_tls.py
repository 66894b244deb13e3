"""TLS files: what is wrong with them is said in words, with the file that is meant."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from cardan.errors import ConfigError
from cardan_router.config import TlsConfig
from cardan_router.tls import make_context

if TYPE_CHECKING:
    from pathlib import Path


def openssl(*argv: str) -> None:
    """Run openssl; its talk is not ours."""
    subprocess.run(["openssl", *argv], check=True, capture_output=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate with its key, another key, an encrypted one, and one that is cut short."""
    folder = tmp_path_factory.mktemp("tls")
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", "2", "-subj", "/CN=x", "-keyout", f"{folder}/key", "-out", f"{folder}/cert"),
    )
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
            f"{folder}/other")  # fmt: skip
    openssl("pkey", "-in", f"{folder}/key", "-aes256", "-passout", "pass:words", "-out",
            f"{folder}/locked")  # fmt: skip
    lines = (folder / "key").read_text().splitlines()
    (folder / "damaged").write_text("\n".join([lines[0], "AAAA", lines[-1]]) + "\n")
    (folder / "empty").write_text("")
    return folder


def test_a_pair_is_taken(files: Path) -> None:
    context = make_context(TlsConfig(cert=f"{files}/cert", key=f"{files}/key"))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("cert", "key", "message"),
    [
        ("none", "key", r"tls.cert: \S+/none: No such file"),
        ("cert", "none", r"tls.key: \S+/none: No such file"),
        ("empty", "key", r"tls.cert: \S+/empty holds no certificate in PEM"),
        ("key", "cert", r"tls.cert: \S+/key holds no certificate in PEM"),
        ("cert", "cert", r"tls.key: \S+/cert holds no private key in PEM"),
        ("cert", "other", r"certificate in \S+/cert was made for another key than \S+/other"),
        ("cert", "locked", r"tls.key: \S+/locked is encrypted"),
        ("cert", "damaged", r"\S+/damaged is damaged"),
    ],
)
def test_what_is_wrong_is_said_in_words(files: Path, cert: str, key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_context(TlsConfig(cert=str(files / cert), key=str(files / key)))
