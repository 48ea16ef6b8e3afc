"""A state machine against a small model in fractions: deposits, debts, the fund, withdrawals (R26-R30).

The model knows one number per customer: what he would have if all were closed now, below zero when he owes.
Prices are whole dollars and positions whole SOL, so nothing is rounded and the engine must agree with `==`.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.commands import (
    AttestReserves,
    BlockTrade,
    Command,
    ConfirmWithdrawal,
    Deposit,
    OpenSubaccount,
    RegisterBackstop,
    RequestWithdrawal,
    ReturnWithdrawal,
    SetBackstopCapacity,
    Tick,
    UpdatePrices,
)
from engine.events import BackstopFilled, ClaimPaid, DepositApplied, LossSocialized
from engine.margin import margin_of, outstanding_negative_equity_usd6
from engine.outcome import Accepted, Outcome, Rejected
from engine.rejects import RejectReason
from engine.units import INSURANCE_FUND, NS_PER_SECOND
from tests.sim.run import new_run

NAMES = ("1/0", "2/0", "10/0")
# Takes over what fails (R23), at mark when nothing is left; so large that nobody is deleveraged.
MAKER = "20/0"
DAY_NS = 86_400 * NS_PER_SECOND
SOL_UNITS = 10**9

customers = st.sampled_from(NAMES)
dollars = st.integers(100_000, 20_000_000_000)


class SmallModel(RuleBasedStateMachine):
    """Drives the engine and the model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.run = new_run()
        self.now_ns = DAY_NS
        self.number = 0
        self.price_usd = 150
        self.worth = dict.fromkeys(NAMES, Fraction(0))
        # What the fund owes the pool; below zero it is due something: its third of released equity (R23).
        self.fund, self.fund_owes, self.fund_sol_units = Fraction(0), Fraction(0), 0
        self.fund_paid = Fraction(0)
        self.debt_since_ns: dict[str, int] = {}
        self.payouts: dict[str, tuple[str, int]] = {}
        for name in (*NAMES, MAKER):
            self.send(OpenSubaccount(self.next_id(), self.now_ns, name))
        self.send(Deposit(self.next_id(), self.now_ns, MAKER, "USDC", 10**15, "maker"))
        self.send(RegisterBackstop(self.next_id(), self.now_ns, MAKER))
        self.send(SetBackstopCapacity(self.next_id(), self.now_ns, MAKER, "SOL-PERP", 10**18, 10**19))
        self.set_price(150)
        for name in NAMES:
            self.deposit_dollars(name, 10_000_000_000)

    def next_id(self) -> str:
        """Name the next command."""
        self.number += 1
        return f"m{self.number}"

    def send(self, command: Command) -> Outcome:
        """Apply a command; a payout that came back, or a queued one that was turned back, is his again."""
        answer = self.run.apply(command)
        for payout_id, (name, units) in list(self.payouts.items()):
            if self.run.state.withdrawals[payout_id].status == "returned":
                self.worth[name] += units
                del self.payouts[payout_id]
        for event in answer.events if isinstance(answer, Accepted) else ():
            if isinstance(event, BackstopFilled):
                self.taken_over(event)
            elif isinstance(event, ClaimPaid) and event.subaccount == INSURANCE_FUND:
                self.fund_owes, self.fund_paid = self.fund_owes + event.units, self.fund_paid + event.units
        return answer

    def taken_over(self, event: BackstopFilled) -> None:
        """R23: who has something left loses all of it, two thirds to the maker; who owes goes at mark."""
        name, released = event.subaccount, max(Fraction(0), self.worth[event.subaccount])
        assert event.provider == MAKER and event.base_left_units == 0
        assert event.released_usd6 == released
        assert event.provider_usd6 == floor(released * 2 / 3) and event.fund_usd6 == ceil(released / 3)
        self.worth[name] -= released
        self.fund_owes -= event.fund_usd6

    def base(self, name: str) -> int:
        """Read a position, in whole SOL: who closes against whom is not the model's subject."""
        position = self.run.state.subaccounts[name].positions.get("SOL-PERP")
        return 0 if position is None else position.base_units // SOL_UNITS

    def note_debts(self) -> None:
        """R27: who is below zero after a change of prices has nothing left; his debt's clock starts."""
        for name in NAMES:
            if self.worth[name] < 0:
                self.debt_since_ns.setdefault(name, self.now_ns)
            else:
                self.debt_since_ns.pop(name, None)

    def set_price(self, price_usd: int) -> None:
        """Move index and mark together; each holder gains base x change."""
        for name in NAMES:
            self.worth[name] += self.base(name) * (price_usd - self.price_usd) * 10**6
        self.price_usd = price_usd
        price_e8 = price_usd * 10**8
        prices = ((("SOL", price_e8),), (("SOL-PERP", price_e8),))
        answer = self.send(UpdatePrices(self.next_id(), self.now_ns, *prices))
        assert isinstance(answer, Accepted)
        self.note_debts()

    @rule(seconds=st.integers(0, 50))
    def time_passes(self, seconds: int) -> None:
        """Let some seconds pass."""
        self.now_ns += seconds * NS_PER_SECOND

    @rule(
        percent=st.integers(96, 104) | st.sampled_from([40, 60, 85, 115, 150, 220]), then_tick=st.booleans()
    )
    def price_moves(self, percent: int, then_tick: bool) -> None:
        """R20: the mark moves; whoever it takes below maintenance is closed, at worst below zero."""
        self.set_price(min(1_000, max(5, self.price_usd * percent // 100)))
        if then_tick:
            self.tick(0)

    @rule(name=customers, units=dollars)
    def deposit_dollars(self, name: str, units: int) -> None:
        """R28: dollars pay what is outstanding one for one; the rest is the customer's."""
        owed = max(Fraction(0), -self.worth[name])
        answer = self.send(Deposit(self.next_id(), self.now_ns, name, "USDC", units, "wallet"))
        assert isinstance(answer, Accepted)
        receipt = next(one for one in answer.events if isinstance(one, DepositApplied))
        assert receipt.applied_units == receipt.applied_usd6 == min(units, owed)
        assert receipt.outstanding_before_usd6 == owed
        assert receipt.outstanding_after_usd6 == max(Fraction(0), owed - units)
        self.worth[name] += units
        self.note_debts()

    @rule(percent=st.integers(1, 150))
    def deposit_dollars_into_a_debt(self, percent: int) -> None:
        """R28: less than what is outstanding, exactly that, or more."""
        for name in [one for one in NAMES if self.worth[one] < 0][:1]:
            self.deposit_dollars(name, max(100_000, floor(-self.worth[name] * percent / 100)))

    @rule(share=st.integers(1, 99))
    def deposit_sol_into_a_debt(self, share: int) -> None:
        """R28: SOL worth less than the debt pays at index less 5%, all of it; the fund takes it and pays."""
        name = min(NAMES, key=lambda one: self.worth[one])
        owed = max(Fraction(0), -self.worth[name])
        rate_usd = Fraction(self.price_usd * 95, 100)
        value = floor(owed * share / 100)
        # The fewest units worth it; a unit is worth less than a micro-dollar, so nothing is left over.
        units = ceil(value * 1000 / rate_usd)
        if units < 1_000_000:
            return
        answer = self.send(Deposit(self.next_id(), self.now_ns, name, "SOL", units, "wallet"))
        assert isinstance(answer, Accepted)
        receipt = next(one for one in answer.events if isinstance(one, DepositApplied))
        assert receipt.applied_usd6 == value
        assert (receipt.applied_units, receipt.credited_units) == (units, 0)
        paid = min(self.fund, Fraction(value))
        self.fund, self.fund_owes = self.fund - paid, self.fund_owes + value - paid
        self.fund_sol_units += receipt.applied_units
        self.worth[name] += value

    @rule(units=dollars)
    def fund_income(self, units: int) -> None:
        """R26: dollars for the fund pay what it owes the pool first."""
        assert isinstance(
            self.send(Deposit(self.next_id(), self.now_ns, INSURANCE_FUND, "USDC", units, "wallet")), Accepted
        )
        paid = min(max(Fraction(0), self.fund_owes), Fraction(units))
        self.fund_owes, self.fund = self.fund_owes - paid, self.fund + units - paid

    @rule(pair=st.permutations(NAMES), leverage=st.integers(10, 40))
    def trade(self, pair: list[str], leverage: int) -> None:
        """R19: at mark nobody gains; whoever is below zero does not trade."""
        buyer, seller = pair[:2]
        capital_usd6 = max(Fraction(0), min(self.worth[buyer], self.worth[seller]))
        size = max(1, floor(capital_usd6 * leverage / (self.price_usd * 10**6)))
        command = BlockTrade(
            self.next_id(),
            self.now_ns,
            "SOL-PERP",
            buyer,
            seller,
            size * SOL_UNITS,
            self.price_usd * 10**8,
            (buyer, seller),
        )
        answer = self.send(command)
        if self.worth[buyer] < 0 or self.worth[seller] < 0:
            assert isinstance(answer, Rejected)

    @rule(days=st.sampled_from([0, 0, 0, 1, 3, 8]))
    def tick(self, days: int) -> None:
        """R26, R27: the fund pays its own debt, then the oldest; what is a week old is written off."""
        self.now_ns += days * DAY_NS
        self.fund_paid = Fraction(0)
        answer = self.send(Tick(self.next_id(), self.now_ns))
        assert isinstance(answer, Accepted)
        paid = min(self.fund, max(Fraction(0), self.fund_owes))
        self.fund, self.fund_owes = self.fund - paid, self.fund_owes - paid
        for name in list(self.debt_since_ns):
            covered = min(self.fund, -self.worth[name])
            self.fund -= covered
            self.worth[name] += covered
        self.fund += self.fund_paid
        cuts = [one for one in answer.events if isinstance(one, LossSocialized)]
        old = [
            name
            for name, since_ns in self.debt_since_ns.items()
            if self.worth[name] < 0 and self.now_ns - since_ns >= 7 * DAY_NS
        ]
        assert [one.subaccount for one in cuts] == old
        for one in cuts:
            assert one.extinguished_usd6 == -self.worth[one.subaccount] == sum(cut for _, cut in one.cuts)
            self.worth[one.subaccount] = Fraction(0)
            for winner, cut in one.cuts:
                if winner in NAMES:
                    self.worth[winner] -= cut
                    assert self.worth[winner] >= 0
                elif winner == INSURANCE_FUND:
                    self.fund_owes += cut
        self.note_debts()
        claims = {name: self.run.state.subaccounts[name].unsettled_usd6 for name in (*NAMES, MAKER)}
        assert (
            sum(claims.values()) == self.fund_owes
        )  # I4: the pool is empty, every claim has a debt behind it

    @rule(name=customers, units=dollars)
    def withdraw(self, name: str, units: int) -> None:
        """R30: never in debt, never more than one has; freely when all is settled and nothing is open."""
        holdings = (("USDC", 2**63), ("SOL", 2**63), ("BTC", 0))
        self.send(AttestReserves(self.next_id(), self.now_ns, holdings, self.number))
        request = RequestWithdrawal(self.next_id(), self.now_ns, name, "USDC", units, "wallet")
        answer = self.send(request)
        one = self.run.state.subaccounts[name]
        if isinstance(answer, Accepted):
            assert 0 < units <= self.worth[name]
            self.worth[name] -= units
            self.payouts[request.id] = (name, units)
        elif self.worth[name] < 0:
            assert units < 1_000_000 or answer.reason is RejectReason.OUTSTANDING_NEGATIVE_EQUITY
        elif one.unsettled_usd6 == 0 and not one.positions and units >= 1_000_000:
            assert units > self.worth[name] and answer.would_pass_units == self.worth[name]

    @rule(choice=st.integers(0, 10**6), landed=st.booleans())
    def payout_ends(self, choice: int, landed: bool) -> None:
        """I10: an ordered payout is paid or returned, once; the second word is refused."""
        if not self.payouts:
            return
        payout_id = sorted(self.payouts)[choice % len(self.payouts)]
        ordered = self.run.state.withdrawals[payout_id].status == "reserved"
        words: list[Command] = [
            ConfirmWithdrawal(self.next_id(), self.now_ns, payout_id, "signature", 0),
            ReturnWithdrawal(self.next_id(), self.now_ns, payout_id, "expired", 0),
        ]
        first, second = words if landed else words[::-1]
        assert isinstance(self.send(first), Accepted) == ordered
        if ordered:
            assert isinstance(self.send(second), Rejected)
            assert (payout_id in self.payouts) == landed
            self.payouts.pop(payout_id, None)

    @invariant()
    def agrees(self) -> None:
        """Account values, debts and the fund agree, to the micro-dollar."""
        self.run.assert_sound()
        for name in NAMES:
            assert margin_of(self.run.state, name).account_value_usd6 == self.worth[name]
            assert outstanding_negative_equity_usd6(self.run.state, name) == max(0, -self.worth[name])
        fund = self.run.state.subaccounts[INSURANCE_FUND]
        assert fund.cash.get("USDC", 0) == self.fund
        assert fund.cash.get("SOL", 0) == self.fund_sol_units
        assert -fund.unsettled_usd6 == self.fund_owes
        assert set(self.run.state.debts) == set(self.debt_since_ns)


TestSmallModel = SmallModel.TestCase
TestSmallModel.settings = settings(stateful_step_count=50, max_examples=120)
