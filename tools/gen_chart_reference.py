"""Writes the chart's values.schema.json and docs/reference/chart-values.md.

Run as `python -m tools.gen_chart_reference`; `--check` fails if one is stale.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tools.chart.reference import page
from tools.chart.schema import values_schema
from tools.generated import ROOT, write_or_check

if TYPE_CHECKING:
    from pathlib import Path

CHART = ROOT / "deploy/helm/cardan"


def main() -> int:
    """Write the files, or compare them."""
    return write_or_check(files(), "python -m tools.gen_chart_reference", __doc__)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    return {
        CHART / "values.schema.json": values_schema(),
        ROOT / "docs/reference/chart-values.md": page((CHART / "values.yaml").read_text()),
    }


if __name__ == "__main__":
    sys.exit(main())
