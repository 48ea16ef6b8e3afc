"""The journal and the snapshot say the same as the run that wrote them (R4, R5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.apply import apply
from engine.commands import Deposit, Tick
from engine.journal import (
    Entry,
    JournalCorrupt,
    decode_command,
    decode_outcome,
    encode_command,
    encode_outcome,
)
from engine.journal import replay as replay_journal
from engine.outcome import Rejected
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state, state_hash
from engine.state import new_state

from .worlds import draw_world, world_after


@given(st.data())
def test_r5_replaying_the_journal_gives_the_same_hash(data: st.DataObject) -> None:
    """R5: from nothing, and from a snapshot taken at any point."""
    world = draw_world(data, strange_percent=6)
    steps = data.draw(st.integers(1, 50))
    middle = data.draw(st.integers(0, steps))
    snapshot, entries_before, hash_before = b"", 0, b""
    for step in range(steps + 1):
        if step == middle:
            run = world.run
            snapshot, entries_before, hash_before = dump_state(run.state), len(run.entries), run.last_hash
        world.step()
    run = world.run

    fresh = new_state(run.params)
    assert replay_journal(fresh, run.entries) == run.last_hash
    assert state_hash(fresh) == state_hash(run.state)

    resumed = load_state(snapshot)
    assert replay_journal(resumed, run.entries[entries_before:], hash_before) == run.last_hash
    assert state_hash(resumed) == state_hash(run.state)
    assert dump_state(resumed) == dump_state(run.state)


@given(st.data())
def test_r5_dump_and_load_round_trip(data: st.DataObject) -> None:
    """R5: loading a dump and dumping it again gives the same bytes and an equal state."""
    world = world_after(data, 40)
    loaded = load_state(dump_state(world.run.state))
    assert dump_state(loaded) == dump_state(world.run.state)
    assert loaded == world.run.state


@given(st.data())
def test_r5_encodings_are_injective(data: st.DataObject) -> None:
    """R5: decode(encode(x)) == x for commands and outcomes; different commands have different bytes."""
    world = draw_world(data, strange_percent=15)
    seen: dict[bytes, object] = {}
    for _ in range(data.draw(st.integers(1, 40))):
        command, outcome = world.step()
        if not outcome.recorded:
            continue
        body, answer = encode_command(command), encode_outcome(outcome)
        assert decode_command(body) == command
        assert decode_outcome(answer) == outcome
        assert seen.setdefault(body, command) == command


@given(st.data())
def test_r5_a_journal_with_one_changed_byte_is_refused(data: st.DataObject) -> None:
    """R5: one flipped bit in a command, outcome, hash or number stops the replay at that very entry."""
    run = world_after(data, 15).run
    place = data.draw(st.integers(0, len(run.entries) - 1), label="entry")
    entry = run.entries[place]
    part = data.draw(st.sampled_from(["command", "outcome", "hash", "sequence"]))
    if part == "sequence":
        spoilt = replace(entry, sequence=entry.sequence + data.draw(st.sampled_from([-1, 1, 10**6])))
    else:
        old = bytearray(getattr(entry, part))
        at = data.draw(st.integers(0, len(old) - 1), label="byte")
        old[at] ^= 1 << data.draw(st.integers(0, 7), label="bit")
        parts = {name: getattr(entry, name) for name in ("command", "outcome", "hash")} | {part: bytes(old)}
        spoilt = Entry(entry.sequence, **parts)
    entries = [*run.entries[:place], spoilt, *run.entries[place + 1 :]]
    with pytest.raises(JournalCorrupt) as caught:
        replay_journal(new_state(run.params), entries)
    assert caught.value.sequence == spoilt.sequence


@given(st.data())
def test_r5_a_journal_with_an_entry_missing_or_moved_is_refused(data: st.DataObject) -> None:
    """R5: dropping an entry from the middle, or swapping two neighbors, is noticed."""
    run = world_after(data, 15).run
    place = data.draw(st.integers(0, len(run.entries) - 2))
    head, two, tail = run.entries[:place], run.entries[place : place + 2], run.entries[place + 2 :]
    for entries in ([*head, two[1], *tail], [*head, two[1], two[0], *tail]):
        with pytest.raises(JournalCorrupt):
            replay_journal(new_state(run.params), entries)


@given(st.data())
def test_r4_the_same_id_gets_the_first_answer(data: st.DataObject) -> None:
    """R4: sent again, also later or after a reload, a command gets its first answer, nothing is posted."""
    world = world_after(data, 30)
    command, first = world.step()
    assume(first.recorded)
    # A refused deposit is money that did arrive: its id stays free, so that it can still be posted later.
    assume(not (isinstance(command, Deposit) and isinstance(first, Rejected)))
    before = state_hash(world.run.state)
    later = replace(command, time_ns=command.time_ns + data.draw(st.integers(0, 10**12)))
    states = [world.run.state, load_state(dump_state(world.run.state))]
    for state in states:
        for again in (command, later):
            answer = apply(state, again)
            assert answer == first
            assert not answer.recorded
            assert state_hash(state) == before


@given(st.data())
def test_r4_an_id_with_another_body_is_refused(data: st.DataObject) -> None:
    """R4: the same id with any other body is `id_reused_with_different_body`, whatever the body asks for."""
    world = world_after(data, 30)
    command, first = world.step()
    assume(first.recorded and not (isinstance(command, Deposit) and isinstance(first, Rejected)))
    other = replace(world.generator.next(), id=command.id, time_ns=world.run.state.last_time_ns)
    assume(replace(other, time_ns=0) != replace(command, time_ns=0))
    assume(isinstance(other, Deposit) == isinstance(command, Deposit))
    before = state_hash(world.run.state)
    answer = world.run.apply(other)
    assume(isinstance(answer, Rejected) and answer.reason is not RejectReason.MALFORMED_COMMAND)
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.ID_REUSED_WITH_DIFFERENT_BODY
    assert state_hash(world.run.state) == before


@given(st.data(), st.integers(1, 10**18))
def test_r4_time_never_goes_back(data: st.DataObject, back_ns: int) -> None:
    """R4: a command before the last one is refused without a trace; at the same time it is welcome."""
    world = world_after(data, 10)
    now_ns = world.run.state.last_time_ns
    before = state_hash(world.run.state)
    answer = world.run.apply(Tick("early", max(0, now_ns - back_ns)))
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.TIME_WENT_BACK
    assert state_hash(world.run.state) == before
    assert not isinstance(world.run.apply(Tick("in time", now_ns)), Rejected)
