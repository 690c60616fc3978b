"""`python -m checkers.elle`."""

import sys

from checkers.elle.cli import main

if __name__ == "__main__":
    sys.exit(main())
