"""Every event of the engine: frozen values in the past tense that carry the units really posted (R5).

Owns: what is announced, and by its docstring, what each event changes. Folding the events alone reproduces
every balance: `x += y` below means that balance x of the named subaccount changes by y; `cash`, `unsettled`,
`base` and `quote` are the balances of R7, `pending` and `held` are units per asset set aside from all
subaccounts. An event whose docstring names no balance changes none. engine/ledger.py posts exactly this. Must
not know why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from engine.units import SubaccountId


@dataclass(frozen=True, slots=True)
class SubaccountOpened:
    """A customer's subaccount exists, with nothing in it."""

    subaccount: SubaccountId
    on_debt: str


@dataclass(frozen=True, slots=True)
class OnDebtSet:
    """The choice of R29 was made."""

    subaccount: SubaccountId
    on_debt: str


@dataclass(frozen=True, slots=True)
class PricesUpdated:
    """Index prices per asset and mark prices per market were set."""

    index_prices: tuple[tuple[str, int], ...]
    mark_prices: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class BlockTraded:
    """A block trade was booked.

    buyer: base += base_units, quote += buyer_quote_usd6 (negative, rounded up in size). seller: base -=
    base_units, quote += seller_quote_usd6 (rounded down). rounding: quote += rounding_usd6.
    """

    market: str
    buyer: SubaccountId
    seller: SubaccountId
    base_units: int
    price_e8: int
    buyer_quote_usd6: int
    seller_quote_usd6: int
    rounding_usd6: int


@dataclass(frozen=True, slots=True)
class OrderRested:
    """An order, or what is left of it, stands on a book behind all others of its price (R12)."""

    market: str
    order_id: int
    subaccount: SubaccountId
    is_buy: bool
    price_e8: int
    units: int
    reduce_only: bool
    client_order_id: str


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """`units` of an order will not trade any more (R12); the reason says why.

    requested | immediate_or_cancel | self_trade | price_band | nothing_to_reduce | insufficient_margin |
    insufficient_cash | needed_for_losses | liquidation | bankruptcy. An order that never rested is named
    too.
    """

    market: str
    order_id: int
    subaccount: SubaccountId
    units: int
    reason: str


@dataclass(frozen=True, slots=True)
class Traded:
    """Two orders met on a perpetual market, at the resting order's price (R12).

    The buyer of maker and taker: base += units, quote -= notional_usd6; the seller: base -= units, quote +=
    notional_usd6. maker: quote -= maker_fee_usd6; taker: quote -= taker_fee_usd6; fees: quote += both. A
    negative fee is a rebate.
    """

    market: str
    maker: SubaccountId
    maker_order_id: int
    taker: SubaccountId
    taker_order_id: int
    taker_is_buy: bool
    units: int
    price_e8: int
    notional_usd6: int
    maker_fee_usd6: int
    taker_fee_usd6: int


@dataclass(frozen=True, slots=True)
class SpotTraded:
    """Two orders met on a spot market, at the resting order's price (R12).

    The buyer of maker and taker: asset cash += units, USDC cash -= notional_usd6; the seller: the reverse.
    maker: USDC cash -= maker_fee_usd6; taker: USDC cash -= taker_fee_usd6; fees: USDC cash += both.
    """

    market: str
    maker: SubaccountId
    maker_order_id: int
    taker: SubaccountId
    taker_order_id: int
    taker_is_buy: bool
    units: int
    price_e8: int
    notional_usd6: int
    maker_fee_usd6: int
    taker_fee_usd6: int


@dataclass(frozen=True, slots=True)
class MarketStateSet:
    """A market lets in other orders than before (R12)."""

    market: str
    market_state: str


@dataclass(frozen=True, slots=True)
class QuotesTaken:
    """An asset's quotes were judged (R13). When stale, the index keeps its last price, and is stale from now.

    index_price_e8 is the median of what counted, also when that is too little to be used; 0 of nothing.
    dropped names "feed/source" of every quote that did not count.
    """

    asset: str
    index_price_e8: int
    stale: bool
    used_sources: int
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FundingPaid:
    """Longs and shorts of a market paid each other for an hour (R14).

    Each (subaccount, usd6) of payments: quote += usd6. rounding: quote += rounding_usd6. They add up to 0.
    rate_e9 is the hour's rate x 10^9; above 0 longs pay.
    """

    market: str
    rate_e9: int
    index_price_e8: int
    payments: tuple[tuple[SubaccountId, int], ...]
    rounding_usd6: int


@dataclass(frozen=True, slots=True)
class PnlSettled:
    """A position's profit or loss became realized (R26). subaccount: quote -= pnl, unsettled += pnl."""

    subaccount: SubaccountId
    market: str
    pnl_usd6: int
    mark_price_e8: int


@dataclass(frozen=True, slots=True)
class LiquidationStarted:
    """A subaccount failed and is in liquidation, in stage "book" (R20)."""

    subaccount: SubaccountId
    net_equity_usd6: int
    account_value_usd6: int
    maintenance_margin_usd6: int


@dataclass(frozen=True, slots=True)
class LiquidationStageChanged:
    """A liquidation went on to stage "backstop" or "adl" (R20).

    `why` is "below_acmf", "no_progress" or "backstop_exhausted".
    """

    subaccount: SubaccountId
    stage: str
    why: str


@dataclass(frozen=True, slots=True)
class LiquidationEnded:
    """A liquidation is over (R20); `outcome` is "recovered", "closed" or "bankrupt"."""

    subaccount: SubaccountId
    outcome: str


@dataclass(frozen=True, slots=True)
class BackstopFilled:
    """A backstop provider took a position, or a part of it (R23).

    subaccount: base += base_units (signed), quote += quote_usd6, in which released_usd6 is deducted.
    provider: base -= base_units, quote += provider_quote_usd6, in which provider_usd6 is contained. rounding:
    quote += rounding_usd6. insurance_fund: unsettled += fund_usd6. released = provider_usd6 + fund_usd6.
    """

    subaccount: SubaccountId
    provider: SubaccountId
    market: str
    base_units: int
    mark_price_e8: int
    price_e8: int
    quote_usd6: int
    provider_quote_usd6: int
    rounding_usd6: int
    released_usd6: int
    provider_usd6: int
    fund_usd6: int
    base_left_units: int


@dataclass(frozen=True, slots=True)
class PositionsNetted:
    """Two positions in liquidation were closed against each other at mark (R24).

    subaccount: base += base_units (signed), quote += quote_usd6. counterparty: base -= base_units, quote +=
    counterparty_quote_usd6. rounding: quote += rounding_usd6.
    """

    subaccount: SubaccountId
    counterparty: SubaccountId
    market: str
    base_units: int
    mark_price_e8: int
    quote_usd6: int
    counterparty_quote_usd6: int
    rounding_usd6: int
    base_left_units: int


@dataclass(frozen=True, slots=True)
class AutoDeleveraged:
    """A position in liquidation was closed against an opposite holder at its zero price (R24): his receipt.

    subaccount: base += base_units (signed), quote += quote_usd6. counterparty: base -= base_units, quote +=
    counterparty_quote_usd6. rounding: quote += rounding_usd6. Both quotes contain what was moved:
    forgone_usd6 is what the counterparty gave up against a close at mark (negative: was given),
    deficit_usd6 what the zero price wanted beyond his unrealized profit. `group` is "reduces_delta" or
    "hedge"; rank 1 was reduced first on this side of the market in this command.
    """

    subaccount: SubaccountId
    counterparty: SubaccountId
    market: str
    base_units: int
    mark_price_e8: int
    price_e8: int
    quote_usd6: int
    counterparty_quote_usd6: int
    rounding_usd6: int
    forgone_usd6: int
    deficit_usd6: int
    group: str
    rank: int
    base_left_units: int


@dataclass(frozen=True, slots=True)
class BackstopRegistered:
    """A subaccount is a backstop provider, with no capacity yet (R23)."""

    subaccount: SubaccountId


@dataclass(frozen=True, slots=True)
class BackstopCapacitySet:
    """A provider takes so much notional per minute and per hour in a market (R23)."""

    subaccount: SubaccountId
    market: str
    per_minute_usd6: int
    per_hour_usd6: int


@dataclass(frozen=True, slots=True)
class BackstopLeft:
    """A subaccount is no longer a backstop provider (R23)."""

    subaccount: SubaccountId


@dataclass(frozen=True, slots=True)
class LossCollected:
    """A realized loss was paid from USDC cash (R26). subaccount: cash -= units, unsettled += units; pool:
    cash += units.
    """

    subaccount: SubaccountId
    units: int
    remaining_usd6: int


@dataclass(frozen=True, slots=True)
class CollateralConverted:
    """Collateral paid a realized loss at index less the haircut (R26).

    subaccount: asset cash -= units, unsettled += usd6. insurance_fund: asset cash += units, USDC cash -=
    fund_paid_usd6, unsettled -= fund_owed_usd6. settlement_pool: USDC cash += fund_paid_usd6. fund_paid +
    fund_owed = usd6.
    """

    subaccount: SubaccountId
    asset: str
    units: int
    usd6: int
    rate_e8: int
    fund_paid_usd6: int
    fund_owed_usd6: int


@dataclass(frozen=True, slots=True)
class SubaccountBankrupt:
    """Nothing is left but a debt: outstanding negative equity began (R27).

    outstanding_usd6 is the realized loss not paid, -unsettled; dust worth nothing at the conversion rate is
    not deducted.
    """

    subaccount: SubaccountId
    outstanding_usd6: int


@dataclass(frozen=True, slots=True)
class DebtEnded:
    """The outstanding negative equity of a subaccount is gone."""

    subaccount: SubaccountId


@dataclass(frozen=True, slots=True)
class DebtCovered:
    """The insurance fund paid a debt, for good (R27). subaccount: unsettled += units; fund: cash -= units;
    pool: cash += units.
    """

    subaccount: SubaccountId
    units: int
    remaining_usd6: int


@dataclass(frozen=True, slots=True)
class ClaimPaid:
    """A winner got cash for realized profit (R26). subaccount: cash += units, unsettled -= units; pool: cash
    -= units.
    """

    subaccount: SubaccountId
    units: int
    remaining_usd6: int


@dataclass(frozen=True, slots=True)
class LossSocialized:
    """An old debt was written off and the claims behind it were cut (R27).

    subaccount: unsettled += extinguished_usd6. Each (winner, cut_usd6) of cuts: unsettled -= cut. The cuts
    add up.
    """

    subaccount: SubaccountId
    extinguished_usd6: int
    cuts: tuple[tuple[SubaccountId, int], ...]


@dataclass(frozen=True, slots=True)
class DepositApplied:
    """A deposit was posted, debt first (R28): its receipt.

    deposited = applied + credited, in units. If `was_held`: held -= deposited_units. Of what is applied,
    repaid_units (worth repaid_usd6 at index) paid back a borrow of the same asset: lending_pool cash +=
    repaid_units, subaccount: borrowed shares -= repaid_shares. The rest, units = applied - repaid and usd6 =
    applied - repaid: subaccount: cash += credited_units, unsettled += usd6. USDC: settlement_pool cash +=
    units. Another asset: insurance_fund asset cash += units, fund USDC cash -= fund_paid_usd6, fund unsettled
    -= fund_owed_usd6, settlement_pool USDC cash += fund_paid_usd6. fees only: network_fees_collected_units of
    the credited SOL went to what the operator owed for network fees (cash -= it, network fees owed -= it).
    rate_e8 is 10^8 for USDC and 0 when nothing could be valued.
    """

    deposit_id: str
    subaccount: SubaccountId
    asset: str
    sender: str
    deposited_units: int
    applied_units: int
    applied_usd6: int
    rate_e8: int
    credited_units: int
    outstanding_before_usd6: int
    outstanding_after_usd6: int
    fund_paid_usd6: int
    fund_owed_usd6: int
    network_fees_collected_units: int
    was_held: bool
    repaid_units: int = 0
    repaid_usd6: int = 0
    repaid_shares: int = 0


@dataclass(frozen=True, slots=True)
class DepositHeld:
    """A deposit met a debt and waits for the customer (R29). held += units."""

    deposit_id: str
    subaccount: SubaccountId
    asset: str
    units: int
    sender: str
    outstanding_usd6: int


@dataclass(frozen=True, slots=True)
class DepositReturned:
    """A held deposit goes back to its sender (R29): a payout order like `WithdrawalReserved`.

    held -= units + charged_units, pending += units; fees: asset cash += charged_units, then, in SOL,
    cash -= network_fees_collected_units and network fees owed -= it.
    """

    withdrawal_id: str
    deposit_id: str
    subaccount: SubaccountId
    asset: str
    units: int
    charged_units: int
    network_fees_collected_units: int
    destination: str


@dataclass(frozen=True, slots=True)
class TransferMade:
    """Cash moved inside one account (R19). source: cash -= units; target: cash += units."""

    source: SubaccountId
    target: SubaccountId
    asset: str
    units: int


@dataclass(frozen=True, slots=True)
class LendingSet:
    """The choices of R10 and R11 were made."""

    subaccount: SubaccountId
    auto_lend: bool
    auto_borrow: bool
    auto_repay: bool


@dataclass(frozen=True, slots=True)
class InterestAccrued:
    """Interest of a lending pool up to now (R9). The pool's two indices become those given.

    fees: lent shares += fee_shares. utilization_ppm and borrow_rate_ppm, both rounded up, are for display.
    """

    asset: str
    utilization_ppm: int
    borrow_rate_ppm: int
    borrow_index_e18: int
    lend_index_e18: int
    fee_shares: int


@dataclass(frozen=True, slots=True)
class Lent:
    """Cash went into the pool (R10). subaccount: cash -= units, lent shares += shares; lending_pool: cash +=
    units.
    """

    subaccount: SubaccountId
    asset: str
    units: int
    shares: int


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Lent units came back (R10). lending_pool: cash -= units; subaccount: lent shares -= shares, cash +=
    units.
    """

    subaccount: SubaccountId
    asset: str
    units: int
    shares: int


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Units were borrowed (R11). lending_pool: cash -= units; subaccount: cash += units, borrowed shares +=
    shares.
    """

    subaccount: SubaccountId
    asset: str
    units: int
    shares: int


@dataclass(frozen=True, slots=True)
class Repaid:
    """A borrow was paid back, from cash and from what was lent of the same asset (R11).

    subaccount: cash -= cash_units, lent shares -= lent_shares (worth lent_units), borrowed shares -= shares;
    lending_pool: cash += cash_units. owed_units is what is still owed.
    """

    subaccount: SubaccountId
    asset: str
    cash_units: int
    lent_units: int
    lent_shares: int
    shares: int
    owed_units: int


@dataclass(frozen=True, slots=True)
class BorrowTakenOver:
    """The insurance fund took over a borrow, or a part of it, at a rate (R21, R27); lenders never notice.

    subaccount: borrowed shares -= shares, unsettled -= usd6; insurance_fund: borrowed shares += shares,
    unsettled += usd6. units is what the shares owe.
    """

    subaccount: SubaccountId
    asset: str
    units: int
    shares: int
    usd6: int
    rate_e8: int


@dataclass(frozen=True, slots=True)
class LentConverted:
    """Lent units that the pool cannot give out now paid a realized loss at index less the haircut (R26).

    subaccount: lent shares -= shares, unsettled += usd6. insurance_fund: lent shares += shares, USDC cash -=
    fund_paid_usd6, unsettled -= fund_owed_usd6. settlement_pool: USDC cash += fund_paid_usd6.
    """

    subaccount: SubaccountId
    asset: str
    units: int
    shares: int
    usd6: int
    rate_e8: int
    fund_paid_usd6: int
    fund_owed_usd6: int


@dataclass(frozen=True, slots=True)
class WithdrawalQueued:
    """A withdrawal passed its own checks and waits for the exchange's (R31, R32). cash -= units, pending +=
    units.

    `gate` is "pool" or "velocity"; it passes at until_ns at the latest (reserves must be attested then,
    R33a).
    """

    withdrawal_id: str
    subaccount: SubaccountId
    asset: str
    units: int
    destination: str
    gate: str
    until_ns: int


@dataclass(frozen=True, slots=True)
class WithdrawalReserved:
    """A payout is ordered (R30). Unless `was_queued`: cash -= units, pending += units."""

    withdrawal_id: str
    subaccount: SubaccountId
    asset: str
    units: int
    destination: str
    was_queued: bool


@dataclass(frozen=True, slots=True)
class WithdrawalPaid:
    """A payout is final on chain. pending -= units.

    fees: SOL cash -= network_fee_units - network_fee_owed_units; network fees owed += network_fee_owed_units.
    """

    withdrawal_id: str
    subaccount: SubaccountId
    asset: str
    units: int
    destination: str
    signature: str
    network_fee_units: int
    network_fee_owed_units: int


@dataclass(frozen=True, slots=True)
class WithdrawalReturned:
    """A payout will never happen. pending -= units; cash += units, or held += units when it was a returned
    deposit.

    Network fees as in `WithdrawalPaid`. held_deposit_id is "" for a withdrawal.
    """

    withdrawal_id: str
    subaccount: SubaccountId
    asset: str
    units: int
    reason: str
    held_deposit_id: str
    network_fee_units: int
    network_fee_owed_units: int


@dataclass(frozen=True, slots=True)
class NetworkFeePaid:
    """A transaction that pays nobody is final on chain. Network fees as in `WithdrawalPaid`."""

    purpose: str
    signature: str
    network_fee_units: int
    network_fee_owed_units: int


@dataclass(frozen=True, slots=True)
class ReservesAttested:
    """Holdings were compared with what is owed (R33a). surplus_units = holdings - owed to customers, per
    asset listed.
    """

    slot: int
    holdings: tuple[tuple[str, int], ...]
    surplus_units: tuple[tuple[str, int], ...]


Event: TypeAlias = (
    SubaccountOpened
    | OnDebtSet
    | PricesUpdated
    | BlockTraded
    | OrderRested
    | OrderCancelled
    | Traded
    | SpotTraded
    | MarketStateSet
    | QuotesTaken
    | FundingPaid
    | PnlSettled
    | LiquidationStarted
    | LiquidationStageChanged
    | LiquidationEnded
    | BackstopFilled
    | PositionsNetted
    | AutoDeleveraged
    | BackstopRegistered
    | BackstopCapacitySet
    | BackstopLeft
    | LossCollected
    | CollateralConverted
    | SubaccountBankrupt
    | DebtEnded
    | DebtCovered
    | ClaimPaid
    | LossSocialized
    | DepositApplied
    | DepositHeld
    | DepositReturned
    | TransferMade
    | LendingSet
    | InterestAccrued
    | Lent
    | Redeemed
    | Borrowed
    | Repaid
    | BorrowTakenOver
    | LentConverted
    | WithdrawalQueued
    | WithdrawalReserved
    | WithdrawalPaid
    | WithdrawalReturned
    | NetworkFeePaid
    | ReservesAttested
)

EVENT_TYPES: tuple[type[Event], ...] = (
    SubaccountOpened,
    OnDebtSet,
    PricesUpdated,
    BlockTraded,
    OrderRested,
    OrderCancelled,
    Traded,
    SpotTraded,
    MarketStateSet,
    QuotesTaken,
    FundingPaid,
    PnlSettled,
    LiquidationStarted,
    LiquidationStageChanged,
    LiquidationEnded,
    BackstopFilled,
    PositionsNetted,
    AutoDeleveraged,
    BackstopRegistered,
    BackstopCapacitySet,
    BackstopLeft,
    LossCollected,
    CollateralConverted,
    SubaccountBankrupt,
    DebtEnded,
    DebtCovered,
    ClaimPaid,
    LossSocialized,
    DepositApplied,
    DepositHeld,
    DepositReturned,
    TransferMade,
    LendingSet,
    InterestAccrued,
    Lent,
    Redeemed,
    Borrowed,
    Repaid,
    BorrowTakenOver,
    LentConverted,
    WithdrawalQueued,
    WithdrawalReserved,
    WithdrawalPaid,
    WithdrawalReturned,
    NetworkFeePaid,
    ReservesAttested,
)
