"""What the value sets of `matrix` are rendered to."""

from __future__ import annotations

import functools
from typing import Any

from tests.chart.helm import Object, render, the
from tests.chart.matrix import VALUE_SETS


@functools.cache
def rendered(name: str) -> list[Object]:
    """The objects of a value set, rendered once for all tests of this process."""
    return render(VALUE_SETS[name])


def gateway(objects: list[Object]) -> Any:
    """The pod template of the gateway."""
    return the(objects, "Deployment", "router")["spec"]["template"]
