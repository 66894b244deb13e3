"""The status page: plain files and one JSON document, nothing built, nothing from outside."""

from __future__ import annotations

from cardan_router.ui.pages import asset
from cardan_router.ui.state import page_state

__all__ = ["asset", "page_state"]
