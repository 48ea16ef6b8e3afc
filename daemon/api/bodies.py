"""Requests and answers of the control API, typed; JSON with whole numbers in base units.

Rules: an unknown field is refused (a misspelt amount must not become a default); every answer that names
an amount says its unit in the name. Numbers are exact integers up to 2^64: a client whose JSON knows
only doubles must read them as text.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of every request body."""


class Error(msgspec.Struct):
    """Why not; `until_ns` and `would_pass_units` where the engine knows them."""

    code: str
    message: str
    until_ns: int | None = None
    would_pass_units: int | None = None
    final: bool = True


class ErrorBody(msgspec.Struct):
    """The body of every answer that is not 2xx."""

    error: Error


class OpenSubaccountRequest(Request):
    """Open a customer's subaccount and issue its deposit address."""

    subaccount: str
    on_debt: str = "apply"


class OnDebtRequest(Request):
    """Choose what happens to deposits that meet a debt."""

    subaccount: str
    on_debt: str


class AddressBody(msgspec.Struct):
    """The one address that is a subaccount's, and its token accounts by symbol."""

    subaccount: str
    address: str
    token_accounts: dict[str, str]


class PreviewRequest(Request):
    """What would a deposit do now?"""

    subaccount: str
    asset: str
    units: int


class PricesRequest(Request):
    """Decimal dollars per whole token, as text: {"index": {"SOL": "150.25"}, "mark": {...}}.

    Without an id the prices are known by their time: two requests at one time of a manual clock need ids.
    """

    id: str | None = None
    index: dict[str, str] = {}
    mark: dict[str, str] = {}


class TradeRequest(Request):
    """A block trade between two consenting subaccounts; the price is decimal dollars, as text."""

    id: str
    market: str
    buyer: str
    seller: str
    base_units: int
    price: str
    consents: list[str]


class BackstopRequest(Request):
    """Make a subaccount a backstop provider, or end that."""

    subaccount: str


class BackstopCapacityRequest(Request):
    """How much notional a backstop provider takes in a market per minute and per hour; 0 is none."""

    subaccount: str
    market: str
    per_minute_usd6: int
    per_hour_usd6: int


class TransferRequest(Request):
    """Move settled cash between two subaccounts of one account."""

    id: str
    source: str
    target: str
    asset: str
    units: int


class WithdrawRequest(Request):
    """Ask for a payout; `id` is the client's own and makes a repetition harmless."""

    id: str
    subaccount: str
    asset: str
    units: int
    destination: str


class CancelWithdrawalRequest(Request):
    """Take back a withdrawal of the subaccount that is still queued; `id` is the client's own."""

    id: str
    subaccount: str
    withdrawal_id: str


class DepositRequest(Request):
    """Name a held deposit by its key "signature:account:mint"."""

    deposit_id: str


class RuleRequest(Request):
    """What an operator decides on a payout in manual review: landed, failed, watch_again or start_again."""

    id: str
    ruling: str
    why: str
    network_fee_units: int = 0


class ClockRequest(Request):
    """Set the manual clock."""

    time_ns: int


class DoneBody(msgspec.Struct):
    """A command was accepted; `sequence` is its place in the journal, None for a repetition."""

    sequence: int | None
    events: list[dict[str, Any]]


class PositionBody(msgspec.Struct):
    """A position in one market."""

    market: str
    base_units: int
    quote_usd6: int
    mark_price_e8: int | None


class SubaccountBody(msgspec.Struct):
    """Everything the ledger says about one subaccount.

    state: healthy, book, backstop or adl (in liquidation), bankrupt. locked_units are the part of cash that
    resting spot orders have set aside.
    """

    subaccount: str
    address: str | None
    state: str
    on_debt: str
    cash_units: dict[str, int]
    locked_units: dict[str, int]
    lent_units: dict[str, int]
    owed_units: dict[str, int]
    positions: list[PositionBody]
    open_orders: int
    unsettled_usd6: int
    outstanding_negative_equity_usd6: int
    margin: dict[str, Any]
    withdrawable_units: dict[str, int]
    held_deposits: list[dict[str, Any]]


class DepositBody(msgspec.Struct):
    """A deposit and, once it was applied, its receipt."""

    deposit_id: str
    signature: str
    subaccount: str
    asset: str
    units: int
    sender: str
    slot: int
    status: str
    sequence: int | None
    receipt: Any


class PayoutBody(msgspec.Struct):
    """A payout: what the engine ordered and how far it is on chain."""

    id: str
    kind: str
    subaccount: str
    asset: str
    units: int
    destination: str
    state: str
    signature: str | None
    network_fee_units: int
    failure: str
    settled_sequence: int | None


class WithdrawalBody(msgspec.Struct):
    """A withdrawal as the engine knows it, with its payout once that was ordered."""

    id: str
    subaccount: str
    asset: str
    units: int
    destination: str
    status: str
    gate: str
    until_ns: int | None
    payout: PayoutBody | None


class LineBody(msgspec.Struct):
    """One asset of the reconciliation."""

    asset: str
    holdings_units: int
    owed_units: int
    network_fees_owed_units: int
    dust_units: int
    refused_units: int
    unexplained_units: int


class StatusBody(msgspec.Struct):
    """How the daemon is."""

    sequence: int
    journal_hash: str
    state_hash: str
    time_ns: int
    clock: str
    cluster_genesis_hash: str
    scanned_slot: int | None
    lag_slots: int
    lag_seconds: float
    breaches: list[str]
    attested_slot: int | None
    reserves: list[LineBody]
    insurance_fund_units: dict[str, int]
    outstanding_negative_equity_usd6: int
    debtors: int
    claims_usd6: int
    network_fees_owed_units: int
    payouts_open: int
    payouts_in_review: int
    next_settlement_ns: int
    alarms: list[str]


class JournalEntryBody(msgspec.Struct):
    """One journal entry in the open."""

    sequence: int
    command: Any
    outcome: Any
    hash: str


class EpochBody(msgspec.Struct):
    """One epoch of the proof of solvency: its public head, where the bundle is, how far its memo is."""

    epoch: int
    hash: str
    header: bytes  # base64 in JSON
    signature: bytes
    path: str
    publisher: str
    publication_state: str
    publication_signature: str | None


class RecordBody(msgspec.Struct):
    """A customer's record of the last epoch; empty if she had no balance in it."""

    customer_id: str
    record: bytes
    epoch: EpochBody
