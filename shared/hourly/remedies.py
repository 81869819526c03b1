"""The commands of `recosync` that mend an hour, as messages name them."""

from __future__ import annotations

from dataclasses import dataclass

from shared.names import Hour, format_day


@dataclass(frozen=True)
class Remedies:
    """The commands for one hour of a log."""

    log: str
    hour: Hour

    @property
    def ask(self) -> str:
        """Has the flow take up the hour again."""
        return f"recosync hourly --table-name {self.log} {self._named}"

    @property
    def restore(self) -> str:
        """Loads the hour into BigQuery again, from its objects."""
        return f"recosync restore {self.log} {self._named}"

    @property
    def accept(self) -> str:
        """Records what BigQuery holds."""
        return f"recosync accept {self.log} {self._named} --reason '…'"

    @property
    def _named(self) -> str:
        return f"--date {format_day(self.hour.day)} --hour {self.hour.number}"
