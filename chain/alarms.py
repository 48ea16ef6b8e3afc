"""What a watcher tells its operator: alarms that are raised, repeated to nobody, and cleared.

Owns the kinds of alarms and which are active. A halting alarm means that deposits wait until it clears;
the others mean that a node misbehaved and another one helped. Must not know how to send anything.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


class AlarmKind(enum.StrEnum):
    """Why somebody should look."""

    HOLE = "hole"  # the next block is nowhere to be had: never skipped (D2)
    CHECKPOINT_CONTRADICTED = "checkpoint_contradicted"  # no node's chain contains our checkpoint
    BLOCK_UNREADABLE = "block_unreadable"  # D5
    UNSUPPORTED_VERSION = "unsupported_version"  # D6, -32015: raise the configured version
    ENDPOINTS_DISAGREE = "endpoints_disagree"  # D9
    STALLED = "stalled"  # no node shows progress
    ENDPOINT_FAULT = "endpoint_fault"  # one node failed or lied; another one helped
    ACCOUNT = "account"  # a notice about one account that a person must see


_HALTING: Final = frozenset(AlarmKind) - {AlarmKind.ENDPOINT_FAULT, AlarmKind.ACCOUNT}
REPEAT_AFTER_S: Final = 60.0  # the same fault of the same node is told again after a minute


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something raised (`active`) or cleared; `slot` is the checkpoint's slot at the time."""

    kind: AlarmKind
    slot: int
    detail: str
    endpoint: str = ""
    active: bool = True

    @property
    def is_halting(self) -> bool:
        """Say whether deposits wait until this clears."""
        return self.kind in _HALTING


class Alarms:
    """The active halting alarms, and a callback for every change and every other alarm."""

    def __init__(self, on_alarm: Callable[[Alarm], None] | None) -> None:
        self.active: dict[AlarmKind, Alarm] = {}
        self.raised = 0
        self._on_alarm = on_alarm
        self._last_fault: dict[str, tuple[str, float]] = {}

    def raise_(self, alarm: Alarm) -> None:
        """Tell about an alarm once: the same one again while it is active stays silent."""
        if alarm.is_halting:
            if alarm.kind in self.active:
                return
            self.active[alarm.kind] = alarm
        elif alarm.kind is AlarmKind.ENDPOINT_FAULT:
            now_s = asyncio.get_running_loop().time()
            detail, told_s = self._last_fault.get(alarm.endpoint, ("", 0.0))
            if detail == alarm.detail and now_s - told_s < REPEAT_AFTER_S:
                return
            self._last_fault[alarm.endpoint] = (alarm.detail, now_s)
        self.raised += 1
        if self._on_alarm is not None:
            self._on_alarm(alarm)

    def clear(self, slot: int, *kinds: AlarmKind) -> None:
        """Tell that these halting alarms (all, if none is named) are over."""
        for kind in kinds or tuple(self.active):
            alarm = self.active.pop(kind, None)
            if alarm is not None and self._on_alarm is not None:
                self._on_alarm(Alarm(kind, slot, alarm.detail, alarm.endpoint, active=False))
