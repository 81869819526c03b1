"""hourly_export on a machine whose clock is so many hours ahead, or behind, as CLOCK_AHEAD says."""

import os
import sys
from datetime import datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location

from local import ROOT
from tests.kit.clocks import later

_spec = spec_from_file_location("of_hourly_export", ROOT / "functions" / "hourly_export" / "main.py")
assert _spec is not None
assert _spec.loader is not None
_main = module_from_spec(_spec)
_spec.loader.exec_module(_main)

if ahead := int(os.environ.get("CLOCK_AHEAD", "0")):
    clock = later(timedelta(hours=ahead))
    flow = [module for name, module in sys.modules.items() if name.startswith("shared.hourly.")]
    for module in (_main, *flow):
        if getattr(module, "datetime", None) is datetime:
            vars(module)["datetime"] = clock

hourly_export = _main.hourly_export
