"""The map from the ledger to balances: nothing is left out, nothing is counted twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import make_dataclass
from itertools import islice

import pytest

from daemon.proof import balances as map_of
from daemon.proof.balances import UnknownBalance, balances, check_vocabulary, take_picture
from engine import commands as cm
from engine import state as engine_state
from engine.invariants import liabilities_units
from engine.state import State
from solvency.model import Balances
from tests.engine.conftest import SOL, USDC, Exchange
from tests.sim.generator import Generator, RandomChooser
from tests.sim.run import new_run, quick_params


def net_units(accounts: list[Balances], asset: str) -> int:
    """Count as the verifier does, without the shortfall: credits - borrows, and claims - debts in USDC."""
    units = sum(one.credits.get(asset, 0) - one.borrows.get(asset, 0) for one in accounts)
    return units + sum(one.claim_usd6 - one.debt_usd6 for one in accounts if asset == "USDC")


def everybody(state: State) -> dict[str, Balances]:
    customers, in_clear = balances(take_picture(state), {}, lambda name: name)
    return {one.customer_id: one for one in (*customers, *in_clear)}


def random_states(seed: int, steps: int) -> Iterator[State]:
    run = new_run(quick_params() if seed % 2 else None)
    generator = Generator(RandomChooser(random.Random(seed)), run.params, run.books)
    for command in generator.opening():
        run.apply(command)
    for place in range(steps):
        run.apply(generator.next())
        if place % 10 == 0:
            yield run.state


@pytest.mark.parametrize("seed", range(20, 28))
def test_the_leaves_add_up_to_what_the_engine_says_is_owed(seed: int) -> None:
    seen = {"claims": 0, "debts": 0, "borrows": 0, "apart": 0}
    for state in random_states(seed, 1_000):
        picture = take_picture(state)
        customers, in_clear = balances(picture, {"SOL": 5}, lambda name: f"id of {name}")
        assert {one.customer_id for one in in_clear} >= {"insurance_fund", "fees", "rounding", "set_aside"}
        for asset, owed in liabilities_units(state).items():
            assert net_units([*customers, *in_clear], asset) == owed + (5 if asset == "SOL" else 0)
        for one in customers:
            assert min([*one.credits.values(), *one.borrows.values(), 1]) > 0
            assert one.claim_usd6 == 0 or one.debt_usd6 == 0
        seen["claims"] += sum(one.claim_usd6 > 0 for one in customers)
        seen["debts"] += sum(one.debt_usd6 > 0 for one in customers)
        seen["borrows"] += sum(bool(one.borrows) for one in customers)
        seen["apart"] += len(picture.set_apart)
    assert seen["claims"] and seen["debts"] and seen["apart"]


def test_a_loss_is_paid_with_usdc_first_and_only_the_rest_is_debt() -> None:
    exchange = Exchange()
    exchange.open("1/0", "2/0")
    exchange.must(cm.UpdatePrices, (("SOL", 150 * 10**8),), (("SOL-PERP", 150 * 10**8),))
    exchange.deposit("1/0", 3_000 * USDC)
    exchange.deposit("2/0", 3_000 * USDC)
    exchange.trade("1/0", "2/0", 10 * SOL, 150)
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 140 * 10**8),))
    found = everybody(exchange.state)
    assert found["1/0"] == Balances("1/0", credits={"USDC": 2_900 * USDC})
    assert found["2/0"] == Balances("2/0", credits={"USDC": 3_000 * USDC}, claim_usd6=100 * USDC)
    exchange.tick()
    after = everybody(exchange.state)
    assert after["1/0"] == found["1/0"]  # what the tick then did


def test_what_is_on_its_way_out_is_still_owed() -> None:
    exchange = Exchange()
    exchange.open("1/0")
    exchange.must(cm.UpdatePrices, (("SOL", 150 * 10**8),), ())
    exchange.deposit("1/0", 3_000 * USDC)
    exchange.tick()
    exchange.attest()
    exchange.withdraw("1/0", 400 * USDC)
    assert exchange.state.subaccounts["1/0"].cash == {"USDC": 2_600 * USDC}
    assert everybody(exchange.state)["1/0"].credits == {"USDC": 3_000 * USDC}


@pytest.mark.parametrize("kind", [engine_state.Subaccount, engine_state.State, engine_state.LendingPool])
def test_a_field_that_the_map_does_not_know_ends_the_proof(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_vocabulary()
    known = dict(map_of._KNOWN)
    grown = make_dataclass("Grown", [("staked", dict)], bases=(kind,), slots=True, kw_only=True)
    known[grown] = known.pop(kind)
    monkeypatch.setattr(map_of, "_KNOWN", known)
    with pytest.raises(UnknownBalance, match=r"staked is not counted"):
        take_picture(Exchange().state)


def test_a_picture_that_does_not_add_up_is_refused() -> None:
    exchange = Exchange()
    exchange.open("1/0")
    exchange.deposit("1/0", 3_000 * USDC)
    exchange.state.totals.cash_units["USDC"] += 1
    with pytest.raises(UnknownBalance, match="the ledger owes 3000000001"):
        balances(take_picture(exchange.state), {}, str)


def test_the_picture_is_a_copy() -> None:
    exchange = Exchange()
    exchange.open("1/0")
    exchange.deposit("1/0", 3_000 * USDC)
    picture = take_picture(exchange.state)
    exchange.deposit("1/0", 1_000 * USDC)
    (row,) = islice(picture.rows, 1)
    assert row.cash == {"USDC": 3_000 * USDC}


def test_what_is_lent_and_borrowed_is_counted_once_and_the_pools_residue_is_nobodys() -> None:
    exchange = Exchange()
    exchange.open("1/0", "2/0")
    exchange.must(cm.UpdatePrices, (("SOL", 150 * 10**8),), (("SOL-PERP", 150 * 10**8),))
    exchange.deposit("1/0", 100 * SOL, "SOL")
    exchange.deposit("2/0", 50_000 * USDC)
    exchange.must(cm.Lend, "1/0", "SOL", 60 * SOL)
    exchange.must(cm.Borrow, "2/0", "SOL", 10 * SOL)
    found = everybody(exchange.state)
    assert found["1/0"].credits == {"SOL": 100 * SOL}
    assert found["2/0"].credits == {"USDC": 50_000 * USDC, "SOL": 10 * SOL}
    assert found["2/0"].borrows == {"SOL": 10 * SOL}
    assert found["2/0"].is_debtor
    exchange.wait(7_777)
    exchange.must(cm.UpdatePrices, (("SOL", 150 * 10**8),), (("SOL-PERP", 150 * 10**8),))
    exchange.tick()
    after = everybody(exchange.state)
    assert after["2/0"].borrows["SOL"] > 10 * SOL
    assert after["1/0"].credits["SOL"] > 100 * SOL
    assert 0 <= after["lending_pool"].credits.get("SOL", 0) < 10
    # The interest is owed by one and due to others; not a unit came from outside.
    assert net_units(list(after.values()), "SOL") == 100 * SOL
    assert liabilities_units(exchange.state)["SOL"] == 100 * SOL
