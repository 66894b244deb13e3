"""Writes the dashboard, the alert rules and their page from the definitions in `tools/dashboards`.

Run as `python -m tools.gen_dashboards`; `--check` fails if a file is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tools.dashboards import grafana, rules
from tools.dashboards.fleet import FLEET_DASHBOARD

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy/helm/cardan"


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = False
    for path, text in files().items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale = True
            sys.stderr.write(
                f"{path.relative_to(ROOT)} is stale: run python -m tools.gen_dashboards\n"
            )
    return int(stale)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    dashboard = grafana.document(FLEET_DASHBOARD)
    return {
        CHART / f"dashboards/{FLEET_DASHBOARD.uid}.json": json.dumps(dashboard, indent=2) + "\n",
        CHART / "rules/cardan.yaml": rules.rules_file(),
        ROOT / "docs/reference/alerts.md": rules.page(),
    }


if __name__ == "__main__":
    sys.exit(main())
