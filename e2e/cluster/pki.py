"""The cluster's certificates, by openssl: one authority, one server, a client for each component.

All of it is made anew for each cluster, lives in its folder and dies with it.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from e2e.cluster.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path

# Who a client certificate says it is: the common name is the user, organisations are groups.
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controllers": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "node": "/O=system:nodes/CN=system:node:node-1",
    "front": "/CN=front-proxy-client",
}
SERVICE_IP = "10.0.0.1"  # the first of --service-cluster-ip-range is always the API server's
# Names that certificates are asked for: from this machine, from the node, from pods.
NAMES = (
    "IP:127.0.0.1,IP:{node},IP:" + SERVICE_IP + ",DNS:localhost,DNS:kubernetes,"
    "DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
)
# Without a file of our own openssl would make every certificate an authority.
CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = unused
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[client]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = clientAuth
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""
DAYS = "2"


def make(folder: Path, node: str) -> None:
    """Fill `folder` with ca, server, every client (.crt, .key) and the key of service accounts."""
    folder.mkdir(mode=0o700)
    (folder / "openssl.cnf").write_text(CONFIG.format(names=NAMES.format(node=node)))
    _certificate(folder, "ca", "/CN=cardan-test-ca", "authority")
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(_certificate, folder, name, subject, "client")
            for name, subject in CLIENTS.items()
        ]
        jobs.append(pool.submit(_certificate, folder, "server", "/CN=kube-apiserver", "server"))
        jobs.append(pool.submit(_openssl, folder, "genrsa", "-out", "sa.key", "2048"))
    for job in jobs:
        job.result()


def _certificate(folder: Path, name: str, subject: str, section: str) -> None:
    signer = [] if section == "authority" else ["-CA", "ca.crt", "-CAkey", "ca.key"]
    _openssl(
        folder,
        *("req", "-x509", "-config", "openssl.cnf", "-extensions", section, *signer),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", DAYS),
        *("-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.crt"),
    )


def _openssl(folder: Path, *arguments: str) -> None:
    argv = ["openssl", *arguments]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise CommandError(argv, done.returncode, done.stderr)
