"""Writes the chart's values.schema.json and docs/reference/chart-values.md.

Run as `python -m tools.gen_chart_reference`; `--check` fails if one is stale.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.chart.reference import page
from tools.chart.schema import values_schema

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
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale = True
            told = f"{path.relative_to(ROOT)} is stale: run python -m tools.gen_chart_reference"
            sys.stderr.write(told + "\n")
    return int(stale)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    return {
        CHART / "values.schema.json": values_schema(),
        ROOT / "docs/reference/chart-values.md": page((CHART / "values.yaml").read_text()),
    }


if __name__ == "__main__":
    sys.exit(main())
