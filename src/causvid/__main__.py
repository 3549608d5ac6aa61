"""`python -m causvid` is the `causvid` command."""

import sys

from causvid.cli import main

if __name__ == "__main__":
    sys.exit(main())
