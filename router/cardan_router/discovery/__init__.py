"""Who exists: the static list of the configuration and whatever sources watch the world.

A source reports a whole list of endpoints, never a difference, so a lost event cannot leave a
ghost. `Membership` joins the lists and makes the fleet exactly that.
"""

from __future__ import annotations

from cardan_router.discovery.file import FileSource
from cardan_router.discovery.membership import Membership

__all__ = ["FileSource", "Membership"]
