"""A gateway as a process: how it starts, refuses to start, reloads, and ends."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.processes import Child, Processes, get_json, processes, status_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "llama-3.1-8b"
KEY = "sk-tenant-0123456789"
ADMIN_KEY = "sk-admin-0123456789"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two simulated engines for the whole module."""
    with processes(tmp_path_factory.mktemp("engines")) as group:
        children = group.engines(2, "--model", MODEL, "--time-scale", "0.2")
        yield [child.url for child in children]


@pytest.fixture
def procs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Gateways of one test."""
    with processes(tmp_path_factory.mktemp("gateways")) as group:
        yield group


def post(url: str, body: dict[str, Any], key: str = "", timeout_s: float = 30.0) -> Any:
    """POST JSON and read the answer."""
    headers = {"content-type": "application/json", "x-cardan-explain": "1"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return json.load(answer), json.loads(answer.headers["x-cardan-explain"])


def ask(url: str, text: str = "hello", key: str = "") -> Any:
    """One short chat; returns its route receipt."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 2}
    return post(f"{url}/v1/chat/completions", body, key)[1]


def status(url: str, key: str = "") -> int:
    """The status of a GET with a key."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def metric(url: str, pattern: str) -> float:
    """The sum of the series that match; 0 if there is none."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = re.findall(rf"^{pattern} ([0-9.e+-]+)$", text, re.MULTILINE)
    return sum(float(value) for value in found)


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`cardan router ARGV…` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cardan_cli", "router", *argv],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_one_clear_sentence_and_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        for options in (["--listen", where], ["--listen", where, "--workers", "2"]):
            ended = run("--endpoint", "http://127.0.0.1:1", *options)
            assert ended.returncode == 1
            assert ended.stderr.splitlines()[-1] == (
                f"cardan router: {where} is taken by another process"
            )


def test_a_missing_extra_is_a_sentence_that_can_be_followed() -> None:
    for command, extra, module in (("router", "router", "yaml"), ("replay", "sim", "aiohttp")):
        script = (
            f"import sys; sys.modules[{module!r}] = None; import cardan_cli;"
            f" sys.exit(cardan_cli.main([{command!r}, '--help']))"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 2
        assert ended.stderr == (
            f"cardan {command}: {module} is not installed; in the checkout: pip install"
            f" '.[{extra}]'\n"
        )


def test_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    for argv, words in (
        ([], "no endpoints"),
        (["--endpoint", "http://h:1", "--api-keys", none], "No such file"),
        (["--endpoint", "http://h:1", "--tls-cert", none, "--tls-key", none], "tls.cert: "),
        (["--discovery-file", none], "No such file"),
        (["--endpoint", "http://h:1", "--policy", "dualmp"], "dualmp"),
    ):
        ended = run(*argv)
        assert ended.returncode == 2
        assert words in ended.stderr
        assert ended.stderr.startswith("cardan router: ")
        assert "Traceback" not in ended.stderr


def test_two_listeners_on_one_port_are_a_mistake_that_names_both() -> None:
    for other in ("--admin", "--grpc"):
        ended = run("--endpoint", "http://h:1", "--listen", "127.0.0.1:9", other, "127.0.0.1:9")
        assert ended.returncode == 2
        assert f"listen (127.0.0.1:9) and {other[2:]} (127.0.0.1:9)" in ended.stderr


def test_a_taken_grpc_port_is_the_same_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        argv = ("--endpoint", "http://h:1", "--listen", "127.0.0.1:0", "--grpc", where)
        for options in ((), ("--workers", "2")):
            ended = run(*argv, *options)
            assert ended.returncode == 1
            *before, last = ended.stderr.splitlines()
            assert last == f"cardan router: {where} is taken by another process"
            assert all(" INFO " in line for line in before)  # nothing of gRPC's own


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_json_log_is_json_from_the_first_line_to_the_last(
    procs: Processes, engines: list[str], workers: str
) -> None:
    options = ("--log-format", "json", "--access-log", "off", "--workers", workers)
    router = procs.router(engines, "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options)
    assert router.terminate() == 0
    lines = [json.loads(line) for line in router.output().splitlines()]
    told = [line["message"] for line in lines]
    assert f"listening on {router.url}" in told
    assert sum("joined: vllm" in message for message in told) == 2
    stopping = [line for line in lines if line["message"].startswith("stopping")]
    assert [line.get("worker") for line in sorted(stopping, key=lambda line: line.get("worker", 0))
            ] == ([None] if workers == "1" else [0, 1])  # fmt: skip
    ended = run("--endpoint", "http://h:1", "--log-format", "json", "--api-keys", "/none")
    assert json.loads(ended.stderr)["message"] == "cardan router: /none: No such file or directory"


def test_a_key_is_hashed_from_standard_input() -> None:
    assert run("--hash-key", stdin=KEY + "\n").stdout.strip() == (
        hashlib.sha256(KEY.encode()).hexdigest()
    )
    assert run("--hash-key", stdin="short\n").returncode == 2


def test_a_running_stream_ends_and_readiness_falls_at_once_on_sigterm(
    procs: Processes, engines: list[str]
) -> None:
    router = procs.router(engines)
    body = {"model": MODEL, "prompt": "x", "max_tokens": 400, "stream": True}
    request = urllib.request.Request(
        f"{router.url}/v1/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.readline()
        router.process.send_signal(signal.SIGTERM)
        until(lambda: status_of(f"{router.url}/readyz") == 503, "readiness to fall")
        assert answer.read().endswith(b"data: [DONE]\n\n")
    assert router.process.wait(20) == 0


def test_a_second_signal_ends_it_at_once(procs: Processes, engines: list[str]) -> None:
    router = procs.router(engines)
    body = {"model": MODEL, "prompt": "x", "max_tokens": 4000, "stream": True}
    request = urllib.request.Request(
        f"{router.url}/v1/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.readline()
        router.process.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in router.output(), "the first signal to be heard")
        router.process.send_signal(signal.SIGTERM)
        assert router.process.wait(10) == 128 + signal.SIGTERM


class Reloading:
    """A gateway with a file that can be rewritten."""

    def __init__(self, procs: Processes, folder: Path, engines: list[str], *options: str) -> None:
        self.config = folder / "cardan.yaml"
        self.keys = folder / "keys"
        self.engines = engines
        self.write_keys(KEY)
        self.write("round-robin", engines)
        self.router: Child = procs.router([], "--config", str(self.config), *options)

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


def get_state(url: str) -> Any:
    """The status page's document, with the administrator's key."""
    request = urllib.request.Request(
        f"{url}/ui/state.json", headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


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
    router = procs.router([], "--discovery-file", str(path), "--policy", "round-robin")

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
        f"https://127.0.0.1:{ports[0]}/livez", context=context, timeout=5
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
    until(lambda: log not in [entry.resolve() for entry in files.iterdir()], "it to be closed", 3)
