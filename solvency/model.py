"""What goes into a proof: the balances of one moment.

Owns: the input values and their checks. Must not know the engine, a chain or a key. Units as in the engine:
amounts are whole base units, money is usd6 (millionths of a dollar), prices are e8.

What the caller passes, so that net liabilities come out true (docs/SOLVENCY.md, "From the engine's state"):
- an account's credits are everything it may ask for: settled cash, lent balances, locked and reserved units
  (a pending withdrawal is still owed), held deposits;
- its claim is positive `unsettled_usd6`, its debt the negative one, with open positions marked at the same
  prices: take the snapshot right after a settlement tick, where positions carry no unsettled profit;
- the cash of the settlement pool is not passed: the claims on it are, less the debts to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from solvency import verifier
from solvency.verifier import Asset


class SnapshotFault(ValueError):
    """Say what is wrong with the numbers given to the prover; nothing was proved."""


@dataclass(frozen=True, slots=True)
class Balances:
    """Hold one account (a margin silo) under the id that its customer will recompute.

    `customer_id` must be something that the customer knows to be hers alone, such as her deposit address:
    two customers told the same id could be shown the same leaf.
    """

    customer_id: str
    credits: Mapping[str, int] = field(default_factory=dict)
    borrows: Mapping[str, int] = field(default_factory=dict)
    claim_usd6: int = 0
    debt_usd6: int = 0

    @property
    def is_debtor(self) -> bool:
        """Tell whether the account owes anything and so needs a public margin proof."""
        return self.debt_usd6 > 0 or any(self.borrows.values())


@dataclass(frozen=True, slots=True)
class Holding:
    """Hold one on-chain account of the exchange: 32-byte account and owner keys, units at the named slot."""

    symbol: str
    account: bytes
    owner: bytes
    units: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Hold everything that one epoch proves: balances at one sequence number, holdings at one slot."""

    epoch: int
    previous_hash: bytes
    sequence: int
    time_ns: int
    slot: int
    assets: tuple[Asset, ...]
    accounts: Sequence[Balances]
    open_accounts: Sequence[Balances]
    holdings: Sequence[Holding]


def _check_units(value: object, what: str) -> None:
    # bool is an int in Python; a balance of True is a bug upstream.
    if type(value) is not int or not 0 <= value <= verifier.MAX_U64:
        raise SnapshotFault(f"{what} must be a whole number in [0, 2^64), not {value!r}")


def _check_account(account: Balances, symbols: frozenset[str]) -> None:
    size = len(account.customer_id.encode("utf-8"))
    if not 1 <= size <= verifier.MAX_ID_BYTES:
        raise SnapshotFault(f"an id has 1 to {verifier.MAX_ID_BYTES} bytes, not {size}")
    for kind, amounts in (("credit", account.credits), ("borrow", account.borrows)):
        for symbol, units in amounts.items():
            if symbol not in symbols:
                raise SnapshotFault(f"{account.customer_id}: unknown asset {symbol!r}")
            _check_units(units, f"{account.customer_id}: {kind} of {symbol}")
    _check_units(account.claim_usd6, f"{account.customer_id}: claim")
    _check_units(account.debt_usd6, f"{account.customer_id}: debt")


def _check_sums(snapshot: Snapshot) -> None:
    """Demand that no sum of a tree reaches 2^64: that is where a range proof would stop meaning anything."""
    everyone = (*snapshot.accounts, *snapshot.open_accounts)
    for asset in snapshot.assets:
        _check_units(sum(a.credits.get(asset.symbol, 0) for a in everyone), f"all credits of {asset.symbol}")
        _check_units(sum(a.borrows.get(asset.symbol, 0) for a in everyone), f"all borrows of {asset.symbol}")
        units = sum(h.units for h in snapshot.holdings if h.symbol == asset.symbol)
        _check_units(units, f"all holdings of {asset.symbol}")
    _check_units(sum(a.claim_usd6 for a in everyone), "all claims")
    _check_units(sum(a.debt_usd6 for a in everyone), "all debts")


def check_snapshot(snapshot: Snapshot) -> None:
    """Refuse a snapshot whose proof would be false or unreadable; raise SnapshotFault with the first."""
    for value, what in (
        (snapshot.epoch, "epoch"),
        (snapshot.sequence, "sequence"),
        (snapshot.time_ns, "time"),
        (snapshot.slot, "slot"),
    ):
        _check_units(value, what)
    symbols = frozenset(asset.symbol for asset in snapshot.assets)
    for accounts, what in ((snapshot.accounts, "account"), (snapshot.open_accounts, "open account")):
        seen: set[str] = set()
        for account in accounts:
            _check_account(account, symbols)
            if account.customer_id in seen:
                raise SnapshotFault(f"{what} {account.customer_id!r} appears twice")
            seen.add(account.customer_id)
    if verifier.FUND_NAME not in {account.customer_id for account in snapshot.open_accounts}:
        raise SnapshotFault("the open accounts must contain the insurance fund, even when it is empty")
    held: set[bytes] = set()
    for holding in snapshot.holdings:
        if holding.symbol not in symbols or len(holding.account) != 32 or len(holding.owner) != 32:
            raise SnapshotFault(f"holding {holding!r} names an unknown asset or a key that is not 32 bytes")
        if holding.account in held:
            raise SnapshotFault(f"reserve account {holding.account.hex()} appears twice")
        held.add(holding.account)
        _check_units(holding.units, f"holding {holding.account.hex()}")
    _check_sums(snapshot)
