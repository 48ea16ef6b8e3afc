"""What an outcome means for the tables: deposits change their status, payouts and trades get a row.

Owns: the map from events to rows, in one place, whichever command caused the event: a held deposit is
taken because its customer said so or because a tick ended the debt; a queued withdrawal is reserved by a
tick; a trade comes of an order or of a liquidation. Rules: pure; the rows go into the same transaction as
the journal entry, so a payout that the engine ordered is never lost and never made up. Must not know: the
database, the chain.
"""

from __future__ import annotations

from typing import Final

from daemon.store.rows import Batch, PayoutRow, TradeRow
from engine.codec import dumps_compact, tagged
from engine.commands import Command, Deposit, PlaceOrder
from engine.events import (
    AutoDeleveraged,
    BackstopFilled,
    BlockTraded,
    DepositApplied,
    DepositHeld,
    DepositReturned,
    Event,
    NetworkFeePaid,
    PositionsNetted,
    SpotTraded,
    Traded,
    WithdrawalPaid,
    WithdrawalReserved,
    WithdrawalReturned,
)
from engine.outcome import Accepted, Outcome

WITHDRAWAL: Final = "withdrawal"
DEPOSIT_RETURN: Final = "deposit_return"
PUBLICATION: Final = "publication"

# Kinds of trades: two orders met; a liquidation's or the fund's order met one (R22, R28); both sides agreed
# (R19); a position in liquidation went to a provider (R23), to its like, or to an opposite holder (R24).
BOOK: Final = "book"
FORCED: Final = "forced"
BLOCK: Final = "block"
BACKSTOP: Final = "backstop"
NETTING: Final = "netting"
ADL: Final = "adl"


def project(sequence: int, command: Command, outcome: Outcome, batch: Batch) -> None:
    """Add to `batch` the rows that follow from one journaled outcome."""
    if isinstance(outcome, Accepted):
        is_order = isinstance(command, PlaceOrder)
        for number, event in enumerate(outcome.events):
            _project_event(sequence, event, batch)
            traded = _traded(event, is_order)
            if traded is not None:
                market, kind, buyer, seller = traded
                told = dumps_compact(tagged(event))
                batch.trades.append(
                    TradeRow(sequence, number, command.time_ns, market, kind, buyer, seller, told)
                )
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


def _traded(event: Event, is_order: bool) -> tuple[str, str, str, str] | None:
    """Give (market, kind, buyer, seller) of an event that moves base; None of any other."""
    match event:
        case Traded() | SpotTraded():
            sides = (event.taker, event.maker) if event.taker_is_buy else (event.maker, event.taker)
            return event.market, BOOK if is_order else FORCED, *sides
        case BlockTraded():
            return event.market, BLOCK, event.buyer, event.seller
        case BackstopFilled():
            kind, other = BACKSTOP, event.provider
        case PositionsNetted():
            kind, other = NETTING, event.counterparty
        case AutoDeleveraged():
            kind, other = ADL, event.counterparty
        case _:
            return None
    sides = (event.subaccount, other) if event.base_units > 0 else (other, event.subaccount)
    return event.market, kind, *sides


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
