"""`python -m cardan_cli` is `cardan`."""

import sys

from cardan_cli import main

if __name__ == "__main__":
    sys.exit(main())
