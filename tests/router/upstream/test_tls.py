"""Engines behind TLS: asked if their certificate is signed by whom we trust, and not otherwise."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from cardan.scheduler import AdmissionConfig
from cardan_router.limits import TimeoutsConfig, UpstreamConfig

from tests.fakes.client import chat, connect, post
from tests.fakes.engine import DONE, HANG, LAST_CHUNK, SSE_HEAD, FakeEngine, Seen, Step, token
from tests.fakes.gateway import serving
from tests.fakes.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path


def self_signed(path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, its key in the same file."""
    key = path.with_suffix(".key")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=engine", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *names, "-keyout", str(key), "-out", str(path)],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's certificate, which signs itself."""
    return self_signed(tmp_path_factory.mktemp("tls") / "engine.pem")


@pytest.fixture
async def engine(certificate: Path) -> AsyncIterator[FakeEngine]:
    """An engine that speaks TLS only."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    made = FakeEngine(tls=tls)
    await made.start()
    yield made
    await made.close()


async def test_a_trusted_engine_is_asked_over_one_connection(
    engine: FakeEngine, certificate: Path
) -> None:
    config = UpstreamConfig(tls_ca=str(certificate))
    async with serving([engine], upstream=config) as served, connect(served.port) as client:
        for size in (10, 300_000):
            await client.send(post(chat("x" * size)))
            assert (await client.reply()).status == 200
            assert len(engine.requests[-1].json["messages"][0]["content"]) == size
        assert engine.connections == 1


async def test_a_stream_comes_through_and_a_client_that_leaves_ends_it(
    engine: FakeEngine, certificate: Path
) -> None:
    def script(_: Seen) -> Iterable[Step]:
        yield SSE_HEAD
        for i in range(30):
            yield token(i)
        if len(engine.requests) > 1:
            yield HANG
        yield DONE + LAST_CHUNK

    engine.script = script
    config = UpstreamConfig(tls_ca=str(certificate))
    async with serving([engine], upstream=config) as served, connect(served.port) as client:
        await client.send(post(chat(stream=True)))
        reply = await client.reply()
        assert len(reply.events) == 31
        await client.send(post(chat(stream=True)))
        await client.read_until(b"t29 ")
        client.leave()
        await soon(engine.requests[1].left.wait())
        await until(lambda: len(served.journal.flights) == 2, "both outcomes")


async def test_an_engine_of_unknown_origin_is_not_asked(engine: FakeEngine) -> None:
    admission = AdmissionConfig(max_wait_s=0.1)
    async with (
        serving([engine], admission=admission) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (503, "engine_unreachable")
        assert engine.requests == []


async def test_a_reload_reads_the_signer_again_from_the_same_path(
    engine: FakeEngine, certificate: Path, tmp_path: Path
) -> None:
    signer = self_signed(tmp_path / "ca.pem")
    config = UpstreamConfig(tls_ca=str(signer))
    async with serving([engine], upstream=config) as served, connect(served.port) as client:
        await client.send(post(chat()))
        assert (await client.reply()).json["error"]["code"] == "engine_unreachable"
        await asyncio.to_thread(shutil.copy, certificate, signer)
        served.gateway.upstreams.reconfigure(config, TimeoutsConfig())
        (state,) = served.gateway.fleet.endpoints.values()
        state.health.probe_succeeded()
        await client.send(post(chat()))
        assert (await client.reply()).status == 200
