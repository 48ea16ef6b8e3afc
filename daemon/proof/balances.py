"""What the ledger owes to whom, as the proof of solvency counts it: the one map from `State` to balances.

Owns: the map, and the demand that nothing escapes it. Rules:

    credits   cash (locked or not) + lent units + open withdrawals + held deposits, less what the account has
              lost and not paid yet (below)
    borrows   units owed to a lending pool
    claim     unsettled + positions at mark, where positive: what the settlement pool owes the account
    debt      the same where negative. What USDC the account has, cash or lent, pays it first, as the next
              settlement tick would (R26), so that an account with a loss it can pay is not among the debtors
    not       the cash of `settlement_pool` and `lending_pool`: claims less debts, and loans, are that cash

The exchange's own accounts are in clear. Rounding to whole usd6 at mark leaves a residue, which the account
`rounding` takes over, as it does at a tick; what interest has rounded in favor of the lending pool stands
under its name; money on our addresses that no ledger account has (dust, refused deposits) is `set_aside`.
Then, exactly and per asset, net liabilities = `engine.invariants.liabilities_units` + set aside; `balances`
refuses a picture for which this does not hold. A field of the state that this file does not know ends the
proof with `UnknownBalance` (`check_vocabulary`), so that nothing new is left out unnoticed.

Must not know: the chain, files, the curve.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Final

import msgspec

from daemon.errors import DaemonError
from engine import state as engine_state
from engine.invariants import liabilities_units
from engine.margin import realized_usd6
from engine.pool import lent_units, owed_units
from engine.state import OPEN_STATUSES, State, Subaccount
from engine.units import (
    FEES,
    INSURANCE_FUND,
    LENDING_POOL,
    ROUNDING,
    SETTLEMENT_ASSET,
    SETTLEMENT_POOL,
    SYSTEM_ACCOUNTS,
)
from solvency.model import Balances

SET_ASIDE: Final = "set_aside"
_IN_CLEAR: Final = (FEES, INSURANCE_FUND, ROUNDING)
_POOLS: Final = (LENDING_POOL, SETTLEMENT_POOL)
_OWED: Final = OPEN_STATUSES
_OVER: Final = ("paid", "returned")

# Every field of what holds money. A field is counted, or it is said here why not.
_KNOWN: Final[Mapping[type, frozenset[str]]] = {
    engine_state.Subaccount: frozenset(
        (
            *("id", "cash", "positions", "unsettled_usd6", "lent", "borrowed"),
            *("order", "on_debt", "auto_lend", "auto_borrow", "auto_repay"),  # settings
            *("open_orders", "locked", "open_order_count"),  # a part of cash, and intentions
        )
    ),
    engine_state.Position: frozenset(("base_units", "quote_usd6", "entry_cost")),  # the last is for display
    engine_state.Withdrawal: frozenset(
        (
            *("subaccount", "asset", "units", "status"),
            *("withdrawal_id", "destination", "gate", "until_ns", "held_deposit_id"),
        )
    ),
    engine_state.HeldDeposit: frozenset(("subaccount", "asset", "units", "deposit_id", "sender")),
    engine_state.LendingPool: frozenset(
        (
            *("lend_index_e18", "borrow_index_e18"),
            *("lent_shares", "borrowed_shares", "accrued_ns", "roundings"),  # sums of the subaccounts' shares
        )
    ),
    engine_state.State: frozenset(
        (
            *("subaccounts", "held", "withdrawals", "pools", "mark_prices", "index_prices", "totals"),
            *("network_fees_owed_units",),  # owed by the operator to the reserves: lowers no liability
            *("params", "assets", "markets", "sequence", "last_time_ns"),
            # Orders lock cash and move none; the fund's sale and the rest are memories without money.
            *("books", "market_states", "premiums", "last_funding_ns", "debts", "liquidations", "backstops"),
            *("stages", "inventory", "next_inventory_step_ns", "attestation", "averages", "deposited_units"),
            *("withdrawn_units", "network_fees_paid_units", "rounding_postings", "last_tick_ns"),
            *("last_deficit_ns", "deposit_answers", "answers", "order_answers", "recent_answers"),
            *("clockwork_answers", "holders", "unsettled_holders", "queued", "borrowers", "idle"),
            *("fund_short_since_ns", "fund_short_usd6", "order_ids", "queued_of"),
            *("screen", "equity_changes", "reshaped"),
        )
    ),
}


class UnknownBalance(DaemonError):
    """The state holds something that the proof does not count; nothing is proved until it does."""

    exit_status = 4


class OwnedRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one subaccount has: realized_usd6 is unsettled plus its positions at mark."""

    subaccount: str
    realized_usd6: int
    positions: int
    cash: dict[str, int]
    lent: dict[str, int]
    borrowed: dict[str, int]


class Picture(msgspec.Struct, frozen=True):
    """The ledger at one sequence number, as far as it is owed; copied, so that the writer can go on."""

    sequence: int
    time_ns: int
    rows: list[OwnedRow]
    set_apart: list[tuple[str, str, int]]  # open withdrawals and held deposits: subaccount, asset, units
    prices_e8: dict[str, int]
    liabilities_units: dict[str, int]
    network_fees_owed_units: int

    def at(self, time_ns: int) -> Picture:
        """Return the picture under the time at which it was taken: commands may be older."""
        return msgspec.structs.replace(self, time_ns=time_ns)

    def without_rows(self) -> Picture:
        """Return the picture as its first message carries it."""
        return msgspec.structs.replace(self, rows=[])


def check_vocabulary() -> None:
    """Raise UnknownBalance if the state has a field, or a system account, that the map does not know."""
    for kind, known in _KNOWN.items():
        found = {field.name for field in fields(kind)}
        for name in sorted(found ^ known):
            what = "is not counted by" if name in found else "is gone, but is named in"
            raise UnknownBalance(
                f"{kind.__name__}.{name} {what} the proof of solvency (daemon/proof/balances.py)"
            )
    for name in sorted(set(SYSTEM_ACCOUNTS) ^ {*_IN_CLEAR, *_POOLS}):
        raise UnknownBalance(f"the system account {name} is not counted by the proof of solvency")


def take_picture(state: State) -> Picture:
    """Copy what is owed, for `Runner.ask`: about 2 us for a subaccount; the writer waits for that long.

    Raises UnknownBalance as `check_vocabulary`, or for a withdrawal in a state it does not know.
    """
    check_vocabulary()
    was_collecting = gc.isenabled()
    gc.disable()  # copying makes no garbage, and a full collection would take longer than the copy
    try:
        rows = [
            _row(state, one)
            for one in state.subaccounts.values()
            if one.cash or one.positions or one.unsettled_usd6 or one.lent or one.borrowed
        ]
        apart = [(one.subaccount, one.asset, one.units) for one in state.held.values()]
        for withdrawal in state.withdrawals.values():
            if withdrawal.status in _OWED:
                apart.append((withdrawal.subaccount, withdrawal.asset, withdrawal.units))
            elif withdrawal.status not in _OVER:
                raise UnknownBalance(f"withdrawal {withdrawal.withdrawal_id} is {withdrawal.status}")
    finally:
        if was_collecting:
            gc.enable()
    return Picture(
        sequence=state.sequence,
        time_ns=state.last_time_ns,
        rows=rows,
        set_apart=apart,
        prices_e8={asset: price.price_e8 for asset, price in state.index_prices.items()},
        liabilities_units=dict(liabilities_units(state)),
        network_fees_owed_units=state.network_fees_owed_units,
    )


def _row(state: State, one: Subaccount) -> OwnedRow:
    return OwnedRow(
        one.id,
        realized_usd6(state, one) if one.positions else one.unsettled_usd6,
        len(one.positions),
        dict(one.cash),
        {asset: lent_units(state, one, asset) for asset in one.lent},
        {asset: owed_units(state, one, asset) for asset in one.borrowed},
    )


def balances(
    picture: Picture, set_aside: Mapping[str, int], id_of: Callable[[str], str]
) -> tuple[list[Balances], list[Balances]]:
    """Give (customers' accounts, the exchange's own in clear) of a picture.

    `id_of` gives the id that a customer knows to be hers. Raises UnknownBalance unless, per asset, net
    liabilities are what the ledger says is owed plus what is set aside.
    """
    rows = {row.subaccount: row for row in picture.rows}
    apart: dict[str, dict[str, int]] = {}
    for subaccount, asset, units in picture.set_apart:
        mine = apart.setdefault(subaccount, {})
        mine[asset] = mine.get(asset, 0) + units
    empty = OwnedRow("", 0, 0, {}, {}, {})
    pool = rows.get(SETTLEMENT_POOL, empty)
    residue_usd6 = pool.cash.get(SETTLEMENT_ASSET, 0) - sum(row.realized_usd6 for row in picture.rows)
    if abs(residue_usd6) > sum(row.positions for row in picture.rows):
        raise UnknownBalance(f"claims less debts differ from the settlement pool by {residue_usd6} usd6")
    _check_pools(pool, rows.get(LENDING_POOL, empty))
    customers, in_clear = [], []
    for name in {**rows, **apart}:
        if name in _POOLS or name in _IN_CLEAR:
            continue
        customers.append(_balances(id_of(name), rows.get(name, empty), apart.get(name, {}), 0))
    for name in _IN_CLEAR:
        rounded = residue_usd6 if name == ROUNDING else 0
        in_clear.append(_balances(name, rows.get(name, empty), apart.get(name, {}), rounded))
    in_clear.append(Balances(LENDING_POOL, credits=_pool_residue(picture.rows)))
    in_clear.append(Balances(SET_ASIDE, credits={a: units for a, units in set_aside.items() if units}))
    _check_sums(picture, set_aside, [*customers, *in_clear])
    return customers, in_clear


def _check_pools(settlement: OwnedRow, lending: OwnedRow) -> None:
    others = {asset for asset in settlement.cash if asset != SETTLEMENT_ASSET}
    for name, row in ((SETTLEMENT_POOL, settlement), (LENDING_POOL, lending)):
        if row.realized_usd6 or row.positions or row.lent or row.borrowed or others:
            raise UnknownBalance(f"{name} holds more than its cash: {row}")


def _balances(customer_id: str, row: OwnedRow, apart: Mapping[str, int], rounded_usd6: int) -> Balances:
    has = dict(row.cash)
    for asset, units in row.lent.items():
        has[asset] = has.get(asset, 0) + units
    realized = row.realized_usd6 + rounded_usd6
    paid = min(max(0, -realized), has.get(SETTLEMENT_ASSET, 0))
    if paid:
        has[SETTLEMENT_ASSET] -= paid
    for asset, units in apart.items():
        has[asset] = has.get(asset, 0) + units
    return Balances(
        customer_id,
        credits={asset: units for asset, units in has.items() if units},
        borrows={asset: units for asset, units in row.borrowed.items() if units},
        claim_usd6=max(0, realized),
        debt_usd6=max(0, -realized - paid),
    )


def _pool_residue(rows: Iterable[OwnedRow]) -> dict[str, int]:
    """Give what a lending pool has beyond what it owes: rounding goes its way, so never below zero (I6)."""
    units: dict[str, int] = {}
    for row in rows:
        for asset, lent in row.lent.items():
            units[asset] = units.get(asset, 0) - lent
        for asset, owed in row.borrowed.items():
            units[asset] = units.get(asset, 0) + owed
        if row.subaccount == LENDING_POOL:
            for asset, cash in row.cash.items():
                units[asset] = units.get(asset, 0) + cash
    for asset, left in units.items():
        if left < 0:
            raise UnknownBalance(f"the lending pool of {asset} owes {-left} units more than it has")
    return {asset: left for asset, left in units.items() if left}


def _check_sums(picture: Picture, set_aside: Mapping[str, int], accounts: Iterable[Balances]) -> None:
    """Demand the ledger's own count: the last check before anything is proved."""
    net = dict.fromkeys(picture.liabilities_units, 0)
    for one in accounts:
        for asset, units in one.credits.items():
            net[asset] += units
        for asset, units in one.borrows.items():
            net[asset] -= units
        net[SETTLEMENT_ASSET] += one.claim_usd6 - one.debt_usd6
    for asset, found in net.items():
        expected = picture.liabilities_units[asset] + set_aside.get(asset, 0)
        if found != expected:
            raise UnknownBalance(f"{asset}: balances add up to {found}, the ledger owes {expected}")
