"""How a field is called in YAML: what a user writes decodes straight into the core's structs.

Kubernetes writes `camelCase` with the unit as a word, the core `snake_case` with the unit as a
suffix. A few names are clear beside their fellows in code, and not alone in a file: see the table.
"""

from __future__ import annotations

from typing import Final

UNITS: Final = {"s": "seconds", "w": "watts"}
# Kubernetes' HorizontalPodAutoscaler has a word for the first four.
OTHERWISE: Final = {
    "up": "scaleUp",
    "down": "scaleDown",
    "select": "selectPolicy",
    "stabilization_s": "stabilizationWindowSeconds",
    "zero": "scaleToZero",
    "failures": "failureDetection",
}


def in_yaml(field: str) -> str:
    """A field's name in YAML: `idle_s` is `idleSeconds`, `tokens_per_s` is `tokensPerSecond`."""
    first, *rest = field.split("_")
    if rest and rest[-1] in UNITS:
        rest[-1] = "second" if rest[-2:-1] == ["per"] else UNITS[rest[-1]]
    return OTHERWISE.get(field) or first + "".join(word.capitalize() for word in rest)
