"""What the payer does when a payout cannot go its way: failures, waits, rulings, one sender (W1-W7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from solders.keypair import Keypair
from solders.transaction import Transaction, VersionedTransaction

from chain.fees import priority_fee_lamports
from chain.instructions import build_message, compute_unit_limit, compute_unit_price, transfer_lamports
from chain.payer import AlarmKind, Payer, PayerOptions, PayoutRequest, PayoutState, Ruling
from chain.signer import KeypairSigner, SignerError
from chain.submission import IllegalTransition, PayoutEvent, PayoutRecord
from chain.tokens import TOKEN_PROGRAM

from .paying import (
    HOT,
    OPTIONS,
    SOL,
    SOURCE,
    Bench,
    MemoryStore,
    Net,
    new_wallet,
    running,
    sol_payout,
    until,
)
from .test_submission import record_in

S = PayoutState


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    made = Net()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def bench(net: Net) -> AsyncIterator[Bench]:
    async with net.pool() as pool:
        yield Bench(net, pool)


# Failures --------------------------------------------------------------------------------------------------


async def test_w3_a_finalized_error_is_a_failure_that_says_what_it_cost(bench: Bench) -> None:
    """The issuer freezes the account between simulation and landing; without preflight the error lands."""
    net = bench.net
    mint = net.new_mint()
    net.give_tokens(SOURCE, mint, TOKEN_PROGRAM, 1_000)
    wallet = new_wallet()
    net.give_tokens(wallet, mint, TOKEN_PROGRAM, 5)

    class FreezesWhenAsked(KeypairSigner):
        async def sign(self, message: bytes, address: str) -> bytes:
            net.give_tokens(wallet, mint, TOKEN_PROGRAM, 5, state=2)
            return await super().sign(message, address)

    before = net.lamports(SOURCE)
    payer = bench.payer(replace(OPTIONS, skip_preflight=True), signer=FreezesWhenAsked(HOT))
    async with running(payer):
        await payer.submit(PayoutRequest("w1", "USDC", mint, 1_000, wallet))
        (record,) = await bench.over("w1")
    assert record.state is S.FAILED
    assert record.failure_code == "failed_on_chain"
    assert "moved nothing" in record.failure
    assert record.network_fee_units == before - net.lamports(SOURCE) == 5_000
    assert net.units(wallet, mint, TOKEN_PROGRAM) == 5
    assert net.units(SOURCE, mint, TOKEN_PROGRAM) == 1_000


async def test_w5_a_destination_that_cannot_be_paid_is_refused_before_anything_is_signed(
    bench: Bench,
) -> None:
    issued = new_wallet()
    payer = bench.payer(own={issued})
    async with running(payer):
        await payer.submit(sol_payout("own", destination=issued))
        await payer.submit(sol_payout("hot", destination=SOURCE))
        await payer.submit(sol_payout("text", destination="not an address"))
        await payer.submit(sol_payout("dust", units=1))
        records = await bench.over("own", "hot", "text", "dust")
    assert [r.failure_code for r in records] == [
        "own_address",
        "own_address",
        "not_an_address",
        "below_rent_minimum",
    ]
    for record in records:
        assert record.state is S.FAILED
        assert record.attempts == ()
        assert record.network_fee_units == 0
        assert len(record.failure) > 20
    assert bench.alarms == [], "a customer's mistake is no alarm"


async def test_w7_an_empty_hot_wallet_makes_payouts_wait_and_never_fail(net: Net) -> None:
    async with net.pool() as pool:
        bench = Bench(net, pool, lamports=0)
        request = sol_payout()
        payer = bench.payer()
        async with running(payer):
            await payer.submit(request)
            await until(lambda: bench.alarmed(AlarmKind.HOT_WALLET_LOW), "an alarm")
            assert bench.state("w1") is S.REQUESTED
            (text,) = bench.alarmed(AlarmKind.HOT_WALLET_LOW)
            assert SOURCE in text
            assert "lamports" in text
            net.put(SOURCE, 10 * SOL)
            (record,) = await bench.over("w1")
        assert record.state is S.FINALIZED
        assert len(bench.alarmed(AlarmKind.HOT_WALLET_LOW)) == 1, "one alarm, however long it waits"


async def test_w7_payouts_in_flight_are_counted_so_that_a_wallet_is_never_promised_twice(net: Net) -> None:
    async with net.pool() as pool:
        bench = Bench(net, pool, lamports=3 * SOL + SOL // 2)
        requests = [sol_payout(f"w{n}", SOL) for n in range(5)]
        payer = bench.payer()
        for request in requests:
            await payer.submit(request)

        def landed() -> int:
            return sum(net.lamports(request.destination) == SOL for request in requests)

        async with running(payer):
            await until(lambda: landed() == 3, "three of five")
            await asyncio.sleep(0.1)
            assert landed() == 3
            waiting = payer.open_records()
            assert [r.state for r in waiting] == [S.REQUESTED] * 2
            assert all(r.attempts == () for r in waiting)
            net.put(SOURCE, net.lamports(SOURCE) + 5 * SOL)
            records = await bench.over(*(r.id for r in requests))
        assert all(r.state is S.FINALIZED and len(r.attempts) == 1 for r in records)
        assert landed() == 5


async def test_w7_a_wallet_short_of_tokens_waits_too(bench: Bench) -> None:
    net = bench.net
    mint = net.new_mint()
    wallet = new_wallet()
    payer = bench.payer()
    async with running(payer):
        await payer.submit(PayoutRequest("w1", "USDC", mint, 1_000, wallet))
        await until(lambda: bench.alarmed(AlarmKind.HOT_WALLET_LOW), "an alarm")
        assert "1000 units of USDC" in bench.alarmed(AlarmKind.HOT_WALLET_LOW)[0]
        net.give_tokens(SOURCE, mint, TOKEN_PROGRAM, 1_000)
        (record,) = await bench.over("w1")
    assert record.state is S.FINALIZED
    assert net.units(wallet, mint, TOKEN_PROGRAM) == 1_000


async def test_w7_the_float_has_a_floor_that_alarms_before_it_is_empty(bench: Bench) -> None:
    payer = bench.payer(replace(OPTIONS, low_float_units={"SOL": 99 * SOL}))
    async with running(payer):
        await payer.submit(sol_payout(units=2 * SOL))
        await bench.over("w1")
    (text,) = bench.alarmed(AlarmKind.FLOAT_LOW)
    assert "below 99000000000" in text


async def test_a_signer_that_is_away_is_waited_for(bench: Bench) -> None:
    class Away(KeypairSigner):
        calls = 0

        async def sign(self, message: bytes, address: str) -> bytes:
            type(self).calls += 1
            if self.calls <= 3:
                raise SignerError("the signing device is not connected")
            return await super().sign(message, address)

    payer = bench.payer(signer=Away(HOT))
    async with running(payer):
        await payer.submit(sol_payout())
        (record,) = await bench.over("w1")
    assert record.state is S.FINALIZED
    assert "not connected" in bench.alarmed(AlarmKind.PREPARING)[0]


async def test_a_payout_that_would_fail_is_looked_at_by_a_person_and_nothing_is_signed(bench: Bench) -> None:
    net = bench.net
    mint = net.new_mint()
    # Our own account is frozen: not the customer's fault, and no simulation will pass.
    net.give_tokens(SOURCE, mint, TOKEN_PROGRAM, 1_000, state=2)
    wallet = new_wallet()
    payer = bench.payer()
    async with running(payer):
        await payer.submit(PayoutRequest("w1", "USDC", mint, 10, wallet))
        await until(lambda: bench.state("w1") is S.MANUAL_REVIEW, "manual review")
        record = bench.store.load("w1")
        assert record is not None
        assert record.attempts == ()
        assert "simulations failed, nothing was sent" in record.failure
        net.give_tokens(SOURCE, mint, TOKEN_PROGRAM, 1_000)
        await payer.rule("w1", Ruling.START_AGAIN, "our account is thawed")
        (record,) = await bench.over("w1")
    assert record.state is S.FINALIZED
    assert record.failure == ""
    assert net.units(wallet, mint, TOKEN_PROGRAM) == 10


@pytest.mark.parametrize(
    ("ruling", "state", "failure"),
    [
        (Ruling.LANDED, S.FINALIZED, ""),
        (Ruling.FAILED, S.FAILED, "seen with our own eyes"),
        (Ruling.WATCH_AGAIN, S.SENT, ""),
    ],
)
async def test_w3_an_operator_ends_a_review_or_sends_it_back(
    bench: Bench, ruling: Ruling, state: PayoutState, failure: str
) -> None:
    doubtful = replace(
        record_in(S.SENT), state=S.MANUAL_REVIEW, failure="doubt", failure_code="manual_review"
    )
    await bench.store.save(doubtful)
    payer = bench.payer()
    ruled = await payer.rule("w1", ruling, "seen with our own eyes", network_fee_units=5_000)
    assert bench.store.load("w1") == ruled
    assert (ruled.state, ruled.failure, ruled.network_fee_units) == (state, failure, 5_000)
    assert ruled.ruling == f"{ruling.name.lower()}: seen with our own eyes"
    assert [r.id for r in bench.results] == (["w1"] if ruled.is_final else [])
    with pytest.raises(IllegalTransition):
        await payer.rule("w1", ruling, "again")


async def test_an_operator_rules_only_on_what_is_under_review(bench: Bench) -> None:
    payer = bench.payer()
    await payer.submit(sol_payout())
    with pytest.raises(IllegalTransition, match="'w1' is requested"):
        await payer.rule("w1", Ruling.FAILED, "no")
    with pytest.raises(KeyError, match="no payout 'w9'"):
        await payer.rule("w9", Ruling.FAILED, "no")


@pytest.mark.parametrize(("cap_lamports", "price_paid"), [(200_000, 5_000_000), (3, None), (0, 0)])
async def test_w6_the_price_follows_the_market_up_to_the_cap(
    bench: Bench, cap_lamports: int, price_paid: int | None
) -> None:
    """Somebody else bids 5 lamports a compute unit for our hot wallet's account in every block."""
    net = bench.net
    bidder = Keypair()
    net.put(str(bidder.pubkey()), 10 * SOL)
    for number in range(160):
        bid = [compute_unit_limit(1_000), compute_unit_price(5_000_000),
               transfer_lamports(str(bidder.pubkey()), SOURCE, 1 + number)]  # fmt: skip
        message = build_message(str(bidder.pubkey()), bid, net.ledger.view("processed").blockhash)
        net.ledger.process(VersionedTransaction(message, [bidder]))
        net.ledger.advance()
    net.ledger.advance(net.ledger.finality_lag)
    before = net.lamports(SOURCE)
    payer = bench.payer(replace(OPTIONS, largest_priority_fee_lamports=cap_lamports))
    async with running(payer):
        await payer.submit(sol_payout())
        (record,) = await bench.over("w1")
    assert record.attempt is not None
    sent = Transaction.from_bytes(record.attempt.signed_bytes).message
    limit, price = (bytes(instruction.data) for instruction in sent.instructions[:2])
    limit_units, microlamports = int.from_bytes(limit[1:5], "little"), int.from_bytes(price[1:9], "little")
    assert (limit[0], price[0]) == (2, 3)
    assert 1_000 < limit_units < 20_000, "from simulation, not the maximum"
    if price_paid is not None:
        assert microlamports == price_paid
    fee = priority_fee_lamports(limit_units, microlamports)
    assert fee <= cap_lamports
    assert record.network_fee_units == 5_000 + fee
    assert before - net.lamports(SOURCE) == SOL + 5_000 + fee


# One sender, one truth -------------------------------------------------------------------------------------


async def test_w1_of_two_steps_from_one_record_only_the_first_is_made(bench: Bench) -> None:
    """The sender and the watcher may both hold a record; the slower one must not undo the other's step."""
    payer = bench.payer()
    record = await payer.submit(sol_payout())
    steps = await asyncio.gather(
        payer._step(record, PayoutEvent.RESERVE, reserved_lamports=7),
        payer._step(record, PayoutEvent.REFUSE, failure="too late"),
    )
    assert steps[1] is None
    assert bench.store.states("w1") == [S.REQUESTED, S.RESERVED]
    assert payer.open_records() == (steps[0],)


async def test_w1_two_runs_at_once_are_refused(bench: Bench) -> None:
    payer = bench.payer()
    async with running(payer):
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="already running"):
            await payer.run()


async def test_w1_a_store_that_fails_stops_the_payer_before_anything_is_sent(bench: Bench) -> None:
    class FullDisk(MemoryStore):
        async def save(self, record: PayoutRecord) -> None:
            if record.state is S.SIGNED:
                raise OSError("no space left on device")
            await super().save(record)

    bench.store = FullDisk()
    request = sol_payout()
    payer = bench.payer()
    await payer.submit(request)
    with pytest.raises(OSError, match="no space left"):
        await payer.run()
    bench.net.ledger.advance(20)
    assert bench.net.lamports(request.destination) == 0


def test_the_hot_wallet_must_be_the_signers(net: Net) -> None:
    with pytest.raises(ValueError, match="does not hold the key of the hot wallet"):
        Payer(net.pool("http://127.0.0.1:1"), KeypairSigner(Keypair()), SOURCE, MemoryStore())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"interval_s": 0}, "interval_s must be positive, not 0"),
        ({"prepare_at_once": 0}, "prepare_at_once must be positive"),
        ({"attempts_at_most": 0}, "attempts_at_most must be at least 1"),
        ({"largest_priority_fee_lamports": -1}, "cannot be negative"),
    ],
)
def test_options_that_cannot_work_are_refused(fields: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PayerOptions(**fields)  # type: ignore[arg-type]
