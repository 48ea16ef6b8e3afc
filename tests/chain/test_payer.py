"""The payer on a real ledger over real sockets: what lands, what it costs, what it waits for (W1-W7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from solders.transaction import Transaction

from chain.payer import AlarmKind, Payer, PayoutRequest, PayoutState
from chain.rpc import RpcPool
from chain.signer import KeypairSigner
from chain.tokens import TOKEN_2022_PROGRAM, TOKEN_PROGRAM

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


# What lands and what it costs ------------------------------------------------------------------------------


async def test_w1_a_payout_goes_through_every_state_and_costs_what_the_balances_say() -> None:
    net = Net(slot_ms=None)
    await net.start()
    async with net.pool() as pool:
        bench = Bench(net, pool)
        request = sol_payout(units=3 * SOL + 7)
        before = net.lamports(SOURCE)
        payer = bench.payer()
        async with running(payer):
            await payer.submit(request)
            for state in (S.SENT, S.CONFIRMED):
                await until(lambda state=state: bench.state("w1") is state, lambda: str(bench.alarms))
                net.ledger.advance(2)
            net.ledger.advance(10)
            (record,) = await bench.over("w1")
        assert bench.store.states("w1") == [
            S.REQUESTED, S.RESERVED, S.SIGNED, S.SENT, S.CONFIRMED, S.FINALIZED
        ]  # fmt: skip
        assert net.lamports(request.destination) == 3 * SOL + 7
        assert before - net.lamports(SOURCE) == request.units + record.network_fee_units
        assert record.network_fee_units == 5_000, "one signature; nobody competes, so no priority fee"
        assert [r.id for r in bench.results] == ["w1"]
        assert bench.alarms == []
    await net.stop()


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


async def test_w1_two_equal_payouts_on_one_blockhash_are_two_payments() -> None:
    """Without the memo they would be the same bytes with the same signature, and one would land."""
    net = Net(slot_ms=None)
    await net.start()
    async with net.pool() as pool:
        bench = Bench(net, pool)
        wallet = new_wallet()
        payer = bench.payer()
        await payer.submit(sol_payout("w1", SOL, wallet))
        await payer.submit(sol_payout("w2", SOL, wallet))
        async with running(payer):
            await until(lambda: bench.state("w1") is bench.state("w2") is S.SENT, lambda: str(bench.alarms))
            net.ledger.advance(10)
            one, two = await bench.over("w1", "w2")
        assert one.attempts[0].blockhash == two.attempts[0].blockhash
        assert one.signature != two.signature
        assert net.lamports(wallet) == 2 * SOL
    await net.stop()


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
        record = await asyncio.wait_for(anext(results), 60)
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
