"""Every command of the engine: frozen values, imperative names, all starting with `id` and `time_ns` (R4).

Owns: the vocabulary that may enter. Time, prices and the chain side's findings come in as data (R3). Must not
know what a command does. Fields may only be int, str and tuples of them (the codec decodes nothing else).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from engine.units import SubaccountId


@dataclass(frozen=True, slots=True)
class OpenSubaccount:
    """Open a customer's subaccount (R6). `on_debt` is "apply" or "hold" (R29)."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    on_debt: str = "apply"


@dataclass(frozen=True, slots=True)
class SetOnDebt:
    """Choose what happens to later deposits that meet a debt (R29). Deposits already held stay held."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    on_debt: str


@dataclass(frozen=True, slots=True)
class UpdatePrices:
    """Set index prices per asset and mark prices per market, all `_e8`; then close what is below maintenance
    (R20).
    """

    id: str
    time_ns: int
    index_prices: tuple[tuple[str, int], ...]
    mark_prices: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class BlockTrade:
    """Trade a perpetual between two subaccounts that both consent, inside the band around mark (R19)."""

    id: str
    time_ns: int
    market: str
    buyer: SubaccountId
    seller: SubaccountId
    base_units: int
    price_e8: int
    consents: tuple[SubaccountId, ...]


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """Place an order on a book (R12, R15, R19).

    side: "buy" | "sell". kind: "limit" | "market" | "post_only" | "ioc" | "fok". price_e8 is 0 for a market
    order. reduce_only is 0 or 1. client_order_id may be empty; among a subaccount's open orders of a market
    it is unique.
    """

    id: str
    time_ns: int
    subaccount: SubaccountId
    market: str
    side: str
    kind: str
    base_units: int
    price_e8: int
    reduce_only: int = 0
    client_order_id: str = ""


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel a resting order by its order_id, or, when that is 0, by its client_order_id (R12)."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    market: str
    order_id: int
    client_order_id: str = ""


@dataclass(frozen=True, slots=True)
class CancelAllOrders:
    """Cancel every resting order of a subaccount in a market, or in all markets when it is "" (R12)."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    market: str


@dataclass(frozen=True, slots=True)
class SetMarketState:
    """Set what a market lets in: "open" | "post_only" | "reduce_only" | "closed" (R12)."""

    id: str
    time_ns: int
    market: str
    market_state: str


@dataclass(frozen=True, slots=True)
class UpdateQuotes:
    """Bring what sources say an asset is worth: (feed, source, price_e8, time_ns) each; index and marks
    follow (R13), then whoever is below maintenance is dealt with (R20).
    """

    id: str
    time_ns: int
    asset: str
    quotes: tuple[tuple[str, str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Settle: move profit and loss, collect, let the fund cover, pay claims (R26, R27). Sent every
    interval.
    """

    id: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Deposit:
    """Credit what arrived on chain, settling negative equity first (R28). `id` is
    "signature:account:mint".
    """

    id: str
    time_ns: int
    subaccount: SubaccountId
    asset: str
    units: int
    sender: str


@dataclass(frozen=True, slots=True)
class AcceptHeldDeposit:
    """Take a held deposit as R28 would: the debt first, the rest credited (R29)."""

    id: str
    time_ns: int
    deposit_id: str


@dataclass(frozen=True, slots=True)
class ReturnHeldDeposit:
    """Send a held deposit back to its sender, less the network fee given in lamports (R29)."""

    id: str
    time_ns: int
    deposit_id: str
    network_fee_units: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """Move settled cash between two subaccounts of one account (R19)."""

    id: str
    time_ns: int
    source: SubaccountId
    target: SubaccountId
    asset: str
    units: int


@dataclass(frozen=True, slots=True)
class SetLending:
    """Choose what happens by itself (R10, R11), each 0 or 1: idle cash is lent, what is short is borrowed,
    incoming units of a borrowed asset repay it.
    """

    id: str
    time_ns: int
    subaccount: SubaccountId
    auto_lend: int
    auto_borrow: int
    auto_repay: int


@dataclass(frozen=True, slots=True)
class Lend:
    """Move cash into the lending pool of its asset (R10)."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    asset: str
    units: int


@dataclass(frozen=True, slots=True)
class Redeem:
    """Move lent units back to cash, as the pool allows (R10)."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    asset: str
    units: int


@dataclass(frozen=True, slots=True)
class Borrow:
    """Borrow units from the lending pool into cash (R11)."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    asset: str
    units: int


@dataclass(frozen=True, slots=True)
class Repay:
    """Pay back borrowed units from cash, then from what is lent of the same asset; at most what is owed
    (R11).
    """

    id: str
    time_ns: int
    subaccount: SubaccountId
    asset: str
    units: int


@dataclass(frozen=True, slots=True)
class RequestWithdrawal:
    """Ask for a payout (R30). `destination_fault` is the chain side's verdict: "" when the destination is
    good.
    """

    id: str
    time_ns: int
    subaccount: SubaccountId
    asset: str
    units: int
    destination: str
    destination_fault: str = ""


@dataclass(frozen=True, slots=True)
class CancelWithdrawal:
    """Take back a queued withdrawal of one's own: its units come back to cash (R31, R32)."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    withdrawal_id: str


@dataclass(frozen=True, slots=True)
class ConfirmWithdrawal:
    """State that a reserved payout is final on chain; network_fee_units are lamports the operator spent
    (I10).
    """

    id: str
    time_ns: int
    withdrawal_id: str
    signature: str
    network_fee_units: int


@dataclass(frozen=True, slots=True)
class ReturnWithdrawal:
    """State that a reserved payout will never land; its units go back. Lamports may have been spent (I10)."""

    id: str
    time_ns: int
    withdrawal_id: str
    reason: str
    network_fee_units: int


@dataclass(frozen=True, slots=True)
class PayNetworkFee:
    """State that a transaction that pays nobody is final on chain, and the lamports it cost the operator.

    Such as the memo that publishes a proof of solvency (I1): the lamports left the reserves, so the ledger
    says whose they were.
    """

    id: str
    time_ns: int
    purpose: str
    signature: str
    network_fee_units: int


@dataclass(frozen=True, slots=True)
class AttestReserves:
    """State the on-chain holdings per asset at a finalized slot, payouts and deposits up to it applied
    (R33a).
    """

    id: str
    time_ns: int
    holdings: tuple[tuple[str, int], ...]
    slot: int


@dataclass(frozen=True, slots=True)
class RegisterBackstop:
    """Make a subaccount a backstop provider, with no capacity yet (R23)."""

    id: str
    time_ns: int
    subaccount: SubaccountId


@dataclass(frozen=True, slots=True)
class SetBackstopCapacity:
    """Say how much notional a provider takes in a market per minute and per hour; 0 is none (R23)."""

    id: str
    time_ns: int
    subaccount: SubaccountId
    market: str
    per_minute_usd6: int
    per_hour_usd6: int


@dataclass(frozen=True, slots=True)
class LeaveBackstop:
    """Stop being a backstop provider; what was taken stays (R23)."""

    id: str
    time_ns: int
    subaccount: SubaccountId


Command: TypeAlias = (
    OpenSubaccount
    | SetOnDebt
    | UpdatePrices
    | BlockTrade
    | PlaceOrder
    | CancelOrder
    | CancelAllOrders
    | SetMarketState
    | UpdateQuotes
    | Tick
    | Deposit
    | AcceptHeldDeposit
    | ReturnHeldDeposit
    | Transfer
    | SetLending
    | Lend
    | Redeem
    | Borrow
    | Repay
    | RequestWithdrawal
    | ConfirmWithdrawal
    | ReturnWithdrawal
    | CancelWithdrawal
    | PayNetworkFee
    | AttestReserves
    | RegisterBackstop
    | SetBackstopCapacity
    | LeaveBackstop
)

COMMAND_TYPES: tuple[type[Command], ...] = (
    OpenSubaccount,
    SetOnDebt,
    UpdatePrices,
    BlockTrade,
    PlaceOrder,
    CancelOrder,
    CancelAllOrders,
    SetMarketState,
    UpdateQuotes,
    Tick,
    Deposit,
    AcceptHeldDeposit,
    ReturnHeldDeposit,
    Transfer,
    SetLending,
    Lend,
    Redeem,
    Borrow,
    Repay,
    RequestWithdrawal,
    ConfirmWithdrawal,
    ReturnWithdrawal,
    CancelWithdrawal,
    PayNetworkFee,
    AttestReserves,
    RegisterBackstop,
    SetBackstopCapacity,
    LeaveBackstop,
)
