"""The command line, run from the source tree: `python -m shared.operate`."""

from shared.operate.cli import main

if __name__ == "__main__":
    main()
