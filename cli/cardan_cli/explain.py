"""`cardan explain`: one request to a gateway, and why it went where it went.

A person's first question to a new installation, and what `helm test` asks. It is a client like any
other: it knows the gateway's public API and nothing else, and needs the standard library alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

# Between two tries of `--wait`: a pod's name appears in DNS within a second or so.
PAUSE_S: Final = 0.5
# A connection within a cluster takes a millisecond; where nothing answers (a network policy that
# drops) this is soon enough to say so, and to try again.
CONNECT_S: Final = 5.0
# An answer of a few tokens takes seconds, and a busy fleet's has to wait for a place.
ANSWER_S: Final = 60.0
# Words of somebody else's that fit into a line.
MAX_WORDS: Final = 100
# What is worth another try while waiting: no room, no engine yet, a proxy without a gateway.
NOT_YET: Final = frozenset({429, 502, 503, 504})
NO_MODEL: Final = "it serves no model yet: its log says why, and /ui at its --admin address"
OK: Final = 0
REFUSED: Final = 1
# What reading the JSON of something else raises.
_ANOTHER_SHAPE: Final = (LookupError, TypeError, ValueError, AttributeError)


class ExplainError(Exception):
    """There is no answer to explain; `again` says whether waiting may help."""

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class Answer(NamedTuple):
    """What came back: the receipt, the engine's words, how long it took."""

    receipt: dict[str, Any]
    text: str
    usage: dict[str, Any]
    seconds: float


class Gateway:
    """A gateway by its URL. Nothing is waited for after `end`, by the monotonic clock."""

    def __init__(self, url: str, key: str, *, insecure: bool = False) -> None:
        try:
            parts = urlsplit(url)
            host, self._port = parts.hostname, parts.port
        except ValueError as error:
            raise ExplainError(f"{url!r} is not http://HOST:PORT: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise ExplainError(f"{url!r} is not http://HOST:PORT")
        self._https, self._host = parts.scheme == "https", host
        self._where = f"{host}:{self._port or (443 if self._https else 80)}"
        self.end = math.inf
        self._tls = ssl.create_default_context()
        if insecure:
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def models(self) -> list[str]:
        """What it serves."""
        document, _ = self._ask("GET", "/v1/models", None)
        return [str(entry["id"]) for entry in document["data"]]

    def chat(self, model: str, prompt: str, tokens: int) -> Answer:
        """One chat completion with its receipt."""
        messages = [{"role": "user", "content": prompt}]
        body = {"model": model, "messages": messages, "max_tokens": tokens}
        begun = time.monotonic()
        document, headers = self._ask("POST", "/v1/chat/completions", body)
        seconds = time.monotonic() - begun
        receipt = json.loads(headers.get("x-cardan-explain") or "{}")
        if not receipt:
            raise ExplainError("the answer has no receipt: that is no Cardan gateway")
        text = str(document["choices"][0]["message"].get("content") or "")
        return Answer(receipt, text, document.get("usage") or {}, seconds)

    def _ask(
        self, method: str, path: str, body: object | None
    ) -> tuple[dict[str, Any], http.client.HTTPMessage]:
        headers = {**self._headers, "x-cardan-explain": "1", "content-type": "application/json"}
        left_s = min(ANSWER_S, max(self.end - time.monotonic(), PAUSE_S))
        connection = self._connection(min(left_s, CONNECT_S))
        try:
            self._connect(connection)
            connection.sock.settimeout(left_s)
            connection.request(
                method, path, json.dumps(body).encode() if body is not None else None, headers
            )
            answer = connection.getresponse()
            payload = answer.read()
        except TimeoutError as error:
            told = f"{self._where}: no answer within {left_s:.1f} s"
            raise ExplainError(told, again=True) from error
        except (OSError, http.client.HTTPException) as error:
            raise ExplainError(f"{self._where}: {_line(str(error))}", again=True) from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            told = f"{path}: {answer.status} {answer.reason}: {_message(payload)}"
            raise ExplainError(told, again=answer.status in NOT_YET)
        try:
            document = json.loads(payload)
        except ValueError as error:
            raise ExplainError(f"{path}: the answer is not JSON") from error
        return document, answer.headers

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.connect()
        except TimeoutError as error:
            raise ExplainError(f"{self._where}: no connection in time", again=True) from error

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._https:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout_s, context=self._tls
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, and print why; the status is 0 if an engine answered, else 1."""
    args = _parser().parse_args(argv)
    try:
        key = _read_key(args.api_key_file) if args.api_key_file else ""
        gateway = Gateway(args.url, key, insecure=args.insecure)
        answer = _patiently(gateway, args) if args.wait > 0 else _ask(gateway, args)
        words = json.dumps(answer.receipt, indent=2) + "\n" if args.json else told(answer)
    except _ANOTHER_SHAPE:  # none of its words: who knows what it is
        sys.stderr.write(f"cardan explain: {args.url}: the answers are not a Cardan gateway's\n")
        return REFUSED
    except (ExplainError, OSError) as error:
        sys.stderr.write(f"cardan explain: {error}\n")
        return REFUSED
    sys.stdout.write(words)
    return OK


def _read_key(path: str) -> str:
    """The key in a file; of one that cannot go into a header nothing is repeated."""
    key = Path(path).read_text(encoding="latin-1").strip()
    if not key or " " in key or not (key.isascii() and key.isprintable()):
        raise ExplainError(f"{path}: one line of printable ASCII is expected")
    return key


def _ask(gateway: Gateway, args: argparse.Namespace) -> Answer:
    model = args.model
    if not model:
        served = gateway.models()
        if not served:
            raise ExplainError(NO_MODEL, again=True)
        model = served[0]
    return gateway.chat(model, args.prompt, args.max_tokens)


def _patiently(gateway: Gateway, args: argparse.Namespace) -> Answer:
    """Ask until there is an answer, or no hope, or no time; each new reason to wait is told."""
    gateway.end = time.monotonic() + args.wait
    reason = ""
    while True:
        try:
            return _ask(gateway, args)
        except ExplainError as error:
            if not error.again:
                raise
            over = time.monotonic() + PAUSE_S >= gateway.end
            if over and reason and isinstance(error.__cause__, TimeoutError):
                raise ExplainError(f"gave up after {args.wait:g} s: {reason}") from error
            if over:
                raise ExplainError(f"gave up after {args.wait:g} s: {error}") from error
            if str(error) != reason:
                reason = str(error)
                sys.stderr.write(f"cardan explain: waiting: {reason}\n")
                sys.stderr.flush()
        time.sleep(PAUSE_S)


def told(answer: Answer) -> str:
    """The receipt in sentences."""
    receipt = answer.receipt
    rows = [
        ("answered by", f"{receipt['endpoint']} ({receipt['reason']})"),
        ("in", f"{answer.seconds:.2f} s{_tries(receipt)}"),
        ("predicted", _seconds(receipt.get("predicted_ttft_s")) + " to the first token"),
        ("prompt", _prompt(receipt, answer.usage)),
    ]
    if receipt.get("moved"):
        rows.append(("moved", "the operator has given this prefix other owners than hashing does"))
    for candidate in receipt.get("candidates") or ():
        rows.append(("candidate", _candidate(candidate)))  # noqa: PERF401 - reads better
    rows.append(("request id", str(receipt["request_id"])))
    rows.append(("it said", json.dumps(answer.text[:60], ensure_ascii=False)))
    return "".join(f"{name:<12} {text}\n" for name, text in rows)


def _tries(receipt: dict[str, Any]) -> str:
    queued_s, attempts = receipt.get("queued_s") or 0.0, receipt.get("attempts") or 1
    waited = f", {queued_s:.3f} s of it before an engine had it" if queued_s >= 0.001 else ""
    return waited + (f", after {attempts} attempts" if attempts > 1 else "")


def _prompt(receipt: dict[str, Any], usage: dict[str, Any]) -> str:
    details = usage.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens")
    believed = receipt.get("predicted_cached_tokens")
    parts = [f"{usage.get('prompt_tokens', '?')} tokens"]
    if believed is not None:
        parts.append(f"{believed:g} believed cached")
    if cached is not None:
        parts.append(f"{cached} cached")
    return ", ".join(parts)


def _candidate(candidate: dict[str, Any]) -> str:
    ttft, backlog = (_seconds(candidate.get(name)) for name in ("ttft_s", "backlog_s"))
    cached = candidate.get("cached_tokens")
    held = f", {cached:g} tokens cached" if cached is not None else ""
    return f"{candidate.get('endpoint')}: {ttft} predicted, {backlog} of it for others{held}"


def _seconds(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f} s"


def _message(payload: bytes) -> str:
    """What the error says, in OpenAI's form or as it came, on one line."""
    try:
        error = json.loads(payload)["error"]
        return _line(str(error["message"] if isinstance(error, dict) else error), len(payload))
    except (ValueError, KeyError, TypeError):
        text = payload.decode("utf-8", "replace").strip()
        return "a page of HTML; is that a gateway?" if text.startswith("<") else _line(text)


def _line(text: str, most: int = MAX_WORDS) -> str:
    """The beginning of it, on one line."""
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[:most]}…"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cardan explain",
        description="Send one short chat to a gateway and tell why it went where it went.",
        epilog="example: cardan explain http://127.0.0.1:8080 --prompt 'Hello there'",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("url", metavar="URL", help="of the gateway, as http://127.0.0.1:8080")
    add("--model", default="", help="default: the first that it serves")
    add("--prompt", default="Say hello.", metavar="TEXT", help="what to ask")
    add("--max-tokens", type=int, default=8, metavar="N", help="of the answer (default: 8)")
    add("--api-key-file", default="", metavar="FILE", help="an API key, in a file")
    add("--wait", type=float, default=0.0, metavar="S", help="try for so long until it can answer")
    add("--insecure", action="store_true", help="take any certificate")
    add("--json", action="store_true", help="print the receipt as it came")
    return parser
