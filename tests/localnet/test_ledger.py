"""The chain itself: commitments, blockhash ages, duplicates, nonces, forks, journals, events."""

from __future__ import annotations

import struct

import pytest
from solders.account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV1, TransactionConfig
from solders.pubkey import Pubkey
from solders.system_program import (
    AdvanceNonceAccountParams,
    CreateAccountParams,
    InitializeNonceAccountParams,
    advance_nonce_account,
    create_account,
    initialize_nonce_account,
)
from solders.transaction import VersionedTransaction

from localnet import events, execution, programs
from localnet.blocks import TransactionRecord
from localnet.ledger import Ledger, NotIncluded

from .helpers import SOL, fund, legacy, make_ledger, pay, tip_hash, transfer_from, v0, v1


def send(ledger: Ledger, payer: Keypair, target: Pubkey, lamports: int) -> TransactionRecord:
    result = ledger.process(transfer_from(payer, target, lamports, tip_hash(ledger)))
    assert isinstance(result, TransactionRecord)
    return result


def balances(ledger: Ledger, key: Pubkey) -> tuple[int, int, int]:
    return tuple(ledger.view(level).balance(key) for level in ("processed", "confirmed", "finalized"))  # type: ignore[return-value]


def test_a_change_climbs_through_the_commitments() -> None:
    ledger = make_ledger(confirmed_lag=2, finality_lag=4)
    payer, target = fund(ledger), Pubkey.new_unique()
    send(ledger, payer, target, SOL)
    seen = [balances(ledger, target)]
    for _ in range(4):
        ledger.advance()
        seen.append(balances(ledger, target))
    assert seen == [(SOL, 0, 0), (SOL, 0, 0), (SOL, SOL, 0), (SOL, SOL, 0), (SOL, SOL, SOL)]


def test_each_view_of_an_account_written_in_every_slot_is_its_own() -> None:
    ledger = make_ledger(confirmed_lag=2, finality_lag=5)
    payer, target = fund(ledger), Pubkey.new_unique()
    slots = []
    for _ in range(5):
        slots.append(ledger.open.slot)
        send(ledger, payer, target, SOL)
        ledger.advance()
    assert [ledger.view("processed").balance(target) // SOL, ledger.root_slot] == [5, slots[0]]
    read = [ledger.account_at(target, slot) for slot in slots]
    assert [account and account.lamports // SOL for account in read] == [1, 2, 3, 4, 5]


def test_a_failed_transaction_costs_its_fee_and_changes_nothing_else() -> None:
    ledger = make_ledger()
    payer, target = fund(ledger, SOL), Pubkey.new_unique()
    record = send(ledger, payer, target, 2 * SOL)
    assert record.err == {"InstructionError": [0, {"Custom": 1}]}
    assert (record.pre_balances, record.post_balances) == ((SOL, 0, 1), (SOL - 5_000, 0, 1))
    assert ledger.view("processed").account(target) is None
    assert record.logs[-1] == f"Program {programs.SYSTEM} failed: custom program error: 0x1"


def test_lamports_are_conserved() -> None:
    ledger = make_ledger()
    payer = fund(ledger)
    record = send(ledger, payer, Pubkey.new_unique(), SOL)
    assert sum(record.pre_balances) - sum(record.post_balances) == record.fee_lamports == 5_000


@pytest.mark.parametrize("build", [v0, v1, legacy])
def test_transactions_of_every_version_run(build: object) -> None:
    ledger = make_ledger()
    payer, target = fund(ledger), Pubkey.new_unique()
    transaction = build(payer, tip_hash(ledger), pay(payer.pubkey(), target, SOL))  # type: ignore[operator]
    assert isinstance(ledger.process(transaction), TransactionRecord)
    assert ledger.view("processed").balance(target) == SOL


@pytest.mark.parametrize("lamports", [SOL, 99 * SOL])
def test_a_v1_transaction_pays_its_bid_whether_it_succeeds_or_not(lamports: int) -> None:
    ledger = make_ledger()
    payer = fund(ledger)
    config = TransactionConfig(priority_fee=1_234, compute_unit_limit=1_000)
    instruction = pay(payer.pubkey(), Pubkey.new_unique(), lamports)
    message = MessageV1.try_compile(payer.pubkey(), [instruction], tip_hash(ledger), config)
    transaction = VersionedTransaction(message, [payer])
    simulated = ledger.view("processed").simulate(transaction)
    assert ledger.view("processed").balance(payer.pubkey()) == 10 * SOL
    record = ledger.process(transaction)
    assert isinstance(record, TransactionRecord)
    assert simulated.fee_lamports == record.fee_lamports == 6_234
    assert sum(record.pre_balances) - sum(record.post_balances) == 6_234
    assert (record.err is None) == (lamports == SOL)
    assert record.compute_unit_price == 1_234_000


def test_a_v1_bid_above_the_balance_is_refused_without_a_trace() -> None:
    ledger = make_ledger()
    payer = fund(ledger, SOL)
    config = TransactionConfig(priority_fee=SOL)
    instruction = pay(payer.pubkey(), Pubkey.new_unique(), 1)
    message = MessageV1.try_compile(payer.pubkey(), [instruction], tip_hash(ledger), config)
    refused = ledger.process(VersionedTransaction(message, [payer]))
    assert refused == NotIncluded("InsufficientFundsForFee")
    assert ledger.view("processed").balance(payer.pubkey()) == SOL


def test_the_same_transaction_again_is_refused_until_its_blockhash_expires() -> None:
    ledger = make_ledger()
    payer, target = fund(ledger), Pubkey.new_unique()
    transaction = transfer_from(payer, target, SOL, tip_hash(ledger))
    assert isinstance(ledger.process(transaction), TransactionRecord)
    assert ledger.process(transaction) == NotIncluded("AlreadyProcessed")
    ledger.advance(150)
    assert ledger.process(transaction) == NotIncluded("AlreadyProcessed")
    ledger.advance()
    assert ledger.process(transaction) == NotIncluded("BlockhashNotFound")
    assert ledger.view("processed").balance(target) == SOL


def test_a_blockhash_serves_while_at_most_150_more_blocks_have_closed() -> None:
    ledger = make_ledger()
    payer = fund(ledger)
    blockhash, promised = tip_hash(ledger), ledger.view("confirmed").last_valid_block_height
    assert promised == ledger.tip.height + 150
    ledger.advance(150)
    assert ledger.tip.height == promised
    assert ledger.view("confirmed").knows_blockhash(blockhash)
    in_time = transfer_from(payer, Pubkey.new_unique(), SOL, blockhash)
    assert isinstance(ledger.process(in_time), TransactionRecord)
    ledger.advance()
    late = transfer_from(payer, Pubkey.new_unique(), SOL, blockhash)
    assert ledger.process(late) == NotIncluded("BlockhashNotFound")


def test_skipped_slots_do_not_age_a_blockhash() -> None:
    ledger = make_ledger()
    payer, blockhash = fund(ledger), tip_hash(make_ledger())
    blockhash = tip_hash(ledger)
    height = ledger.open.height
    ledger.skip_slots(1_000)
    assert ledger.open.height == height
    assert isinstance(
        ledger.process(transfer_from(payer, Pubkey.new_unique(), SOL, blockhash)), TransactionRecord
    )


def test_skip_slots_leaves_holes_and_keeps_the_parent() -> None:
    ledger = make_ledger()
    ledger.advance(3)
    ledger.skip_slots(2)
    assert ledger.open.slot == 6
    ledger.advance()
    assert [block.slot for block in ledger.chain] == [0, 1, 2, 3, 6]
    assert (ledger.tip.parent_slot, ledger.tip.height) == (3, 4)
    assert ledger.block(4) is ledger.block(5) is None


def make_nonce(ledger: Ledger, payer: Keypair) -> Keypair:
    nonce = Keypair()
    create = create_account(
        CreateAccountParams(
            from_pubkey=payer.pubkey(),
            to_pubkey=nonce.pubkey(),
            lamports=ledger.svm.rent_exempt_lamports(80),
            space=80,
            owner=programs.SYSTEM,
        )
    )
    initialize = initialize_nonce_account(
        InitializeNonceAccountParams(nonce_pubkey=nonce.pubkey(), authority=payer.pubkey())
    )
    made = ledger.process(legacy(payer, tip_hash(ledger), create, initialize, signers=(nonce,)))
    assert made.err is None
    ledger.advance()
    return nonce


def stored_nonce(ledger: Ledger, nonce: Pubkey) -> Hash:
    read = execution.read_nonce(ledger.svm.account(nonce))
    assert read is not None
    return Hash(read[1])


def advance_of(payer: Keypair, nonce: Keypair) -> Instruction:
    return advance_nonce_account(
        AdvanceNonceAccountParams(nonce_pubkey=nonce.pubkey(), authorized_pubkey=payer.pubkey())
    )


def test_a_new_nonce_is_that_of_the_newest_blockhash() -> None:
    ledger = make_ledger()
    payer = fund(ledger)
    old = tip_hash(ledger)
    ledger.advance(5)
    newest = ledger.tip.blockhash
    assert tip_hash(ledger) != old
    nonce = make_nonce(ledger, payer)
    expected = execution.next_durable_nonce(bytes(Hash.from_string(newest)))
    assert bytes(stored_nonce(ledger, nonce.pubkey())) == expected


def test_a_durable_nonce_outlives_blockhashes_and_serves_once() -> None:
    ledger = make_ledger()
    payer, target = fund(ledger), Pubkey.new_unique()
    nonce = make_nonce(ledger, payer)
    value = stored_nonce(ledger, nonce.pubkey())
    transaction = v0(payer, value, advance_of(payer, nonce), pay(payer.pubkey(), target, SOL))
    other = v0(payer, value, advance_of(payer, nonce), pay(payer.pubkey(), target, 2 * SOL))
    ledger.advance(500)
    assert isinstance(ledger.process(transaction), TransactionRecord)
    assert stored_nonce(ledger, nonce.pubkey()) != value
    ledger.advance()
    assert ledger.process(transaction) == NotIncluded("BlockhashNotFound")
    assert ledger.process(other) == NotIncluded("BlockhashNotFound")
    assert ledger.view("processed").balance(target) == SOL


def test_a_failed_nonce_transaction_still_advances_the_nonce_and_pays() -> None:
    ledger = make_ledger()
    payer, target = fund(ledger, SOL), Pubkey.new_unique()
    nonce = make_nonce(ledger, payer)
    before = ledger.view("processed").balance(payer.pubkey())
    value = stored_nonce(ledger, nonce.pubkey())
    ledger.advance(200)
    failing = v0(payer, value, advance_of(payer, nonce), pay(payer.pubkey(), target, 5 * SOL))
    result = ledger.process(failing)
    assert isinstance(result, TransactionRecord)
    assert result.err == {"InstructionError": [1, {"Custom": 1}]}
    assert stored_nonce(ledger, nonce.pubkey()) != value
    assert ledger.view("processed").balance(payer.pubkey()) == before - 5_000
    ledger.advance()
    assert ledger.process(failing) == NotIncluded("BlockhashNotFound")


def test_a_nonce_of_another_authority_is_no_blockhash() -> None:
    ledger = make_ledger()
    payer, stranger = fund(ledger), fund(ledger)
    nonce = make_nonce(ledger, payer)
    value = stored_nonce(ledger, nonce.pubkey())
    ledger.advance(200)
    theft = v0(stranger, value, advance_of(stranger, nonce))
    assert ledger.process(theft) == NotIncluded("BlockhashNotFound")


def test_a_missing_program_is_charged_for() -> None:
    ledger = make_ledger()
    payer = fund(ledger, SOL)
    result = ledger.process(v0(payer, tip_hash(ledger), Instruction(Pubkey.new_unique(), b"", [])))
    assert isinstance(result, TransactionRecord)
    assert (result.err, result.post_balances[0]) == ("ProgramAccountNotFound", SOL - 5_000)


def test_an_unfunded_payer_leaves_no_trace() -> None:
    ledger = make_ledger()
    nobody = Keypair()
    result = ledger.process(transfer_from(nobody, Pubkey.new_unique(), 1, tip_hash(ledger)))
    assert result == NotIncluded("AccountNotFound")
    assert ledger.open.transactions == []


def test_an_account_left_below_rent_exemption_fails_the_transaction() -> None:
    ledger = make_ledger()
    payer = fund(ledger)
    record = send(ledger, payer, Pubkey.new_unique(), 1)
    assert record.err == {"InsufficientFundsForRent": {"account_index": 1}}


def table_account(addresses: list[Pubkey], extended_slot: int) -> Account:
    meta = struct.pack("<IQQBB", 1, 2**64 - 1, extended_slot, 0, 1) + bytes(Pubkey.new_unique())
    data = meta.ljust(56, b"\0") + b"".join(map(bytes, addresses))
    return Account(SOL, data, programs.ADDRESS_LOOKUP_TABLE)


def test_addresses_come_from_lookup_tables() -> None:
    from solders.address_lookup_table_account import AddressLookupTableAccount

    ledger = make_ledger()
    payer, target, table = fund(ledger), Pubkey.new_unique(), Pubkey.new_unique()
    addresses = [Pubkey.new_unique(), target]
    ledger.set_account(table, table_account(addresses, ledger.open.slot))
    ledger.advance()
    known = AddressLookupTableAccount(table, addresses)
    record = ledger.process(v0(payer, tip_hash(ledger), pay(payer.pubkey(), target, SOL), tables=[known]))
    assert isinstance(record, TransactionRecord)
    assert record.account_keys[record.static_count :] == (target,)
    assert record.loaded_writable_count == 1
    assert target in record.writable_keys
    assert record.post_balances[record.account_keys.index(target)] == SOL
    assert [r.signature for r in ledger.history(target)] == [record.signature]


# --- forks


def test_abandoned_blocks_are_undone_to_the_last_lamport() -> None:
    ledger = make_ledger(finality_lag=10)
    payer, target = fund(ledger), Pubkey.new_unique()
    before = ledger.view("processed").balance(payer.pubkey())
    count, tip = ledger.transaction_count, ledger.tip
    sent = []
    for _ in range(3):
        sent.append(send(ledger, payer, target, SOL))
        ledger.advance()
    sent.append(send(ledger, payer, target, SOL))
    blocks, open_records = ledger.abandon(3)
    assert [block.transactions for block in blocks] == [[sent[0]], [sent[1]], [sent[2]]]
    assert open_records == (sent[3],)
    assert ledger.view("processed").balance(payer.pubkey()) == before
    assert ledger.view("processed").account(target) is None
    assert all(ledger.transaction(record.signature) is None for record in sent)
    assert (ledger.history(target), ledger.transaction_count, ledger.tip) == ([], count, tip)
    assert ledger.open.slot > blocks[-1].slot + 1


def test_a_fork_runs_the_transactions_again_on_later_slots() -> None:
    ledger = make_ledger(finality_lag=10)
    payer, target = fund(ledger), Pubkey.new_unique()
    kept = send(ledger, payer, target, SOL)
    dropped = send(ledger, payer, target, 2 * SOL)
    ledger.advance()
    old = ledger.tip
    result = ledger.reorg(1, drop={dropped.signature})
    assert result.old_slots == (old.slot,)
    assert result.new_slots == (old.slot + 2,)
    assert result.lost == (dropped.signature,)
    assert ledger.view("processed").balance(target) == SOL
    again = ledger.transaction(kept.signature)
    assert again is not None
    assert again.slot == old.slot + 2
    assert ledger.block(old.slot) is None
    assert ledger.tip.blockhash != old.blockhash
    assert ledger.tip.parent_slot == old.parent_slot


def test_a_transaction_on_an_abandoned_blockhash_is_lost() -> None:
    ledger = make_ledger(finality_lag=10)
    payer, target = fund(ledger), Pubkey.new_unique()
    ledger.advance()
    doomed = send(ledger, payer, target, SOL)
    ledger.advance()
    result = ledger.reorg(2)
    assert result.lost == (doomed.signature,)
    assert ledger.view("processed").account(target) is None


def test_a_finalized_block_is_never_abandoned() -> None:
    ledger = make_ledger(finality_lag=3)
    ledger.advance(6)
    root = ledger.root_slot
    with pytest.raises(ValueError, match="2 are unfinalized"):
        ledger.reorg(3)
    ledger.reorg(2)
    assert ledger.root_slot >= root
    assert ledger.block(root) is not None


def test_a_reorg_takes_back_a_confirmation() -> None:
    ledger = make_ledger(confirmed_lag=1, finality_lag=5)
    payer, target = fund(ledger), Pubkey.new_unique()
    record = send(ledger, payer, target, SOL)
    ledger.advance()
    assert ledger.view("confirmed").balance(target) == SOL
    ledger.reorg(1, drop=None)
    assert ledger.view("confirmed").balance(target) == 0
    assert ledger.transaction(record.signature) is None


def test_token_indexes_follow_a_fork() -> None:
    from localnet import minting

    ledger = make_ledger(finality_lag=10)
    owner = Pubkey.new_unique()
    mint = minting.create_mint(
        ledger,
        decimals=6,
        program=programs.TOKEN,
        keypair=Keypair(),
        authority=Keypair(),
        freeze_authority=None,
    )
    ledger.advance(11)
    minting.mint_to(ledger, mint, owner, 5)
    ledger.advance()
    assert len(ledger.index.by_token_owner[bytes(owner)]) == 1
    ledger.reorg(1, drop=None)
    assert bytes(owner) not in ledger.index.by_token_owner
    assert bytes(mint.address) not in ledger.index.by_mint


def test_events_come_in_a_validators_order() -> None:
    ledger = make_ledger(confirmed_lag=1, finality_lag=2)
    payer = fund(ledger)
    seen: list[events.Event] = []
    unsubscribe = ledger.subscribe(seen.append)
    slot = ledger.open.slot
    record = send(ledger, payer, Pubkey.new_unique(), SOL)
    ledger.advance(2)
    ledger.skip_slots(1)
    assert [type(event).__name__ for event in seen] == [
        "TransactionProcessed",
        "BlockProduced",
        "SlotConfirmed",
        "SlotRooted",
        "SlotOpened",
        "BlockProduced",
        "SlotConfirmed",
        "SlotRooted",
        "SlotOpened",
        "SlotSkipped",
        "SlotOpened",
    ]
    assert seen[0] == events.TransactionProcessed(slot, record)
    assert isinstance(seen[7], events.SlotRooted)
    assert seen[7].slot == slot
    unsubscribe()
    ledger.advance()
    assert len(seen) == 11


def test_account_writes_by_hand_are_seen_and_undone() -> None:
    ledger = make_ledger(finality_lag=5)
    key = Pubkey.new_unique()
    ledger.set_account(key, Account(SOL, b"hello", programs.MEMO))
    assert ledger.view("processed").program_accounts(programs.MEMO)[0][0] == key
    assert ledger.view("confirmed").program_accounts(programs.MEMO) == []
    ledger.advance()
    ledger.reorg(1)
    assert ledger.view("processed").account(key) is None


def test_a_simulation_on_an_older_view_sees_older_balances_and_changes_nothing() -> None:
    ledger = make_ledger(confirmed_lag=1, finality_lag=3)
    payer, target = fund(ledger), Keypair()
    send(ledger, payer, target.pubkey(), SOL)
    spend = transfer_from(target, payer.pubkey(), SOL // 2, tip_hash(ledger))
    assert ledger.view("processed").simulate(spend).err is None
    assert ledger.view("confirmed").simulate(spend).err == "AccountNotFound"
    assert ledger.view("processed").balance(target.pubkey()) == SOL


@pytest.mark.parametrize("lags", [(0, 1), (2, 1)])
def test_impossible_lags_are_refused(lags: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="confirmed_lag"):
        make_ledger(confirmed_lag=lags[0], finality_lag=lags[1])


def test_a_system_account_of_a_message_is_never_writable() -> None:
    ledger = make_ledger()
    payer = fund(ledger)
    odd = Instruction(programs.MEMO, b"hi", [AccountMeta(programs.SYSTEM, False, True)])
    record = ledger.process(v0(payer, tip_hash(ledger), odd))
    assert isinstance(record, TransactionRecord)
    assert record.writable_keys == (payer.pubkey(),)
    assert record.memo == "[2] hi"
