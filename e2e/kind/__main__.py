"""`python -m e2e.kind up | down`: a throw-away kind cluster.

`up` prints the path of its kubeconfig and nothing else, so that

    CARDAN_KUBECONFIG=$(python -m e2e.kind up) pytest e2e -m cluster

runs the tests of the cluster of our own on it.
"""

from __future__ import annotations

import argparse
import sys

from e2e import kind
from e2e.cluster.errors import status_of


def main() -> int:
    """Do one of both; 1 and a sentence where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m e2e.kind")
    parser.add_argument("do", choices=["up", "down"])
    up = parser.parse_args().do == "up"
    return status_of(lambda: print(kind.create()) if up else kind.delete())


if __name__ == "__main__":
    sys.exit(main())
