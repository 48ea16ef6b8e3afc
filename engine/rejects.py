"""Refusals: values, ordered by precedence, each final or transient, each one statement of fact.

Owns: the list and its order; the first check that fails in this order is the answer (R3, R30). Transient
means that the same wish may pass later without being changed. Must not know how a check is made.
"""

from __future__ import annotations

from enum import Enum


class RejectReason(Enum):
    """Why a command was refused. `value` is the spelling in the journal; `statement` is for people."""

    final: bool
    statement: str

    def __new__(cls, code: str, kind: str, statement: str) -> RejectReason:
        """Build a member from its code, "final" or "transient", and its statement."""
        member = object.__new__(cls)
        member._value_ = code
        member.final = kind == "final"
        member.statement = statement
        return member

    # Of any command (R4). These four leave no trace.
    MALFORMED_COMMAND = "malformed_command", "final", "A field of the command is outside what it may hold."
    ID_REUSED_WITH_DIFFERENT_BODY = (
        "id_reused_with_different_body",
        "final",
        "This id was already used for another command.",
    )
    TIME_WENT_BACK = "time_went_back", "transient", "The command's time is before the last command's time."

    # Who and what.
    UNKNOWN_SUBACCOUNT = "unknown_subaccount", "transient", "No such subaccount is open."
    SYSTEM_ACCOUNT_NOT_ALLOWED = "system_account_not_allowed", "final", "A system account cannot do this."
    SUBACCOUNT_ALREADY_OPEN = "subaccount_already_open", "final", "The subaccount is already open."
    UNKNOWN_DEPOSIT = "unknown_deposit", "final", "No deposit with this id is held."
    UNKNOWN_WITHDRAWAL = "unknown_withdrawal", "final", "No withdrawal has this id."
    WITHDRAWAL_QUEUED = (
        "withdrawal_queued",
        "transient",
        "The withdrawal is still queued; no payout was ordered.",
    )
    WITHDRAWAL_ALREADY_ORDERED = (
        "withdrawal_already_ordered",
        "final",
        "The payout was already ordered; it can no longer be taken back.",
    )
    WITHDRAWAL_ALREADY_PAID = "withdrawal_already_paid", "final", "The withdrawal was already paid."
    WITHDRAWAL_ALREADY_RETURNED = (
        "withdrawal_already_returned",
        "final",
        "The withdrawal was already returned.",
    )
    UNKNOWN_ASSET = "unknown_asset", "final", "The asset is not listed."
    UNKNOWN_MARKET = "unknown_market", "final", "The market is not listed."
    SAME_SUBACCOUNT = "same_subaccount", "final", "Both sides are the same subaccount."
    DIFFERENT_ACCOUNTS = "different_accounts", "final", "The subaccounts belong to different accounts."
    UNKNOWN_ORDER = "unknown_order", "final", "No such order of this subaccount is open."
    CLIENT_ORDER_ID_IN_USE = (
        "client_order_id_in_use",
        "transient",
        "An open order of this subaccount has this client order id.",
    )
    TOO_MANY_OPEN_ORDERS = (
        "too_many_open_orders",
        "transient",
        "The subaccount has as many open orders in this market as are allowed.",
    )
    MARKET_CLOSED = "market_closed", "transient", "The market is closed."
    MARKET_POST_ONLY = "market_post_only", "transient", "The market takes post-only orders only."
    MARKET_REDUCE_ONLY = "market_reduce_only", "transient", "The market takes reduce-only orders only."
    ALREADY_BACKSTOP_PROVIDER = (
        "already_backstop_provider",
        "final",
        "The subaccount is already a backstop provider.",
    )
    NOT_BACKSTOP_PROVIDER = (
        "not_backstop_provider",
        "transient",
        "The subaccount is not a backstop provider.",
    )
    CONSENT_MISSING = "consent_missing", "final", "A side of the trade has not consented."

    # How much and where to.
    AMOUNT_NOT_POSITIVE = "amount_not_positive", "final", "The amount must be above zero."
    AMOUNT_TOO_LARGE = "amount_too_large", "final", "The amount is above what can exist."
    AMOUNT_NEGATIVE = "amount_negative", "final", "The amount must not be below zero."
    BELOW_MINIMUM = "below_minimum", "final", "The amount is below the minimum of this asset."
    PRICE_OUT_OF_RANGE = "price_out_of_range", "final", "A price must be above zero and at most 10^10 USD."
    NOT_A_WHOLE_LOT = "not_a_whole_lot", "final", "The size is not a multiple of the market's lot."
    NOT_A_WHOLE_TICK = "not_a_whole_tick", "final", "The price is not a multiple of the market's tick."
    DESTINATION_INVALID = "destination_invalid", "final", "The destination cannot receive this payout."
    ATTESTATION_OUT_OF_ORDER = "attestation_out_of_order", "final", "A later slot was already attested."
    PRICE_UNAVAILABLE = "price_unavailable", "transient", "A price that is needed was never set."
    PRICE_OUTSIDE_BAND = (
        "price_outside_band",
        "transient",
        "The price is outside the band around the mark price.",
    )

    PRICE_OUTSIDE_LIMITS = (
        "price_outside_limits",
        "transient",
        "The price is outside the limits around the index price.",
    )
    NOTHING_TO_REDUCE = "nothing_to_reduce", "transient", "There is no position that the order would reduce."
    POST_ONLY_WOULD_TRADE = (
        "post_only_would_trade",
        "transient",
        "A post-only order would trade at once.",
    )
    FILL_OR_KILL_UNFILLED = (
        "fill_or_kill_unfilled",
        "transient",
        "The book cannot fill the whole order now.",
    )

    # The subaccount's condition (R30 in its order).
    IN_LIQUIDATION = "in_liquidation", "transient", "The subaccount is below maintenance margin."
    OUTSTANDING_NEGATIVE_EQUITY = (
        "outstanding_negative_equity",
        "transient",
        "The subaccount has outstanding negative equity.",
    )
    UNCOLLECTED_LOSS = "uncollected_loss", "transient", "A realized loss has not been collected yet."
    INSUFFICIENT_SETTLED_CASH = (
        "insufficient_settled_cash",
        "transient",
        "The amount is above the settled cash.",
    )
    INSUFFICIENT_INITIAL_MARGIN = (
        "insufficient_initial_margin",
        "transient",
        "Net equity afterwards would be below initial margin.",
    )
    NOTHING_BORROWED = "nothing_borrowed", "transient", "Nothing of this asset is borrowed."
    BORROW_LIMIT_EXCEEDED = (
        "borrow_limit_exceeded",
        "transient",
        "The borrow would exceed what one subaccount may owe of this asset.",
    )
    INSUFFICIENT_LENT_BALANCE = (
        "insufficient_lent_balance",
        "transient",
        "The amount is above the lent balance.",
    )
    STALE_PRICE = "stale_price", "transient", "A price that is needed is too old."
    AMOUNT_BELOW_NETWORK_FEE = (
        "amount_below_network_fee",
        "transient",
        "Nothing would be left after the network fee.",
    )

    # The lending pool's condition (R10).
    UTILIZATION_ABOVE_THROTTLE = (
        "utilization_above_throttle",
        "transient",
        "So much of the pool is borrowed that redeeming and borrowing pause.",
    )
    UTILIZATION_ABOVE_MAXIMUM = (
        "utilization_above_maximum",
        "transient",
        "More of the pool would be borrowed than is allowed.",
    )

    # The exchange's condition (R33a). The pool gate and the velocity guard queue; they never refuse.
    RESERVES_NOT_ATTESTED = (
        "reserves_not_attested",
        "transient",
        "No attestation of reserves is young enough.",
    )
    RESERVES_INSUFFICIENT = (
        "reserves_insufficient",
        "transient",
        "Attested reserves do not cover liabilities.",
    )


PRECEDENCE: tuple[RejectReason, ...] = tuple(RejectReason)
