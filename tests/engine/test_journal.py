"""R3-R5: one answer per id, the hash chain, replay, snapshots; and commands made to hurt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected, apply
from engine.codec import CodecError
from engine.invariants import check
from engine.journal import (
    GENESIS_HASH,
    Entry,
    JournalCorrupt,
    chain_hash,
    encode_command,
    encode_outcome,
    replay,
)
from engine.params import default_params
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state, state_hash
from engine.state import new_state
from tests.engine.conftest import SOL, USDC, Exchange


@pytest.fixture
def busy(indebted: Exchange) -> Exchange:
    """Give a state with something of everything: debt, claim, held deposit, queued withdrawal, answers."""
    indebted.must(cm.SetOnDebt, "1/0", "hold")
    indebted.must(cm.Deposit, "1/0", "SOL", SOL, "sender")
    indebted.deposit("2/0", 10 * SOL, "SOL")
    indebted.attest()
    indebted.withdraw("2/0", 100 * USDC)
    indebted.withdraw("2/0", SOL, "SOL", id="paid")
    indebted.must(cm.ConfirmWithdrawal, "paid", "sig", 5_000)
    indebted.withdraw("2/0", 2**64 - 1)
    return indebted


def test_r5_replay_gives_the_same_hash(busy: Exchange) -> None:
    state = new_state(busy.params)
    assert replay(state, busy.entries) == busy.last_hash
    assert state_hash(state) == state_hash(busy.state)


def test_r5_replay_from_a_snapshot(busy: Exchange) -> None:
    half = len(busy.entries) // 2
    state = new_state(busy.params)
    replay(state, busy.entries[:half])
    loaded = load_state(dump_state(state))
    assert check(loaded) == []
    with pytest.raises(JournalCorrupt, match="snapshot needs the hash"):
        replay(loaded, busy.entries[half:])
    assert replay(loaded, busy.entries[half:], busy.entries[half - 1].hash) == busy.last_hash
    assert dump_state(loaded) == dump_state(busy.state)


def test_r5_a_loaded_snapshot_goes_on_exactly_alike(busy: Exchange) -> None:
    copy = load_state(dump_state(busy.state))
    commands: list[Any] = [
        cm.Tick("t1", busy.now_ns + 5),
        cm.Deposit("d1", busy.now_ns + 6, "1/0", "USDC", 10**10, "w"),
        cm.RequestWithdrawal("paid", busy.now_ns + 7, "2/0", "SOL", SOL, "destination"),
        cm.Tick("t2", busy.now_ns + 10**15),
    ]
    for command in commands:
        assert encode_outcome(apply(copy, command)) == encode_outcome(apply(busy.state, command))
    assert state_hash(copy) == state_hash(busy.state)


def corrupt(entries: list[Entry], place: int, **changes: Any) -> list[Entry]:
    return [*entries[:place], replace(entries[place], **changes), *entries[place + 1 :]]


def test_r5_every_kind_of_corruption_is_found_and_placed(busy: Exchange) -> None:
    entries = busy.entries
    place = 4
    good = entries[place]
    previous = entries[place - 1].hash

    def linked(command: bytes, outcome: bytes) -> dict[str, Any]:
        linking = chain_hash(previous, good.sequence, command, outcome)
        return {"command": command, "outcome": outcome, "hash": linking}

    other = good.command.replace(b"wallet", b"thief!")
    spaced = good.command.replace(b",", b", ")
    malformed = encode_command(cm.Tick("", 5))
    cases = [
        (corrupt(entries, place, command=other), "hash does not match"),
        (corrupt(entries, place, outcome=good.outcome + b" "), "hash does not match"),
        (corrupt(entries, place, hash=b"\0" * 32), "hash does not match"),
        (corrupt(entries, place, **linked(good.command, b"{}")), "outcome differs"),
        (corrupt(entries, place, **linked(b"rubbish", good.outcome)), "not the JSON"),
        (corrupt(entries, place, **linked(spaced, good.outcome)), "not in canonical form"),
        (corrupt(entries, place, **linked(malformed, good.outcome)), "leaves no trace"),
        ([*entries[:place], *entries[place + 1 :]], "expected entry"),
        ([*entries[:place], entries[place - 1], *entries[place:]], "expected entry"),
    ]
    for broken, says in cases:
        with pytest.raises(JournalCorrupt, match=says) as caught:
            replay(new_state(busy.params), broken)
        assert caught.value.sequence in (place, place + 1, place + 2)


def test_r5_other_parameters_are_another_chain(busy: Exchange) -> None:
    other = replace(default_params(), gate_max_ns=1)
    assert GENESIS_HASH(other) != GENESIS_HASH(busy.params)
    with pytest.raises(JournalCorrupt) as caught:
        replay(new_state(other), busy.entries)
    assert caught.value.sequence == 1


def test_chain_hash_tells_where_the_command_ends() -> None:
    zero = b"\0" * 32
    assert chain_hash(zero, 1, b"ab", b"c") != chain_hash(zero, 1, b"a", b"bc")
    assert chain_hash(zero, 1, b"a", b"") != chain_hash(zero, 2, b"a", b"")
    assert len(chain_hash(zero, 1, b"", b"")) == 32


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'{"engine_version":0}',
        b'{"engine_version":1}',
        b'{"engine_version":1,"params":"{}"}',
    ],
)
def test_snapshots_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"snapshot|expected|not the JSON|missing"):
        load_state(text)


def test_truncated_or_meddled_snapshots_are_refused(busy: Exchange) -> None:
    text = dump_state(busy.state)
    for cut in (1, len(text) // 3, len(text) - 1):
        with pytest.raises(CodecError):
            load_state(text[:cut])
    with pytest.raises(ValueError, match="unknown"):
        load_state(text.replace(b'"OpenSubaccount"', b'"OpenSesame"'))


def test_dump_does_not_depend_on_the_order_of_history(make_exchange: type[Exchange]) -> None:
    first, second = make_exchange(), make_exchange()
    first.open("1/0", "2/0")
    second.open("2/0", "1/0")
    rows = [exchange.state for exchange in (first, second)]
    tables = [sorted(state.subaccounts) for state in rows]
    assert tables[0] == tables[1]
    one, two = (dump_state(state) for state in rows)
    assert one.partition(b'"subaccounts"')[2] == two.partition(b'"subaccounts"')[2]


def test_r4_the_first_answer_again_whatever_the_time(exchange: Exchange) -> None:
    refused = exchange.withdraw("1/0", 5 * USDC, id="w")
    assert isinstance(refused, Rejected) and refused.reason is RejectReason.INSUFFICIENT_SETTLED_CASH
    exchange.deposit("1/0", 10 * USDC)
    exchange.attest()
    again = exchange.withdraw("1/0", 5 * USDC, id="w")
    assert again == refused and not again.recorded
    assert again == exchange.apply(cm.RequestWithdrawal("w", 0, "1/0", "USDC", 5 * USDC, "destination"))
    assert exchange.cash("1/0") == 10 * USDC


def test_r4_what_is_remembered_how_long(make_exchange: type[Exchange]) -> None:
    """R4: what moved money for ever; refusals and settings the last `remembered_commands`; clockwork the
    last 10.
    """
    exchange = make_exchange(replace(default_params(), remembered_commands=3))
    exchange.open("1/0")
    exchange.send(cm.Deposit, "1/0", "USDC", 5 * USDC, "w", id="d")
    exchange.attest()
    accepted = exchange.send(cm.RequestWithdrawal, "1/0", "USDC", USDC, "x", id="w")
    refused = exchange.send(cm.RequestWithdrawal, "1/0", "USDC", 9 * USDC, "x", id="refused")
    assert isinstance(accepted, Accepted) and isinstance(refused, Rejected)
    assert not exchange.send(cm.RequestWithdrawal, "1/0", "USDC", 9 * USDC, "x", id="refused").recorded
    exchange.send(cm.Tick, id="t")
    for _ in range(31):
        exchange.tick()
    assert not exchange.send(cm.Tick, id="t").recorded
    exchange.tick()
    for _ in range(3):
        exchange.must(cm.SetOnDebt, "1/0", "apply")
    assert not exchange.send(cm.Deposit, "1/0", "USDC", 5 * USDC, "w", id="d").recorded
    assert not exchange.send(cm.RequestWithdrawal, "1/0", "USDC", USDC, "x", id="w").recorded
    assert exchange.send(cm.Tick, id="t").recorded
    assert exchange.send(cm.RequestWithdrawal, "1/0", "USDC", 9 * USDC, "x", id="refused").recorded
    assert (len(exchange.state.recent_answers), len(exchange.state.clockwork_answers)) == (3, 32)


def test_r4_same_id_of_another_kind_is_another_body(exchange: Exchange) -> None:
    exchange.send(cm.Tick, id="x")
    outcome = exchange.send(cm.SetOnDebt, "1/0", "hold", id="x")
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.ID_REUSED_WITH_DIFFERENT_BODY


def test_traceless_answers_leave_the_state_alone(exchange: Exchange) -> None:
    before = dump_state(exchange.state)
    exchange.apply(cm.Tick("", exchange.now_ns + 1))
    exchange.apply(cm.Tick("t", exchange.now_ns - 1))
    exchange.apply(cm.Tick("c1", exchange.now_ns + 1))
    assert dump_state(exchange.state) == before


ABSURD = (0, -1, 1, 2**63, 2**64 - 1, 2**64, -(2**64), 2**127, 2**200, 10**5_000)


@pytest.mark.parametrize("number", ABSURD, ids=[str(n) if n < 2**201 else "huge" for n in ABSURD])
def test_r3_apply_is_total_for_absurd_numbers(indebted: Exchange, number: int) -> None:
    pairs = (("SOL", number),)
    marks = (("SOL-PERP", number),)
    both = ("1/0", "2/0")
    for kind, values in (
        (cm.Deposit, ("1/0", "USDC", number, "w")),
        (cm.Deposit, ("1/0", "SOL", number, "w")),
        (cm.Deposit, ("fees", "SOL", number, "w")),
        (cm.RequestWithdrawal, ("2/0", "USDC", number, "d")),
        (cm.Transfer, ("2/0", "2/0", "USDC", number)),
        (cm.BlockTrade, ("SOL-PERP", "1/0", "2/0", number, 130 * 10**8, both)),
        (cm.BlockTrade, ("SOL-PERP", "1/0", "2/0", SOL, number, both)),
        (cm.AttestReserves, (pairs, 1)),
        (cm.AttestReserves, ((), number)),
        (cm.ConfirmWithdrawal, ("w", "s", number)),
        (cm.ReturnHeldDeposit, ("d", number)),
        (cm.PayNetworkFee, ("p", "s", number)),
        (cm.UpdatePrices, (pairs, ())),
        (cm.UpdatePrices, ((), marks)),
        (cm.Tick, ()),
    ):
        assert isinstance(indebted.send(kind, *values), Accepted | Rejected)
    assert isinstance(indebted.apply(cm.Tick("late", number)), Accepted | Rejected)


def test_r3_u64_maximum_everywhere_at_once(make_exchange: type[Exchange]) -> None:
    """D10, R1: exact at the largest amounts and prices that can exist."""
    exchange = make_exchange(replace(default_params(), velocity_floor_ppm=0))
    exchange.open("1/0", "2/0")
    top = 10**18
    exchange.must(cm.UpdatePrices, (("SOL", top), ("BTC", top)), (("SOL-PERP", top), ("BTC-PERP", top)))
    for name in ("1/0", "2/0"):
        for asset in ("USDC", "SOL", "BTC"):
            exchange.deposit(name, 2**64 - 1, asset)
    assert isinstance(exchange.trade("1/0", "2/0", 10**9, 10**10), Accepted)
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 1),))
    exchange.tick()
    exchange.attest()
    assert isinstance(exchange.withdraw("2/0", 2**64 - 1, "BTC"), Accepted)
    assert exchange.state.deposited_units["USDC"] == 2 * (2**64 - 1)
