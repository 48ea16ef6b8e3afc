"""R3, R4: every refusal has a row; a refused command changes no balance; the first failure wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected
from engine.events import WithdrawalQueued, WithdrawalReserved
from engine.margin import margin_of
from engine.params import Params, default_params
from engine.rejects import PRECEDENCE, RejectReason
from tests.engine.conftest import DOLLAR_E8, SOL, USDC, Exchange
from tests.engine.lending_rows import LENDING_ROWS
from tests.engine.order_rows import ORDER_ROWS, bankrupt, liquidated

R = RejectReason
Row = Callable[[Exchange], Any]
PRICE = 150 * DOLLAR_E8
BOTH = ("1/0", "2/0")


def with_unpriced_asset() -> Params:
    """Give parameters with an asset ETH and its two markets, for which no price ever came; no velocity
    guard.
    """
    base = default_params()
    sol, perp, spot = base.assets[1], base.markets[0], base.markets[2]
    return replace(
        base,
        assets=(*base.assets, replace(sol, symbol="ETH")),
        markets=(
            *base.markets,
            replace(perp, symbol="ETH-PERP", asset="ETH"),
            replace(spot, symbol="ETH/USDC", asset="ETH"),
        ),
        velocity_floor_ppm=0,
    )


def prepared(params: Any = None) -> Exchange:
    """Give 1/0 and 2/0 with $1,000 and 10 SOL each, prices, reserves attested."""
    exchange = Exchange(params)
    exchange.open("1/0", "2/0", "1/1")
    exchange.prices(150)
    for name in BOTH:
        exchange.deposit(name, 1_000 * USDC)
        exchange.deposit(name, 10 * SOL, "SOL")
    exchange.attest()
    return exchange


def block(exchange: Exchange, **changes: Any) -> Any:
    body = {
        "market": "SOL-PERP",
        "buyer": "1/0",
        "seller": "2/0",
        "base_units": SOL,
        "price_e8": PRICE,
        "consents": BOTH,
    }
    return exchange.send(cm.BlockTrade, **(body | changes))


def capacity(exchange: Exchange, name: str, market: str = "SOL-PERP", minute: int = 1, hour: int = 1) -> Any:
    return exchange.send(cm.SetBackstopCapacity, name, market, minute, hour)


def held(exchange: Exchange, asset: str = "USDC", units: int = 5 * USDC, sender: str = "sender") -> str:
    bankrupt(exchange)
    exchange.must(cm.SetOnDebt, "1/0", "hold")
    return str(exchange.must(cm.Deposit, "1/0", asset, units, sender)[0].deposit_id)


def reused(exchange: Exchange) -> Any:
    exchange.withdraw("1/0", USDC, id="same")
    return exchange.withdraw("1/0", 2 * USDC, id="same")


def went_back(exchange: Exchange) -> Any:
    return exchange.apply(cm.Tick("earlier", exchange.now_ns - 1))


def twice(exchange: Exchange, first: type, second: type, *extra: Any) -> Any:
    exchange.withdraw("1/0", USDC, id="w")
    exchange.must(first, "w", "x", 0)
    return exchange.send(second, "w", "y", 0)


def queued(exchange: Exchange) -> Any:
    bankrupt(exchange)
    exchange.tick()
    exchange.withdraw("2/0", 100 * USDC, id="w")
    assert list(exchange.state.queued) == ["w"]
    return exchange.send(cm.ConfirmWithdrawal, "w", "s", 0)


def ordered_cancel(exchange: Exchange) -> Any:
    exchange.withdraw("1/0", USDC, id="w")
    return exchange.send(cm.CancelWithdrawal, "1/0", "w")


def unattended(exchange: Exchange) -> Any:
    """Let interest alone bring 1/0 below maintenance, with no tick or price since that would look at it.

    9.5 of 10 SOL are borrowed at 8% + 92% x 0.05 / 0.1 = 54% a year. After 60 days 1/0, who has moved all SOL
    away, owes 1,425 x (1 + 0.54 x 60 / 365) = 1,551.5 and has 1,600: 48.5, which is less than 5% of that.
    """
    exchange.deposit("1/0", 600 * USDC)
    exchange.must(cm.Borrow, "1/0", "SOL", 9_500_000_000)
    exchange.must(cm.Transfer, "1/0", "1/1", "SOL", 19_500_000_000)
    exchange.wait(60 * 86_400)
    exchange.must(cm.Lend, "1/1", "SOL", SOL)
    assert margin_of(exchange.state, "1/0").account_value_usd6 > 0 and not exchange.state.liquidations
    return exchange.withdraw("1/0", USDC)


def uncollected(exchange: Exchange) -> Any:
    """Realize a loss of 2/0 that no tick has collected yet: stage 0 of a liquidation that a deposit ends."""
    exchange.deposit("1/0", 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 500 * SOL, 150), Accepted)
    exchange.prices(153)
    assert exchange.unsettled("2/0") == -1_500 * USDC
    exchange.deposit("2/0", 1_000 * USDC)
    exchange.wait(1)
    exchange.prices(153)
    assert not exchange.state.liquidations
    return exchange.withdraw("2/0", 10 * USDC)


def profit(exchange: Exchange) -> Any:
    assert isinstance(exchange.trade("1/0", "2/0", 500 * SOL, 150), Accepted)
    return exchange.withdraw("1/0", 1_000 * USDC)


def unpriced_return(exchange: Exchange) -> Any:
    deposit_id = held(exchange, asset="ETH", units=10**9)
    return exchange.send(cm.ReturnHeldDeposit, deposit_id, 5_000)


def stale_return(exchange: Exchange) -> Any:
    deposit_id = held(exchange)
    exchange.wait(61)
    return exchange.send(cm.ReturnHeldDeposit, deposit_id, 5_000)


def out_of_order(exchange: Exchange) -> Any:
    exchange.must(cm.AttestReserves, (), 9)
    return exchange.send(cm.AttestReserves, (), 8)


def stale_trade(exchange: Exchange) -> Any:
    """Close with a stale mark: a reduce-only market would let it pass."""
    assert isinstance(block(exchange), Accepted)
    exchange.wait(61)
    return exchange.send(cm.BlockTrade, "SOL-PERP", "2/0", "1/0", 10**7, 150 * DOLLAR_E8, ("1/0", "2/0"))


ROWS: list[tuple[RejectReason, str, Row]] = [
    (R.MALFORMED_COMMAND, "empty id", lambda x: x.apply(cm.Tick("", x.now_ns))),
    (R.MALFORMED_COMMAND, "id not ASCII", lambda x: x.apply(cm.Tick("é", x.now_ns))),
    (R.MALFORMED_COMMAND, "id too long", lambda x: x.apply(cm.Tick("a" * 257, x.now_ns))),
    (R.MALFORMED_COMMAND, "negative time", lambda x: x.apply(cm.Tick("a", -1))),
    (R.MALFORMED_COMMAND, "time beyond 2262", lambda x: x.apply(cm.Tick("a", 2**63))),
    (R.MALFORMED_COMMAND, "unspelled subaccount", lambda x: x.send(cm.OpenSubaccount, "01/0")),
    (R.MALFORMED_COMMAND, "on_debt", lambda x: x.send(cm.SetOnDebt, "1/0", "maybe")),
    (R.MALFORMED_COMMAND, "integer absurd", lambda x: x.send(cm.Deposit, "1/0", "USDC", 10**5000, "w")),
    (R.MALFORMED_COMMAND, "price twice", lambda x: x.send(cm.UpdatePrices, (("SOL", 1), ("SOL", 2)), ())),
    (R.MALFORMED_COMMAND, "price absurd", lambda x: x.send(cm.UpdatePrices, (("SOL", 10**50),), ())),
    (R.MALFORMED_COMMAND, "negative fee", lambda x: x.send(cm.ConfirmWithdrawal, "w", "s", -1)),
    (R.MALFORMED_COMMAND, "fee above u64", lambda x: x.send(cm.ReturnWithdrawal, "w", "s", 2**64)),
    (R.MALFORMED_COMMAND, "slot above u64", lambda x: x.send(cm.AttestReserves, (), 2**64)),
    (R.MALFORMED_COMMAND, "bool for int", lambda x: x.send(cm.Deposit, "1/0", "USDC", True, "w")),
    (R.MALFORMED_COMMAND, "bool for price", lambda x: x.send(cm.UpdatePrices, (("SOL", True),), ())),
    (R.MALFORMED_COMMAND, "bool for time", lambda x: x.apply(cm.Tick("a", True))),
    (R.MALFORMED_COMMAND, "text for int", lambda x: x.send(cm.Deposit, "1/0", "USDC", "5", "w")),
    (R.MALFORMED_COMMAND, "int for text", lambda x: x.apply(cm.Tick(7, x.now_ns))),  # type: ignore[arg-type]
    (R.MALFORMED_COMMAND, "int for tuple", lambda x: x.send(cm.UpdatePrices, 5, ())),
    (R.MALFORMED_COMMAND, "no pair", lambda x: x.send(cm.UpdatePrices, (("SOL", 1, 2),), ())),
    (R.MALFORMED_COMMAND, "text for pair", lambda x: x.send(cm.UpdatePrices, ("ab",), ())),
    (R.MALFORMED_COMMAND, "list for tuple", lambda x: x.send(cm.AttestReserves, [("SOL", 1)], 1)),
    (R.MALFORMED_COMMAND, "negative slot", lambda x: x.send(cm.AttestReserves, (), -1)),
    (R.MALFORMED_COMMAND, "negative holdings", lambda x: x.send(cm.AttestReserves, (("SOL", -1),), 1)),
    (R.MALFORMED_COMMAND, "consent not text", lambda x: block(x, consents=("",))),
    (R.ID_REUSED_WITH_DIFFERENT_BODY, "", reused),
    (R.TIME_WENT_BACK, "", went_back),
    (R.UNKNOWN_SUBACCOUNT, "deposit", lambda x: x.send(cm.Deposit, "9/9", "DOGE", 0, "w")),
    (R.UNKNOWN_SUBACCOUNT, "withdrawal", lambda x: x.withdraw("9/9", 0, "DOGE")),
    (R.UNKNOWN_SUBACCOUNT, "trade", lambda x: block(x, seller="9/9")),
    (R.UNKNOWN_SUBACCOUNT, "transfer", lambda x: x.send(cm.Transfer, "1/0", "9/9", "USDC", 1)),
    (R.UNKNOWN_SUBACCOUNT, "setting", lambda x: x.send(cm.SetOnDebt, "9/9", "hold")),
    (R.SUBACCOUNT_ALREADY_OPEN, "", lambda x: x.send(cm.OpenSubaccount, "1/0")),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "open", lambda x: x.send(cm.OpenSubaccount, "fees")),
    (
        R.SYSTEM_ACCOUNT_NOT_ALLOWED,
        "deposit",
        lambda x: x.send(cm.Deposit, "settlement_pool", "USDC", USDC, "w"),
    ),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "deposit", lambda x: x.send(cm.Deposit, "rounding", "USDC", USDC, "w")),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "withdrawal", lambda x: x.withdraw("insurance_fund", USDC)),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "trade", lambda x: block(x, buyer="fees")),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "transfer", lambda x: x.send(cm.Transfer, "1/0", "fees", "USDC", 1)),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "setting", lambda x: x.send(cm.SetOnDebt, "fees", "hold")),
    (R.UNKNOWN_DEPOSIT, "accept", lambda x: x.send(cm.AcceptHeldDeposit, "none")),
    (R.UNKNOWN_DEPOSIT, "return", lambda x: x.send(cm.ReturnHeldDeposit, "none", 0)),
    (R.UNKNOWN_WITHDRAWAL, "confirm", lambda x: x.send(cm.ConfirmWithdrawal, "none", "s", 0)),
    (R.UNKNOWN_WITHDRAWAL, "return", lambda x: x.send(cm.ReturnWithdrawal, "none", "s", 0)),
    (R.WITHDRAWAL_QUEUED, "", queued),
    (R.UNKNOWN_WITHDRAWAL, "cancel", lambda x: x.send(cm.CancelWithdrawal, "1/0", "none")),
    (R.UNKNOWN_WITHDRAWAL, "another's", lambda x: (queued(x), x.send(cm.CancelWithdrawal, "1/0", "w"))[1]),
    (R.WITHDRAWAL_ALREADY_ORDERED, "", ordered_cancel),
    (R.WITHDRAWAL_ALREADY_PAID, "", lambda x: twice(x, cm.ConfirmWithdrawal, cm.ReturnWithdrawal)),
    (R.WITHDRAWAL_ALREADY_RETURNED, "", lambda x: twice(x, cm.ReturnWithdrawal, cm.ConfirmWithdrawal)),
    (R.UNKNOWN_ASSET, "deposit", lambda x: x.send(cm.Deposit, "1/0", "DOGE", 0, "w")),
    (R.UNKNOWN_ASSET, "withdrawal", lambda x: x.withdraw("1/0", 0, "DOGE")),
    (R.UNKNOWN_ASSET, "transfer", lambda x: x.send(cm.Transfer, "1/0", "1/1", "DOGE", 1)),
    (R.UNKNOWN_ASSET, "price", lambda x: x.send(cm.UpdatePrices, (("DOGE", 1),), ())),
    (R.UNKNOWN_ASSET, "price of USDC", lambda x: x.send(cm.UpdatePrices, (("USDC", 10**8),), ())),
    (R.UNKNOWN_ASSET, "holdings", lambda x: x.send(cm.AttestReserves, (("DOGE", 1),), 1)),
    (R.UNKNOWN_MARKET, "trade", lambda x: block(x, market="DOGE-PERP")),
    (R.UNKNOWN_MARKET, "price", lambda x: x.send(cm.UpdatePrices, (), (("DOGE-PERP", 1),))),
    (R.SAME_SUBACCOUNT, "trade", lambda x: block(x, seller="1/0")),
    (R.SAME_SUBACCOUNT, "transfer", lambda x: x.send(cm.Transfer, "1/0", "1/0", "USDC", 1)),
    (R.DIFFERENT_ACCOUNTS, "", lambda x: x.send(cm.Transfer, "1/0", "2/0", "USDC", 1)),
    (R.ALREADY_BACKSTOP_PROVIDER, "", lambda x: (x.backstop(), x.send(cm.RegisterBackstop, "90/0"))[1]),
    (R.NOT_BACKSTOP_PROVIDER, "capacity", lambda x: capacity(x, "1/0")),
    (R.NOT_BACKSTOP_PROVIDER, "leave", lambda x: x.send(cm.LeaveBackstop, "1/0")),
    (R.UNKNOWN_SUBACCOUNT, "backstop", lambda x: x.send(cm.RegisterBackstop, "9/9")),
    (R.UNKNOWN_SUBACCOUNT, "capacity", lambda x: capacity(x, "9/9")),
    (R.UNKNOWN_SUBACCOUNT, "leave", lambda x: x.send(cm.LeaveBackstop, "9/9")),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "backstop", lambda x: x.send(cm.RegisterBackstop, "insurance_fund")),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "capacity", lambda x: capacity(x, "fees")),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "leave", lambda x: x.send(cm.LeaveBackstop, "fees")),
    (R.UNKNOWN_MARKET, "before provider", lambda x: capacity(x, "1/0", "SOL/USDC")),
    (R.UNKNOWN_MARKET, "capacity", lambda x: (x.backstop(), capacity(x, "90/0", "DOGE-PERP"))[1]),
    (
        R.UNKNOWN_MARKET,
        "capacity of a spot market",
        lambda x: (x.backstop(), capacity(x, "90/0", "SOL/USDC"))[1],
    ),
    (R.AMOUNT_NEGATIVE, "per minute", lambda x: (x.backstop(), capacity(x, "90/0", minute=-1))[1]),
    (R.AMOUNT_NEGATIVE, "per hour", lambda x: (x.backstop(), capacity(x, "90/0", hour=-1))[1]),
    (R.CONSENT_MISSING, "seller", lambda x: block(x, consents=("1/0",))),
    (R.CONSENT_MISSING, "both", lambda x: block(x, consents=())),
    (R.AMOUNT_NOT_POSITIVE, "deposit 0", lambda x: x.send(cm.Deposit, "1/0", "USDC", 0, "w")),
    (R.AMOUNT_NOT_POSITIVE, "deposit -1", lambda x: x.send(cm.Deposit, "1/0", "USDC", -1, "w")),
    (R.AMOUNT_NOT_POSITIVE, "withdrawal", lambda x: x.withdraw("1/0", -(2**64))),
    (R.AMOUNT_NOT_POSITIVE, "trade", lambda x: block(x, base_units=0)),
    (R.AMOUNT_NOT_POSITIVE, "transfer", lambda x: x.send(cm.Transfer, "1/0", "1/1", "USDC", 0)),
    (R.AMOUNT_TOO_LARGE, "deposit", lambda x: x.send(cm.Deposit, "1/0", "USDC", 2**64, "w")),
    (R.AMOUNT_TOO_LARGE, "withdrawal", lambda x: x.withdraw("1/0", 2**64)),
    (R.AMOUNT_TOO_LARGE, "trade", lambda x: block(x, base_units=2**64)),
    (R.AMOUNT_TOO_LARGE, "transfer", lambda x: x.send(cm.Transfer, "1/0", "1/1", "USDC", 2**64)),
    (R.BELOW_MINIMUM, "deposit", lambda x: x.send(cm.Deposit, "1/0", "USDC", 99_999, "w")),
    (R.BELOW_MINIMUM, "withdrawal", lambda x: x.withdraw("1/0", 999_999)),
    (R.PRICE_OUT_OF_RANGE, "zero", lambda x: x.send(cm.UpdatePrices, (("SOL", 0),), ())),
    (R.PRICE_OUT_OF_RANGE, "high", lambda x: x.send(cm.UpdatePrices, (), (("SOL-PERP", 10**18 + 1),))),
    (R.PRICE_OUT_OF_RANGE, "trade", lambda x: block(x, price_e8=0)),
    (R.DESTINATION_INVALID, "", lambda x: x.withdraw("1/0", USDC, destination_fault="not base58")),
    (R.DESTINATION_INVALID, "no sender", lambda x: x.send(cm.ReturnHeldDeposit, held(x, sender=""), 0)),
    (R.ATTESTATION_OUT_OF_ORDER, "", out_of_order),
    (R.IN_LIQUIDATION, "below maintenance by interest", unattended),
    (R.IN_LIQUIDATION, "in a liquidation", lambda x: (liquidated(x), x.withdraw("1/0", USDC))[1]),
    (
        R.IN_LIQUIDATION,
        "transfer",
        lambda x: (liquidated(x), x.send(cm.Transfer, "1/0", "1/1", "USDC", 1))[1],
    ),
    (R.OUTSTANDING_NEGATIVE_EQUITY, "withdrawal", lambda x: bankrupt(x).withdraw("1/0", USDC)),
    (R.OUTSTANDING_NEGATIVE_EQUITY, "trade", lambda x: block(bankrupt(x), price_e8=90 * DOLLAR_E8)),
    (
        R.OUTSTANDING_NEGATIVE_EQUITY,
        "transfer",
        lambda x: bankrupt(x).send(cm.Transfer, "1/0", "1/1", "USDC", 1),
    ),
    (R.UNCOLLECTED_LOSS, "", uncollected),
    (R.INSUFFICIENT_SETTLED_CASH, "withdrawal", lambda x: x.withdraw("1/0", 1_000 * USDC + 1)),
    (R.INSUFFICIENT_SETTLED_CASH, "u64", lambda x: x.withdraw("1/0", 2**64 - 1)),
    (R.INSUFFICIENT_SETTLED_CASH, "transfer", lambda x: x.send(cm.Transfer, "1/0", "1/1", "BTC", 1)),
    (R.INSUFFICIENT_INITIAL_MARGIN, "withdrawal", profit),
    (R.INSUFFICIENT_INITIAL_MARGIN, "trade", lambda x: block(x, base_units=10_000 * SOL)),
    (R.INSUFFICIENT_INITIAL_MARGIN, "trade of 2^64-1", lambda x: block(x, base_units=2**64 - 1)),
    (R.PRICE_UNAVAILABLE, "return", unpriced_return),
    (R.PRICE_UNAVAILABLE, "trade", lambda x: block(x, market="ETH-PERP")),
    (R.STALE_PRICE, "trade", stale_trade),
    (R.STALE_PRICE, "return", stale_return),
    (R.PRICE_OUTSIDE_BAND, "", lambda x: block(x, price_e8=2 * PRICE)),
    (R.AMOUNT_BELOW_NETWORK_FEE, "", lambda x: x.send(cm.ReturnHeldDeposit, held(x), 10**9)),
    *ORDER_ROWS,
    *LENDING_ROWS,
    (R.RESERVES_NOT_ATTESTED, "", lambda x: (x.wait(61), x.withdraw("1/0", USDC))[1]),
    (R.RESERVES_INSUFFICIENT, "", lambda x: (x.attest(USDC=-1), x.withdraw("1/0", USDC))[1]),
]


@pytest.mark.parametrize(("reason", "case", "row"), ROWS, ids=[f"{row[0].value} {row[1]}" for row in ROWS])
def test_every_refusal(reason: RejectReason, case: str, row: Row) -> None:
    exchange = prepared(with_unpriced_asset())
    seen: dict[str, Any] = {}

    class Watching(Exchange):
        def apply(self, command: Any) -> Any:
            seen["before"] = self.snapshot()
            return super().apply(command)

    exchange.__class__ = Watching
    outcome = row(exchange)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.reason is reason
    assert exchange.snapshot() == seen["before"]
    traceless = {R.MALFORMED_COMMAND, R.ID_REUSED_WITH_DIFFERENT_BODY, R.TIME_WENT_BACK}
    assert outcome.recorded == (reason not in traceless)


def test_every_reason_has_a_row() -> None:
    assert {row[0] for row in ROWS} == set(RejectReason)


def test_reasons_state_facts_and_have_one_spelling() -> None:
    assert list(RejectReason) == list(PRECEDENCE)
    for reason in RejectReason:
        assert reason.value == reason.name.lower()
        assert reason.statement.endswith(".") and isinstance(reason.final, bool)


def answer_of(exchange: Exchange, request: dict[str, Any]) -> Any:
    return exchange.send(cm.RequestWithdrawal, **request)


def refused(exchange: Exchange, request: dict[str, Any]) -> RejectReason:
    outcome = answer_of(exchange, request)
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def test_r30_first_failure_wins_in_what_is_asked() -> None:
    """R30: a request with every fault at once is refused for the first; mending it uncovers the next."""
    exchange = bankrupt(prepared())
    bad: dict[str, Any] = {
        "subaccount": "9/9",
        "asset": "DOGE",
        "units": 0,
        "destination": "d",
        "destination_fault": "ours",
    }
    order = [
        (R.UNKNOWN_SUBACCOUNT, {"subaccount": "fees"}),
        (R.SYSTEM_ACCOUNT_NOT_ALLOWED, {"subaccount": "1/0"}),
        (R.UNKNOWN_ASSET, {"asset": "USDC"}),
        (R.AMOUNT_NOT_POSITIVE, {"units": 2**64}),
        (R.AMOUNT_TOO_LARGE, {"units": 1}),
        (R.BELOW_MINIMUM, {"units": 2_000 * USDC}),
        (R.DESTINATION_INVALID, {"destination_fault": ""}),
        (R.OUTSTANDING_NEGATIVE_EQUITY, {}),
    ]
    for reason, mend in order:
        assert refused(exchange, bad) is reason
        bad |= mend
    places = [PRECEDENCE.index(reason) for reason, _ in order]
    assert places == sorted(places)


def test_r30_first_failure_wins_in_the_condition_of_who_asks() -> None:
    """R30: what stands between 1/0 and its money, each uncovered by mending the one before; all by
    commands.

    1/0 has $1,000 and is long 100 SOL from 150 when the mark falls to 130 and SOL's index has lost its
    sources: 1,000 below zero, in liquidation, and nobody may take the position. 4/0 owes 100 in the same
    way later, so that the pool gate is shut. Nothing is attested until the end.
    """
    exchange = Exchange(replace(default_params(), velocity_floor_ppm=0))
    exchange.open("1/0", "1/1", "2/0", "4/0")
    exchange.prices(150)
    exchange.backstop()
    for name, dollars in (("1/0", 1_000), ("1/1", 2_000), ("2/0", 9_000), ("4/0", 100)):
        exchange.must(cm.SetLending, name, 0, 0, 0)
        exchange.deposit(name, dollars * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    assert isinstance(exchange.trade("4/0", "2/0", 10 * SOL, 150), Accepted)
    request: dict[str, Any] = {
        "subaccount": "1/0",
        "asset": "USDC",
        "units": 10_000 * USDC,
        "destination": "d",
        "destination_fault": "ours",
    }
    exchange.must(cm.UpdateQuotes, "SOL", (("feed", "one", 150 * DOLLAR_E8, exchange.now_ns),))
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 130 * DOLLAR_E8),))
    assert refused(exchange, request) is R.DESTINATION_INVALID
    request["destination_fault"] = ""
    assert margin_of(exchange.state, "1/0").account_value_usd6 == -1_000 * USDC
    assert refused(exchange, request) is R.IN_LIQUIDATION
    # With a fresh index a provider takes both positions: two debts.
    exchange.wait(1)
    exchange.prices(130)
    assert list(exchange.state.debts) == ["1/0", "4/0"]
    assert refused(exchange, request) is R.OUTSTANDING_NEGATIVE_EQUITY
    # A sibling's 2,000 make 1/0 solvent: its loss waits for the tick.
    exchange.must(cm.Transfer, "1/1", "1/0", "USDC", 2_000 * USDC)
    assert refused(exchange, request) is R.UNCOLLECTED_LOSS
    exchange.tick()
    assert exchange.cash("1/0") == 1_000 * USDC and list(exchange.state.debts) == ["4/0"]
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 130), Accepted)
    exchange.wait(61)
    assert refused(exchange, request) is R.INSUFFICIENT_SETTLED_CASH
    # 100 SOL at 130 need 2%, 260.
    request["units"] = 740 * USDC + 1
    assert refused(exchange, request) is R.INSUFFICIENT_INITIAL_MARGIN
    request["units"] = 740 * USDC
    assert refused(exchange, request) is R.STALE_PRICE
    exchange.prices(130)
    outcome = answer_of(exchange, request)
    assert isinstance(outcome, Accepted) and isinstance(outcome.events[0], WithdrawalQueued)
    # Taken back; the fund pays 4/0's debt, the gate opens, and now reserves are asked.
    exchange.must(cm.CancelWithdrawal, "1/0", outcome.events[0].withdrawal_id)
    exchange.deposit("insurance_fund", 100 * USDC)
    exchange.tick()
    assert refused(exchange, request) is R.RESERVES_NOT_ATTESTED
    exchange.attest(USDC=-1)
    assert refused(exchange, request) is R.RESERVES_INSUFFICIENT
    exchange.attest()
    outcome = answer_of(exchange, request)
    assert isinstance(outcome, Accepted) and isinstance(outcome.events[0], WithdrawalReserved)
