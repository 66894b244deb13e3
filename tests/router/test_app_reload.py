"""A gateway as a process: what it takes of a changed configuration, and what it keeps."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.waiting import DEADLINE_S
from tests.router.asking import ADMIN_KEY, KEY, ask, get_state, metric, status
from tests.system.processes import get_json, until

if TYPE_CHECKING:
    from tests.system.processes import Child, Processes

pytestmark = pytest.mark.slow


class Reloading:
    """A gateway with a file that can be rewritten."""

    def __init__(self, procs: Processes, folder: Path, engines: list[str], *options: str) -> None:
        self.config = folder / "cardan.yaml"
        self.keys = folder / "keys"
        self.engines = engines
        self.write_keys(KEY)
        self.write("round-robin", engines)
        self.router: Child = procs.router(
            [], "--config", str(self.config), *options, joined=len(engines)
        )

    def write_keys(self, *keys: str) -> None:
        rows = [f"t{n}:{hashlib.sha256(k.encode()).hexdigest()}" for n, k in enumerate(keys)]
        rows.append(f"ops:{hashlib.sha256(ADMIN_KEY.encode()).hexdigest()} admin")
        self.keys.write_text("\n".join(rows))

    def write(self, policy: str, engines: list[str]) -> None:
        document = {"policy": policy, "endpoints": engines, "api_keys": str(self.keys)}
        self.config.write_text(json.dumps(document))

    def reload(self, expected: str) -> None:
        before = self.router.output().count(expected)
        self.router.process.send_signal(signal.SIGHUP)
        until(lambda: self.router.output().count(expected) > before, f"the log to say {expected}")


def test_a_reload_changes_policy_endpoints_and_keys_while_it_runs(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    gateway = Reloading(procs, tmp_path, engines)
    url = gateway.router.url
    assert {ask(url, key=KEY)["reason"] for _ in range(4)} == {"policy"}
    gateway.write("dualmap", engines[:1])
    gateway.write_keys("sk-fresh-0123456789")
    gateway.reload("reload: done")
    assert status(f"{url}/v1/models", KEY) == 401
    receipt = ask(url, key="sk-fresh-0123456789")
    assert receipt["reason"] == "only"
    state = get_state(url)
    assert state["policy"] == "dualmap"
    assert [endpoint["name"] for endpoint in state["endpoints"]] == engines[:1]


def test_a_bad_reload_keeps_what_is_good_and_says_so(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    gateway = Reloading(procs, tmp_path, engines, "--admin", "127.0.0.1:0")
    router = gateway.router
    until(lambda: "status page at" in router.output(), "the admin listener to be named")
    found = re.search(r"status page at (http://\S+)/ui", router.output())
    assert found
    admin = found.group(1)
    assert metric(admin, "cardan_config_last_reload_success") == 1
    gateway.write("dualmp", engines)
    gateway.reload("last good configuration stays in force")
    gateway.write("dualmap", engines)
    gateway.keys.write_text("t:nonsense\n")
    gateway.reload("last good configuration stays in force")
    assert ask(router.url, key=KEY)["reason"] == "policy"
    assert metric(admin, "cardan_config_last_reload_success") == 0
    assert metric(admin, r'cardan_config_reloads_total\{result="failed"\}') == 2
    gateway.write_keys(KEY)
    gateway.reload("reload: done")
    assert metric(admin, "cardan_config_last_reload_success") == 1
    assert status(f"{router.url}/metrics", ADMIN_KEY) == 404


def test_with_keys_only_an_administrator_sees_metrics_and_state(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    url = Reloading(procs, tmp_path, engines).router.url
    for path in ("/metrics", "/ui/state.json"):
        assert status(url + path) == 401
        assert status(url + path, KEY) == 401
        assert status(url + path, ADMIN_KEY) == 200
    for path in ("/livez", "/readyz", "/ui", "/ui/ui.js", "/ui/ui.css", "/ui/icon.svg"):
        assert status(url + path) == 200
    assert status(url + "/ui/state.py") == 404


def test_a_change_that_takes_a_restart_is_named_and_not_made(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    gateway = Reloading(procs, tmp_path, engines)
    document = json.loads(gateway.config.read_text())
    gateway.config.write_text(json.dumps({**document, "workers": 3, "grpc": "127.0.0.1:0"}))
    gateway.reload("reload: done")
    assert "reload: workers has changed; that takes a restart" in gateway.router.output()
    assert "reload: grpc has changed; that takes a restart" in gateway.router.output()
    assert ask(gateway.router.url, key=KEY)


def test_a_watched_file_adds_and_removes_endpoints(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(f"- {{url: {engines[0]}, name: one}}\n")
    router = procs.router([], "--discovery-file", str(path), "--policy", "round-robin", joined=1)

    def names() -> list[str]:
        state = get_json(f"{router.url}/ui/state.json")
        return sorted(e["name"] for e in state["endpoints"] if e["state"] == "healthy")

    assert names() == ["one"]
    path.write_text(f"- {{url: {engines[0]}, name: one}}\n- {{url: {engines[1]}, name: two}}\n")
    until(lambda: names() == ["one", "two"], "the second endpoint to join")
    path.write_text("- [")
    until(lambda: "last good list stays in force" in router.output(), "the mistake to be told")
    assert names() == ["one", "two"]
    path.write_text(f"- {{url: {engines[1]}, name: two}}\n")
    until(lambda: names() == ["two"], "the first endpoint to leave")
    ask(router.url)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def served_name(port: int) -> str:
    """The common name of the certificate that a port serves."""
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    decoded = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"],
        input=pem,
        capture_output=True,
        text=True,
        check=True,
    )
    return decoded.stdout.strip().rpartition("=")[2].strip()


def test_tls_serves_and_takes_a_new_certificate_at_a_reload(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    cert, key = make_certificate(tmp_path, "first")
    router = procs.start(
        "router",
        *("router", "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0"),
        *("--endpoint", engines[0], "--tls-cert", str(cert), "--tls-key", str(key)),
    )
    until(lambda: "listening on grpc://" in router.output(), "the gateway to listen")
    ports = [
        int(port) for port in re.findall(r"listening on \w+://127.0.0.1:(\d+)", router.output())
    ]
    assert [served_name(port) for port in ports] == ["first", "first"]
    context = ssl.create_default_context(cafile=str(cert))
    with urllib.request.urlopen(
        f"https://127.0.0.1:{ports[0]}/livez", context=context, timeout=DEADLINE_S
    ) as answer:
        assert answer.status == 200
    for new, old in zip(make_certificate(tmp_path, "second"), (cert, key), strict=True):
        new.replace(old)
    router.process.send_signal(signal.SIGHUP)
    until(lambda: "reload: done" in router.output(), "the reload")
    assert [served_name(port) for port in ports] == ["second", "second"]
    key.write_text("nonsense")
    router.process.send_signal(signal.SIGHUP)
    until(lambda: "last good configuration" in router.output(), "the bad reload")
    assert [served_name(port) for port in ports] == ["second", "second"]


def test_a_reload_that_fails_leaves_no_access_log_open(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    cert, key = make_certificate(tmp_path, "one")
    file = tmp_path / "cardan.yaml"
    document = {"endpoints": engines, "tls": {"cert": str(cert), "key": str(key)}}
    file.write_text(json.dumps(document))
    router = procs.start("router", "router", "--listen", "127.0.0.1:0", "--config", str(file))
    until(lambda: "listening on https://" in router.output(), "the gateway to listen")
    key.write_text("nonsense")
    log = tmp_path / "access.log"
    file.write_text(json.dumps({**document, "log": {"access": str(log)}}))
    router.process.send_signal(signal.SIGHUP)
    until(lambda: "last good configuration" in router.output(), "the bad reload")
    files = Path(f"/proc/{router.process.pid}/fd")
    until(lambda: log not in [entry.resolve() for entry in files.iterdir()], "it to be closed")
