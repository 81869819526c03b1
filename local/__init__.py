"""The emulated cloud that the demo and the tests run on; nothing here is ever deployed."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
