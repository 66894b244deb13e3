"""What runs: looked up once, because reading a distribution's metadata takes milliseconds."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

VERSION: Final = version("cardan")
PYTHON: Final = platform.python_version()
