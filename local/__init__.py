"""The emulated cloud that the demo and the tests run on; nothing here is ever deployed."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

#: Where the emulated cloud keeps everything: no default of Google's, so that what is left to one is seen.
LOCATION = "europe-west1"
