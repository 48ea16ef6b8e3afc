"""The only clock of the daemon: engine time in nanoseconds since the epoch, which never goes back.

`SystemClock` follows the machine's clock and holds still while that is behind. `ManualClock` moves only
when it is told to (through the control API), so that two runs of the same commands are the same to the
nanosecond: that is how a run that was killed can be compared with one that was not.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Gives the time of the next command."""

    def now_ns(self) -> int:
        """Return the engine time, not before any time returned or noted earlier."""
        ...

    def note(self, time_ns: int) -> None:
        """Take over the time of a command that was replayed: time goes on from there."""
        ...


class SystemClock:
    """max(last + 1, the machine's clock): no two commands share an instant, nor an id made of it."""

    def __init__(self) -> None:
        self._last_ns = 0

    def now_ns(self) -> int:
        """Return max(last + 1, now)."""
        self._last_ns = max(self._last_ns + 1, time.time_ns())
        return self._last_ns

    def note(self, time_ns: int) -> None:
        """Never give an earlier time than this one."""
        self._last_ns = max(self._last_ns, time_ns)


class ManualClock:
    """Stands still until it is set."""

    def __init__(self, time_ns: int = 0) -> None:
        self._now_ns = time_ns

    def now_ns(self) -> int:
        """Return the time last set."""
        return self._now_ns

    def note(self, time_ns: int) -> None:
        """Never give an earlier time than this one."""
        self._now_ns = max(self._now_ns, time_ns)

    def set(self, time_ns: int) -> bool:
        """Move to `time_ns`; False, and no change, if that lies in the past."""
        if time_ns < self._now_ns:
            return False
        self._now_ns = time_ns
        return True
