"""The status page: its document is true, its files are its own, and a browser can show it."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cardan.decision import Reason
from cardan.ledger import Outcome
from cardan_router.telemetry import legend
from cardan_router.telemetry.legend import ACCESS_LOG
from cardan_router.ui import asset
from cardan_router.ui.pages import CSP, HEADERS

from tests.router.asking import MODEL, ask, metric
from tests.system.processes import Processes, get_json, processes, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ASSETS = Path(__file__).parents[2] / "router/cardan_router/ui/assets"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """An engine for the whole module."""
    with processes(tmp_path_factory.mktemp("ui")) as made:
        made.engines(1, "--model", MODEL, "--time-scale", "0.2")
        yield made


@pytest.fixture(scope="module")
def url(group: Processes) -> str:
    """A gateway that has served something."""
    found = group.router([group.children[0].url, "http://127.0.0.1:1"], joined=1).url
    for n in range(3):
        ask(found, f"<b>question {n}</b> " * 300)
    return found


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_every_file_is_served_under_its_type_and_no_other() -> None:
    for path in ASSETS.iterdir():
        found = asset(path.name)
        assert found is not None
        assert found.body == path.read_bytes()
    assert asset("../state.py") is None


def test_the_page_loads_nothing_but_its_own_files_and_runs_no_inline_code() -> None:
    page = Elements((ASSETS / "index.html").read_text())
    names = {path.name for path in ASSETS.iterdir()}
    for tag, attributes in page.found:
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.removeprefix("ui/") in names
        assert not {"style", "onclick", "onload"} & set(attributes)
        assert tag != "style"
    for path in ASSETS.iterdir():
        addresses = re.findall(r"https?://[\w.]+", path.read_text())
        assert set(addresses) <= {"http://www.w3.org"}  # a namespace, never fetched
    assert "'unsafe" not in CSP
    assert dict(HEADERS)["content-security-policy"] == CSP


def test_every_id_the_script_looks_for_is_on_the_page() -> None:
    ids = {
        attributes.get("id")
        for _, attributes in Elements((ASSETS / "index.html").read_text()).found
    }
    script = (ASSETS / "ui.js").read_text()
    wanted = set(re.findall(r'(?:\$|text|line|drawBars)\("([\w-]+)"', script))
    assert len(wanted) > 10
    assert wanted <= ids


@pytest.mark.slow
def test_the_document_says_what_happened(url: str) -> None:
    state: Any = get_json(f"{url}/ui/state.json")
    assert state["ready"] is True
    assert state["policy"] == "dualmap"
    assert state["models"] == [MODEL]
    served = state["outcomes"]["ok"]
    assert served >= 3  # other tests may have asked too
    assert state["outcomes"] == {"ok": served}
    assert sum(state["reasons"].values()) == served
    assert sum(state["ttft"]["counts"]) == served
    assert len(state["ttft"]["counts"]) == len(state["ttft"]["edges"]) + 1
    by_state = {endpoint["state"]: endpoint for endpoint in state["endpoints"]}
    assert by_state["healthy"]["requests"] == served
    assert by_state["healthy"]["engine"] == "vllm"
    assert by_state["joining"]["scrape_age_s"] is None
    assert by_state["healthy"]["public_name"] == ask(url)["endpoint"]  # as receipts call it
    assert state["endpoints_healthy"] == 1
    assert state["models_unserved"] == []
    for receipt in state["receipts"]:
        assert set(receipt) - {"at"} == set(ACCESS_LOG) - {"time", "tenant", "path", "code"}
        assert receipt["outcome"] == "ok"
        assert receipt["predicted_ttft_s"] > 0
        assert "tenant" not in receipt


def test_every_word_of_a_receipt_is_explained() -> None:
    assert set(legend.REASONS) == set(Reason)
    assert set(legend.OUTCOMES) == set(Outcome)
    assert {"shed", "engine-error"} <= set(legend.UNSERVED)
    assert not {"ok", "client-left", "client-error", "invalid"} & set(legend.UNSERVED)


@pytest.mark.slow
def test_every_field_of_a_receipt_is_explained(url: str) -> None:
    assert list(ask(url)) == list(legend.RECEIPT)


@pytest.mark.slow
def test_a_gateway_that_is_ready_says_when_nobody_is_healthy(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with processes(tmp_path_factory.mktemp("outage")) as alone:
        engine = alone.engines(1, "--model", MODEL)[0]
        router = alone.router([engine])
        engine.kill()

        def state() -> Any:
            return get_json(f"{router.url}/ui/state.json")

        until(lambda: state()["endpoints_healthy"] == 0, "the engine to be missed")
        assert state()["ready"] is True
        assert state()["models_unserved"] == [MODEL]
        assert metric(router.url, r'cardan_fleet_endpoints\{model="[^"]+",which="routable"\}') == 0
        assert metric(router.url, r'cardan_fleet_endpoints\{model="[^"]+",which="all"\}') == 1
        until(lambda: "no endpoint is healthy" in router.output(), "the log to say so")
        assert router.output().count("is down") == 1


@pytest.mark.slow
def test_the_page_is_served_with_a_policy_that_a_browser_enforces(url: str) -> None:
    with urllib.request.urlopen(f"{url}/ui", timeout=5) as answer:
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.read() == (ASSETS / "index.html").read_bytes()


def browse(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The page as headless Chromium has it after four seconds of its own time."""
    assert CHROMIUM is not None
    return subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={folder}", "--virtual-time-budget=4000"),
            *("--enable-logging=stderr", "--dump-dom", *options, url),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_endpoints_and_decisions(
    url: str, group: Processes, tmp_path: Path
) -> None:
    seen = browse(f"{url}/ui", tmp_path)
    assert "CONSOLE" not in seen.stderr  # no script error, nothing that the policy refused
    text = re.sub(r"<[^>]+>", " ", seen.stdout)
    assert group.children[0].url.removeprefix("http://") in text
    assert "healthy" in text
    assert "joining" in text
    assert MODEL in text
    assert len(re.findall(r"req-[0-9a-f]+-", text)) >= 3
    assert 'class="chip ok"' in seen.stdout


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_without_a_key_is_asked_for_one(group: Processes, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"ops:{hashlib.sha256(b'sk-0123456789abcdef').hexdigest()} admin\n")
    router = group.router([group.children[0].url], "--api-keys", str(keys))
    seen = browse(f"{router.url}/ui", tmp_path / "profile")
    assert "key wanted" in seen.stdout
    assert '<form id="login">' in seen.stdout
    assert re.search(r"<td[^>]*>", seen.stdout) is None
