"""Asking a gateway's process, as a client and as its operator."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any

from tests.fakes.waiting import DEADLINE_S

MODEL = "llama-3.1-8b"
KEY = "sk-tenant-0123456789"
ADMIN_KEY = "sk-admin-0123456789"


def post(url: str, body: dict[str, Any], key: str = "", timeout_s: float = DEADLINE_S) -> Any:
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
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def metric(url: str, pattern: str) -> float:
    """The sum of the series that match; 0 if there is none."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=DEADLINE_S) as answer:
        text = answer.read().decode()
    found = re.findall(rf"^{pattern} ([0-9.e+-]+)$", text, re.MULTILINE)
    return sum(float(value) for value in found)


def get_state(url: str) -> Any:
    """The status page's document, with the administrator's key."""
    request = urllib.request.Request(
        f"{url}/ui/state.json", headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return json.load(answer)
