"""Command lines as all our commands have them: a mistake is one sentence, help says no `None`."""

from __future__ import annotations

import argparse
import math
from typing import NoReturn
from urllib.parse import urlsplit


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """End the process with what is wrong, and where the flags are explained."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class DefaultsHelp(argparse.HelpFormatter):
    """Adds the default to each flag's help, where there is one and it tells something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        silent = action.default in (None, False, argparse.SUPPRESS)
        return text if silent or "default" in text else f"{text} (default: %(default)s)"


def positive(text: str) -> float:
    """A finite number over zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not over zero")
    return value


def count(text: str) -> int:
    """A whole number over zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def http_url(text: str) -> str:
    """A URL with its scheme: guessing it would send keys in the clear, or to nobody."""
    if "://" not in text:
        raise argparse.ArgumentTypeError(f"{text} has no scheme: write http://{text}")
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error
    if not whole:
        raise argparse.ArgumentTypeError(f"{text} is not of the form http://HOST:PORT")
    return text
