"""The alerts as files: the rules that Prometheus reads, and the page that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import yaml

from tools.dashboards.alerts import ALERTS
from tools.dashboards.operator_alerts import OPERATOR_ALERTS

if TYPE_CHECKING:
    from tools.dashboards.alerts import Alert

EVERY: Final = ALERTS | OPERATOR_ALERTS
_PAGE_HEAD: Final = """# Alerts

<!-- Written by tools/gen_dashboards.py from tools/dashboards: change that. -->

The rules that the chart installs (`monitoring.prometheusRule.enabled`, in one release of each
cluster), and that any Prometheus can read as a file: `deploy/helm/cardan/rules/cardan.yaml`. `for`
is how long the condition must hold.

| alert | severity | for | means | do |
|---|---|---|---|---|
"""


def rules() -> dict[str, object]:
    """The rule file as data: what `spec` of a PrometheusRule holds, too."""
    return {
        "groups": [
            {"name": name, "rules": [_rule(alert) for alert in alerts]}
            for name, alerts in EVERY.items()
        ]
    }


def _rule(alert: Alert) -> dict[str, object]:
    return {
        "alert": alert.name,
        "expr": _Block(alert.expr),
        "for": alert.holds,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": f"{alert.says} {alert.do}",
        },
    }


class _Block(str):
    """Text that YAML shows as it is, line by line."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Dumps blocks as blocks."""


_Dumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
)


def rules_file() -> str:
    """The rule file that Prometheus reads and the chart wraps."""
    head = "# Written by tools/gen_dashboards.py from tools/dashboards: change that.\n"
    return head + yaml.dump(rules(), Dumper=_Dumper, sort_keys=False, width=96, allow_unicode=True)


def page() -> str:
    """The reference page."""
    rows = [
        f"| `{alert.name}` | {alert.severity} | {alert.holds} | {alert.says} | {alert.do} |"
        for group in EVERY.values()
        for alert in group
    ]
    return _PAGE_HEAD + "\n".join(rows) + "\n"
