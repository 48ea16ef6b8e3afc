"""Named places at which a test can kill the daemon, to show that every one of them is survivable.

Owns the list of durable steps. `MAKEWHOLE_KILL_AT="batch.committing:3"` makes the process send itself
SIGKILL at the third passage of that step, exactly as a power cut would: no handler runs, no buffer is
flushed. With the variable unset, `passing` is one comparison. An unknown name in the variable ends the
daemon at start, so that a misspelt test cannot pass by killing nothing.
"""

from __future__ import annotations

import os
import signal
from typing import Final

from daemon.errors import ConfigError

VARIABLE: Final = "MAKEWHOLE_KILL_AT"

# In the order in which a deposit, then a payout, passes them.
STEPS: Final = {
    "deposit.scanned": "a block with deposits has been read; nothing is stored yet",
    "batch.applied": "the engine has applied a batch in memory; the transaction has not begun",
    "batch.committing": "journal, deposits, payouts and checkpoint are written; COMMIT has not been sent",
    "batch.committed": "COMMIT has returned; nobody has been told",
    "batch.acknowledged": "callers have their answers; the payer has not heard of new payouts",
    "payout.submitting": "a payout stands in the database; the payer is about to take it",
    "payout.saving.signed": "a payout is signed; the signed bytes are not stored",
    "payout.saved.signed": "the signed bytes are stored; nothing has been sent",
    "payout.saving.sent": "the payout has been sent for the first time; that is not stored",
    "payout.saved.sent": "the payout is on its way and stored as sent",
    "payout.saving.confirmed": "the cluster has confirmed the payout; that is not stored",
    "payout.saved.confirmed": "the payout is stored as confirmed",
    "payout.saving.finalized": "the payout is final on chain; that is not stored",
    "payout.saved.finalized": "the payout is stored as final; the engine has not heard",
    "payout.settling": "the engine is about to be told that the payout is final",
    "proof.pictured": "ledger and holdings of an epoch are in memory; nothing is proved",
    "proof.proved": "body and secret of an epoch are in the folder; its hash is not in the database",
    "proof.fixed": "the database holds the hash of the epoch for ever; nothing is signed",
    "proof.sealed": "the signed bundle is in the folder; the database does not know the signature",
    "proof.ordered": "signature and memo are stored; the payer has not heard of the memo",
    "snapshot.committing": "a snapshot is written; COMMIT has not been sent",
    "snapshot.committed": "a snapshot is stored",
}


def _armed() -> tuple[str, int]:
    text = os.environ.get(VARIABLE, "")
    if not text:
        return "", 0
    name, _, count = text.partition(":")
    if name not in STEPS or not (count or "1").isdecimal() or int(count or "1") < 1:
        raise ConfigError(
            VARIABLE, [f"{text!r} is not `name:n` with n >= 1 and one of the names {', '.join(STEPS)}"]
        )
    return name, int(count or "1")


class KillPoints:
    """Counts the passages of one armed step and kills the process at the chosen one."""

    __slots__ = ("_left", "_name")

    def __init__(self) -> None:
        self._name, self._left = _armed()

    def passing(self, name: str) -> None:
        """Pass the step `name`; does not return from the armed passage."""
        if name != self._name:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
