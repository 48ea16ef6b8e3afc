"""What an outcome means for the tables: deposits change their status, ordered payouts get a row.

Owns: the map from events to rows, in one place, whichever command caused the event: a held deposit is
taken because its customer said so or because a tick ended the debt; a queued withdrawal is reserved by a
tick. Rules: pure; the rows go into the same transaction as the journal entry, so a payout that the
engine ordered is never lost and never made up. Must not know: the database, the chain.
"""

from __future__ import annotations

from typing import Final

from daemon.store.rows import Batch, PayoutRow
from engine.codec import dumps_compact, tagged
from engine.commands import Command, Deposit
from engine.events import (
    DepositApplied,
    DepositHeld,
    DepositReturned,
    Event,
    NetworkFeePaid,
    WithdrawalPaid,
    WithdrawalReserved,
    WithdrawalReturned,
)
from engine.outcome import Accepted, Outcome

WITHDRAWAL: Final = "withdrawal"
DEPOSIT_RETURN: Final = "deposit_return"
PUBLICATION: Final = "publication"


def project(sequence: int, command: Command, outcome: Outcome, batch: Batch) -> None:
    """Add to `batch` the rows that follow from one journaled outcome."""
    if isinstance(outcome, Accepted):
        for event in outcome.events:
            _project_event(sequence, event, batch)
    elif isinstance(command, Deposit):
        # The money is on chain and nobody's in the ledger: reconciliation lists it, an operator decides.
        batch.deposit_status.append((command.id, "refused", sequence, outcome.reason.value.encode()))


def _project_event(sequence: int, event: Event, batch: Batch) -> None:
    match event:
        case DepositApplied(was_held=was_held):
            status = "accepted" if was_held else "credited"
            batch.deposit_status.append((event.deposit_id, status, sequence, dumps_compact(tagged(event))))
        case DepositHeld():
            batch.deposit_status.append((event.deposit_id, "held", sequence, dumps_compact(tagged(event))))
        case DepositReturned():
            batch.deposit_status.append(
                (event.deposit_id, "returning", sequence, dumps_compact(tagged(event)))
            )
            batch.payouts.append(_payout(sequence, DEPOSIT_RETURN, event))
        case WithdrawalReserved():
            batch.payouts.append(_payout(sequence, WITHDRAWAL, event))
        case WithdrawalPaid() | WithdrawalReturned():
            batch.settled.append((event.withdrawal_id, sequence))
            if isinstance(event, WithdrawalPaid):
                batch.returned.append((event.withdrawal_id, sequence))
            elif event.held_deposit_id:
                batch.deposit_status.append((event.held_deposit_id, "held", sequence, None))
        case NetworkFeePaid():
            batch.settled.append((event.purpose, sequence))
        case _:
            pass


def _payout(sequence: int, kind: str, event: DepositReturned | WithdrawalReserved) -> PayoutRow:
    return PayoutRow(
        id=event.withdrawal_id,
        kind=kind,
        subaccount=event.subaccount,
        symbol=event.asset,
        units=event.units,
        destination=event.destination,
        reserved_sequence=sequence,
        deposit_key=event.deposit_id if isinstance(event, DepositReturned) else None,
    )
