"""Whatever is wrong with the way to an API server or with who we are is a word and a sentence."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from cardan_kube import api as kube_api
from cardan_kube.api import ApiError, KubernetesApi, own_namespace
from cardan_kube.reflector import Fault
from kubernetes.aio.config import ConfigException

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.kube import FakeKube

PODS = "/api/v1/namespaces/ns/pods"
QUERY = {"limit": "1"}


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A server that nobody has heard of."""
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *names, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def test_a_server_of_unknown_origin_is_told_as_such(
    kube: FakeKube, tmp_path: Path, tls: ssl.SSLContext
) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=tls)
    there = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    path = kube.kubeconfig(tmp_path)
    path.write_text(path.read_text().replace(f"http://127.0.0.1:{kube.port}", there))
    with pytest.raises(ApiError, match="certificate verify failed") as told:
        await KubernetesApi(str(path)).get(PODS, QUERY)
    assert told.value.fault is Fault.UNREACHABLE
    server.close()


@pytest.mark.parametrize("words", ["{", "contexts: [{name: x}]\ncurrent-context: x", "- 1"])
async def test_a_kubeconfig_that_is_none_is_a_reason_and_the_namespace_the_default(
    tmp_path: Path, words: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(words)
    assert own_namespace(str(path)) == "default"
    with pytest.raises(ApiError, match="no credentials for the API: ") as told:
        await KubernetesApi(str(path)).get(PODS, QUERY)
    assert told.value.fault is Fault.CREDENTIALS


async def test_a_token_that_cannot_be_read_again_is_a_reason(
    kube: FakeKube, tmp_path: Path
) -> None:
    api = KubernetesApi(str(kube.kubeconfig(tmp_path)))
    await api.get(PODS, QUERY)

    async def refuse(_: object) -> None:
        raise ConfigException("Token file exists but empty.")

    api._client.configuration.refresh_api_key_hook = refuse
    with pytest.raises(ApiError, match="no credentials for the API: Token file") as told:
        await api.get(PODS, QUERY)
    assert told.value.fault is Fault.CREDENTIALS
    await api.get(PODS, QUERY)  # the configuration has been read anew
    await api.close()


async def test_a_plugin_that_never_ends_is_waited_for_only_so_long(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(**_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(kube_api, "ANSWER_S", 0.05)
    monkeypatch.setattr("kubernetes.aio.config.load_kube_config", hang)
    with pytest.raises(ApiError, match="no credentials for the API: TimeoutError after") as told:
        await KubernetesApi(str(kube.kubeconfig(tmp_path))).get(PODS, QUERY)
    assert told.value.fault is Fault.CREDENTIALS
