"""The payer on a real ledger over real sockets: what lands, what it costs, what it waits for (W1-W7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from solders.keypair import Keypair
from solders.transaction import Transaction, VersionedTransaction

from chain.fees import priority_fee_lamports
from chain.instructions import build_message, compute_unit_limit, compute_unit_price, transfer_lamports
from chain.payer import Alarm, AlarmKind, Payer, PayerOptions, PayoutRequest, PayoutState, Ruling
from chain.rpc import RpcPool
from chain.signer import KeypairSigner, SignerError
from chain.submission import IllegalTransition, PayoutRecord
from chain.tokens import TOKEN_2022_PROGRAM, TOKEN_PROGRAM

from .paying import OPTIONS, MemoryStore, Net, new_wallet, running, until

S = PayoutState
ROAD = [S.REQUESTED, S.RESERVED, S.SIGNED, S.SENT]
SOL = 1_000_000_000
HOT = Keypair.from_seed(b"hot wallet" * 3 + b"!!")
SOURCE = str(HOT.pubkey())


class Bench:
    """A funded hot wallet with its payer, store, alarms and results."""

    def __init__(self, net: Net, pool: RpcPool, lamports: int = 100 * SOL) -> None:
        self.net, self.pool = net, pool
        self.store = MemoryStore()
        self.alarms: list[Alarm] = []
        self.results: list[PayoutRecord] = []
        if lamports:
            net.put(SOURCE, lamports)

    def payer(self, options: PayerOptions = OPTIONS, pool: RpcPool | None = None, **more: object) -> Payer:
        return Payer(
            pool or self.pool,
            more.pop("signer", None) or KeypairSigner(HOT),  # type: ignore[arg-type]
            SOURCE,
            self.store,
            options=options,
            on_result=self.results.append,
            on_alarm=self.alarms.append,
            **more,  # type: ignore[arg-type]
        )

    def state(self, payout_id: str) -> PayoutState | None:
        record = self.store.load(payout_id)
        return None if record is None else record.state

    def alarmed(self, kind: AlarmKind) -> list[str]:
        return [alarm.text for alarm in self.alarms if alarm.kind is kind]

    async def over(self, *ids: str) -> list[PayoutRecord]:
        def all_over() -> bool:
            return all((r := self.store.load(i)) is not None and r.is_final for i in ids)

        await until(all_over, lambda: f"{ids} over; {[self.store.load(i) for i in ids]}; {self.alarms}")
        return [record for i in ids if (record := self.store.load(i)) is not None]


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


def sol_payout(payout_id: str = "w1", units: int = SOL, destination: str = "") -> PayoutRequest:
    return PayoutRequest(payout_id, "SOL", None, units, destination or new_wallet())


# What lands and what it costs ------------------------------------------------------------------------------


async def test_w1_a_payout_goes_through_every_state_and_costs_what_the_balances_say(bench: Bench) -> None:
    request = sol_payout(units=3 * SOL + 7)
    before = bench.net.lamports(SOURCE)
    payer = bench.payer()
    async with running(payer):
        await payer.submit(request)
        (record,) = await bench.over("w1")
    assert bench.store.states("w1")[:4] == ROAD
    assert set(bench.store.states("w1")[4:]) <= {S.CONFIRMED, S.FINALIZED}
    assert record.state is S.FINALIZED
    assert bench.net.lamports(request.destination) == 3 * SOL + 7
    assert before - bench.net.lamports(SOURCE) == request.units + record.network_fee_units
    assert record.network_fee_units == 5_000, "one signature; nobody competes, so no priority fee"
    assert [r.id for r in bench.results] == ["w1"]
    assert bench.alarms == []


@pytest.mark.parametrize("program", [TOKEN_PROGRAM, TOKEN_2022_PROGRAM])
async def test_w5_a_token_payout_creates_the_account_and_its_rent_is_part_of_the_cost(
    bench: Bench, program: str
) -> None:
    net = bench.net
    mint = net.new_mint(program)
    net.give_tokens(SOURCE, mint, program, 1_000_000_000)
    wallet = new_wallet()
    payer = bench.payer()
    costs = []
    async with running(payer):
        for number, units in enumerate((250_000_000, 1)):
            before = net.lamports(SOURCE)
            await payer.submit(PayoutRequest(f"w{number}", "USDC", mint, units, wallet))
            (record,) = await bench.over(f"w{number}")
            assert record.state is S.FINALIZED, record.failure
            assert before - net.lamports(SOURCE) == record.network_fee_units
            costs.append(record.network_fee_units)
    assert net.units(wallet, mint, program) == 250_000_001
    assert net.units(SOURCE, mint, program) == 1_000_000_000 - 250_000_001
    data_bytes = 165 if program == TOKEN_PROGRAM else 170  # the second kind is made with an immutable owner
    rent = await bench.pool.call("getMinimumBalanceForRentExemption", [data_bytes], type=int)
    assert costs == [5_000 + rent, 5_000]


async def test_w1_two_equal_payouts_are_two_payments(bench: Bench) -> None:
    """Same amount, wallet and blockhash: without the memo they would be the same bytes; one would land."""
    wallet = new_wallet()
    payer = bench.payer()
    await payer.submit(sol_payout("w1", SOL, wallet))
    await payer.submit(sol_payout("w2", SOL, wallet))
    async with running(payer):
        one, two = await bench.over("w1", "w2")
    assert one.signature != two.signature
    assert bench.net.lamports(wallet) == 2 * SOL


async def test_w1_many_payouts_in_flight_land_once_each(bench: Bench) -> None:
    requests = [sol_payout(f"w{n}", SOL // 100 + n) for n in range(40)]
    before = bench.net.lamports(SOURCE)
    payer = bench.payer()
    async with running(payer):
        await asyncio.gather(*(payer.submit(request) for request in requests))
        records = await bench.over(*(request.id for request in requests))
    assert all(record.state is S.FINALIZED for record in records)
    for request in requests:
        assert bench.net.lamports(request.destination) == request.units
    fees = sum(record.network_fee_units for record in records)
    assert before - bench.net.lamports(SOURCE) == sum(r.units for r in requests) + fees
    assert payer.open_records() == ()


async def test_w1_the_same_request_again_is_the_same_payout_also_after_it_is_over(bench: Bench) -> None:
    request = sol_payout()
    payer = bench.payer()
    first = await payer.submit(request)
    assert (await payer.submit(request)) == first
    async with running(payer):
        (done,) = await bench.over("w1")
    assert (await payer.submit(request)) == done
    reborn = bench.payer()
    async with running(reborn):
        assert (await reborn.submit(request)) == done
        await asyncio.sleep(0.1)
    assert bench.net.lamports(request.destination) == request.units
    for other in (replace(request, units=1), replace(request, destination=new_wallet())):
        with pytest.raises(ValueError, match="already asked for with another body"):
            await reborn.submit(other)


async def test_results_can_be_iterated(bench: Bench) -> None:
    payer = bench.payer()
    results = payer.results()
    async with running(payer):
        await payer.submit(sol_payout())
        record = await asyncio.wait_for(anext(results), 10)
    assert (record.id, record.state) == ("w1", S.FINALIZED)


# The same bytes until the chain has spoken -----------------------------------------------------------------


async def test_w1_the_bytes_are_stored_before_they_are_sent(bench: Bench) -> None:
    for faults in bench.net.faults:
        faults.drop(methods=["sendTransaction"])
    payer = bench.payer()
    async with running(payer):
        await payer.submit(sol_payout())
        await until(lambda: bench.net.faults[0].log, "a send")
        stored = bench.store.load("w1")
    assert stored is not None
    assert stored.attempt is not None
    transaction = Transaction.from_bytes(stored.attempt.signed_bytes)
    transaction.verify()
    assert str(transaction.signatures[0]) == stored.signature
    assert stored.last_valid_block_height == stored.attempt.last_valid_block_height > 150
    assert bench.store.states("w1")[2] is S.SIGNED


async def test_w2_lost_sends_and_lost_answers_are_sent_again_with_the_same_bytes(bench: Bench) -> None:
    bench.net.faults[0].drop(methods=["sendTransaction"], times=3)
    bench.net.faults[1].lose_answer(methods=["sendTransaction"], times=2, skip=2)
    bench.net.faults[1].drop(methods=["sendTransaction"], times=2)
    request = sol_payout()
    payer = bench.payer()
    async with running(payer):
        await payer.submit(request)
        (record,) = await bench.over("w1")
    assert len(record.attempts) == 1
    assert bench.net.lamports(request.destination) == request.units


async def test_w2_sends_go_to_every_endpoint_at_confirmed_with_no_retries_of_the_node() -> None:
    import msgspec
    from aiohttp import web

    seen: list[list[object]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(msgspec.json.decode(await request.read())["params"])
        return web.json_response({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "no"}})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    sites = [web.TCPSite(runner, "127.0.0.1", 0) for _ in range(2)]
    for site in sites:
        await site.start()
    urls = [f"http://127.0.0.1:{address[1]}" for address in runner.addresses]
    store = MemoryStore()
    async with RpcPool(urls, attempts=1) as pool:
        from .test_submission import record_in

        payer = Payer(pool, KeypairSigner(HOT), SOURCE, store, options=OPTIONS)
        await payer._broadcast(record_in(S.SIGNED))
    await runner.cleanup()
    assert len(seen) == 2
    for parameters in seen:
        assert parameters[1] == {
            "encoding": "base64",
            "skipPreflight": False,
            "preflightCommitment": "confirmed",
            "maxRetries": 0,
        }


async def test_w3_new_bytes_only_after_the_old_ones_are_dead_and_the_old_signature_is_kept() -> None:
    net = Net(slot_ms=None)
    await net.start()
    ledger = net.ledger
    async with net.pool() as pool:
        bench = Bench(net, pool)
        drops = [faults.drop(methods=["sendTransaction"]) for faults in net.faults]
        request = sol_payout()
        payer = bench.payer()
        async with running(payer):
            await payer.submit(request)
            await until(lambda: bench.state("w1") is S.SENT, "sent")
            last_valid = payer.open_records()[0].last_valid_block_height
            assert last_valid is not None
            while ledger.view("finalized").height < last_valid:
                ledger.advance()
            await asyncio.sleep(0.15)  # some fifteen rounds
            assert bench.state("w1") is S.SENT, "at the last valid height itself it could still have landed"
            for faults, drop in zip(net.faults, drops, strict=True):
                faults.remove(drop)
            ledger.advance()
            await until(lambda: S.EXPIRED in bench.store.states("w1"), "expired")
            await until(lambda: bench.state("w1") is S.SENT, "sent again")
            ledger.advance(10)
            (record,) = await bench.over("w1")
        assert record.state is S.FINALIZED
        assert len(record.attempts) == 2
        assert len(set(record.signatures)) == 2
        assert net.lamports(request.destination) == request.units
        assert ledger.transaction(record.signatures[0]) is None
    await net.stop()


async def test_w3_bytes_that_landed_unseen_are_never_replaced(bench: Bench) -> None:
    """The node executed the send and the answer was lost; then the chain ran far past the last height."""
    for faults in bench.net.faults:
        faults.lose_answer(methods=["sendTransaction"])
        faults.drop(methods=["getSignatureStatuses"])
    request = sol_payout()
    payer = bench.payer()
    async with running(payer):
        await payer.submit(request)
        await until(lambda: bench.state("w1") is S.SENT, "sent")
        bench.net.ledger.advance(300)
        await asyncio.sleep(0.05)
        for faults in bench.net.faults:
            faults.clear()
        (record,) = await bench.over("w1")
    assert len(record.attempts) == 1
    assert bench.net.lamports(request.destination) == request.units


async def test_w3_one_endpoint_that_lies_about_its_height_kills_nothing(bench: Bench) -> None:
    bench.net.faults[0].lie_height(100_000)
    for faults in bench.net.faults:
        faults.drop(methods=["sendTransaction"], times=8)
    request = sol_payout()
    payer = bench.payer()
    async with running(payer):
        await payer.submit(request)
        (record,) = await bench.over("w1")
    assert record.state is S.FINALIZED
    assert len(record.attempts) == 1
    assert S.EXPIRED not in bench.store.states("w1")
    assert bench.net.lamports(request.destination) == request.units


async def test_w2_with_one_endpoint_down_a_payout_waits_confirmed_and_then_ends(bench: Bench) -> None:
    down = bench.net.faults[1].drop()
    request = sol_payout()
    payer = bench.payer()
    async with running(payer):
        await payer.submit(request)
        await until(lambda: bench.state("w1") is S.CONFIRMED, lambda: f"confirmed; {bench.alarms}")
        await asyncio.sleep(0.1)
        assert bench.state("w1") is S.CONFIRMED
        assert bench.alarmed(AlarmKind.ENDPOINT)
        bench.net.faults[1].remove(down)
        (record,) = await bench.over("w1")
    assert record.state is S.FINALIZED


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_w3_with_one_endpoint_expiry_is_weaker_and_has_to_be_allowed(
    bench: Bench, is_allowed: bool
) -> None:
    bench.net.faults[0].drop(methods=["sendTransaction"])
    options = replace(OPTIONS, allow_single_endpoint_expiry=is_allowed)
    request = sol_payout()
    async with bench.net.pool(bench.net.urls[0]) as pool:
        payer = bench.payer(options, pool)
        async with running(payer):
            await payer.submit(request)
            await until(lambda: bench.state("w1") is S.SENT, "sent")
            bench.net.ledger.advance(220)
            if is_allowed:
                await until(lambda: S.EXPIRED in bench.store.states("w1"), "expired")
                bench.net.faults[0].clear()
                (record,) = await bench.over("w1")
                assert record.state is S.FINALIZED
                assert bench.net.lamports(request.destination) == request.units
            else:
                await until(lambda: bench.state("w1") is S.MANUAL_REVIEW, "manual review")
                assert "allow_single_endpoint_expiry" in bench.alarmed(AlarmKind.MANUAL_REVIEW)[0]
                assert bench.net.lamports(request.destination) == 0
                assert [record.state for record in bench.results] == [S.MANUAL_REVIEW]


async def test_a_confirmed_payout_that_a_reorganization_drops_is_sent_again_and_lands_once() -> None:
    net = Net(slot_ms=None)
    await net.start()
    async with net.pool() as pool:
        bench = Bench(net, pool)
        request = sol_payout()
        payer = bench.payer()
        async with running(payer):
            await payer.submit(request)
            await until(lambda: bench.state("w1") is S.SENT, "sent")
            net.ledger.advance(2)
            await until(lambda: bench.state("w1") is S.CONFIRMED, "confirmed")
            for faults in net.faults:
                faults.drop(methods=["sendTransaction"])
            net.ledger.reorg(2, None)  # not deeper: the fork must still know the blockhash
            net.ledger.advance(1)
            await until(lambda: bench.state("w1") is S.SENT, "sent again")
            assert bench.alarmed(AlarmKind.REORGANIZED)
            for faults in net.faults:
                faults.clear()
            await asyncio.sleep(0.05)
            net.ledger.advance(10)
            (record,) = await bench.over("w1")
        assert record.state is S.FINALIZED
        assert net.lamports(request.destination) == request.units
    await net.stop()


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
        assert "1000 USDC" in bench.alarmed(AlarmKind.HOT_WALLET_LOW)[0]
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
