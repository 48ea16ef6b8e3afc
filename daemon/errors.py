"""What the daemon refuses to do, in the words of the person who runs it.

Owns the exceptions that end a command of `makewhole` with a message and an exit status instead of a
traceback. A refusal of the engine is a value (`engine.rejects`), never one of these; a failure of the
network is a `chain.errors.ChainError`.

    DaemonError                     exit status 1
     ├── ConfigError                exit status 2: every fault of the configuration at once
     ├── StoreError                 exit status 3: the database
     │    ├── StoreLocked           another daemon, or another program, holds it
     │    ├── StoreCorrupt          it does not say what it should; where, and what to do
     │    └── StoreStopped          a write failed; nothing was acknowledged and nothing more is written
     ├── InvariantBreach            exit status 4: our bug; the writer has stopped
     └── WrongCluster               exit status 5: the endpoints serve another chain
"""

from __future__ import annotations

from collections.abc import Sequence


class DaemonError(Exception):
    """Ends a command with its message; `exit_status` tells scripts which kind it was."""

    exit_status = 1


class ConfigError(DaemonError):
    """Every fault of a configuration at once, a line each."""

    exit_status = 2

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {fault}" for fault in self.faults)]))


class StoreError(DaemonError):
    """The database cannot be used."""

    exit_status = 3


class StoreLocked(StoreError):
    """Another daemon or another program holds the database."""


class StoreCorrupt(StoreError):
    """The database contradicts itself; the message says where and what to do."""


class StoreStopped(StoreError):
    """A write failed: what was in it is not acknowledged, and nothing more will be written."""


class InvariantBreach(DaemonError):
    """An invariant of the engine does not hold: a bug of ours, so nothing more is written."""

    exit_status = 4

    def __init__(self, breaches: Sequence[str]) -> None:
        self.breaches = tuple(breaches)
        super().__init__("the writer stopped, an invariant is broken: " + "; ".join(self.breaches))


class WrongCluster(DaemonError):
    """An endpoint serves another chain than the one configured."""

    exit_status = 5
