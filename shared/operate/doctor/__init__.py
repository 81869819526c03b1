"""Doctor: whether what the environment describes is there, and is as the suite needs it. It changes nothing, and writes
only where a rehearsal is asked for.
"""

from shared.operate.doctor.check import Check, Verdict
from shared.operate.doctor.examine import Account, Asked, Examined, before, examine, fields

__all__ = ["Account", "Asked", "Check", "Examined", "Verdict", "before", "examine", "fields"]
