"""The command line: `python -m dcnlib`."""

import sys

from dcnlib.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
