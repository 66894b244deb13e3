"""Writes the dashboards, the alert rules and their page from the definitions in `tools/dashboards`.

Run as `python -m tools.gen_dashboards`; `--check` fails if a file is stale.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tools.dashboards import grafana, rules
from tools.dashboards.fleet import FLEET_DASHBOARD
from tools.dashboards.operator import OPERATOR_DASHBOARD
from tools.generated import ROOT, write_or_check

if TYPE_CHECKING:
    from pathlib import Path

CHART = ROOT / "deploy/helm/cardan"


def main() -> int:
    """Write the files, or compare them."""
    return write_or_check(files(), "python -m tools.gen_dashboards", __doc__)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    dashboards = {
        CHART / f"dashboards/{one.uid}.json": json.dumps(grafana.document(one), indent=2) + "\n"
        for one in (FLEET_DASHBOARD, OPERATOR_DASHBOARD)
    }
    return {
        **dashboards,
        CHART / "rules/cardan.yaml": rules.rules_file(),
        ROOT / "docs/reference/alerts.md": rules.page(),
    }


if __name__ == "__main__":
    sys.exit(main())
