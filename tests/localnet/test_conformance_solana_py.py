"""solana-py, unchanged, on a localnet: every method of AsyncClient, confirmations, tokens, subscriptions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from solana.exceptions import SolanaRpcException
from solana.rpc import models
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Commitment, Confirmed, Finalized, Processed
from solana.rpc.core import RPCException, TransactionExpiredBlockheightExceededError
from solana.rpc.jsonrpc import SolanaJsonRpcError
from solana.rpc.websocket_api import SolanaWsClient
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.rpc.config import RpcBlockSubscribeFilterMentions, RpcTransactionLogsFilterMentions
from solders.rpc.responses import (
    AccountNotification,
    BlockNotification,
    LogsNotification,
    ProgramNotification,
    RootNotification,
    SignatureNotification,
    SlotNotification,
    SlotUpdateNotification,
)
from solders.signature import Signature
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.transaction import VersionedTransaction
from solders.transaction_status import TransactionConfirmationStatus, TransactionDetails
from spl.token import instructions as spl
from spl.token import models as token_models
from spl.token.constants import TOKEN_PROGRAM_ID

if TYPE_CHECKING:
    from localnet import Mint, Validator

SOL = 1_000_000_000
on_a_clock = pytest.mark.localnet(slot_ms=30)


@pytest.fixture
async def client(validator: Validator) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(validator.rpc_url, commitment=Confirmed) as client:
        yield client


def pay(payer: Keypair, target: Pubkey, lamports: int) -> Instruction:
    return transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=target, lamports=lamports))


async def signed(client: AsyncClient, payer: Keypair, *instructions: Instruction, signers: Any = ()) -> Any:
    """A version 0 transaction on the newest blockhash, and the last block height at which it may land."""
    latest = (await client.get_latest_blockhash()).value
    message = MessageV0.try_compile(payer.pubkey(), list(instructions), [], latest.blockhash)
    return VersionedTransaction(message, [payer, *signers]), latest.last_valid_block_height


async def land(
    client: AsyncClient, payer: Keypair, *instructions: Instruction, signers: Any = ()
) -> Signature:
    """Send and confirm on a clock."""
    transaction, last_valid = await signed(client, payer, *instructions, signers=signers)
    signature = (await client.send_transaction(transaction)).value
    answer = await client.confirm_transaction(signature, Confirmed, 0.02, last_valid)
    assert answer.value[0] is not None
    assert answer.value[0].err is None
    return signature


# --- reads, on a chain that stands still


async def test_the_chain_and_its_clock(client: AsyncClient, validator: Validator) -> None:
    validator.advance(6)
    ledger = validator.ledger
    assert await client.is_connected()
    assert (await client.get_slot(Processed)).value == 7
    assert (await client.get_slot(Confirmed)).value == 6
    assert (await client.get_slot(Finalized)).value == 5
    assert (await client.get_block_height(Confirmed)).value == 6
    assert str((await client.get_genesis_hash()).value) == ledger.genesis_hash
    assert (await client.get_identity()).value.identity == ledger.identity
    assert (await client.get_version()).value.solana_core.count(".") == 2
    assert (await client.get_first_available_block()).value == 0
    assert (await client.get_minimum_ledger_slot()).value == 0
    assert (await client.get_blocks(2, 4)).value == [2, 3, 4]
    block = ledger.block(3)
    assert block is not None
    assert (await client.get_block_time(3)).value == block.time_s
    info = (await client.get_epoch_info(Confirmed)).value
    assert (info.absolute_slot, info.block_height, info.epoch) == (6, 6, 0)
    schedule = (await client.get_epoch_schedule()).value
    assert (schedule.slots_per_epoch, schedule.warmup) == (432_000, False)
    latest = (await client.get_latest_blockhash(Confirmed)).value
    tip = ledger.block(6)
    assert tip is not None
    assert (str(latest.blockhash), latest.last_valid_block_height) == (tip.blockhash, 6 + 150)
    assert (await client.get_transaction_count()).value == 0


async def test_what_the_node_says_of_the_cluster(client: AsyncClient, validator: Validator) -> None:
    validator.advance(4)
    identity = validator.ledger.identity
    assert (await client.get_slot_leader()).value == identity
    assert (await client.get_slot_leaders(1, 3)).value == [identity] * 3
    assert [node.pubkey for node in (await client.get_cluster_nodes()).value] == [identity]
    schedule = (await client.get_leader_schedule()).value
    assert schedule is not None
    assert list(schedule) == [identity]
    # nobody votes, so there is no inflation either
    votes = (await client.get_vote_accounts()).value
    assert (votes.current, votes.delinquent) == ([], [])
    governor = (await client.get_inflation_governor()).value
    assert (governor.initial, governor.terminal, governor.foundation) == (0.0, 0.0, 0.0)
    rate = (await client.get_inflation_rate()).value
    assert (rate.epoch, rate.total, rate.validator, rate.foundation) == (0, 0.0, 0.0, 0.0)
    assert (await client.get_inflation_reward([identity], epoch=0)).value == [None]
    (sample,) = (await client.get_recent_performance_samples(3)).value
    assert (sample.slot, sample.num_transactions, sample.num_slots) == (4, 0, 5)
    assert (await client.get_block_commitment(2)).value.total_stake == 1
    fees = (await client.get_recent_prioritization_fees()).value
    assert [(fee.slot, fee.prioritization_fee) for fee in fees] == [(slot, 0) for slot in range(5)]


async def test_balances_and_supply(
    client: AsyncClient, validator: Validator, funded_keypair: Keypair
) -> None:
    key = funded_keypair.pubkey()
    assert (await client.get_balance(key)).value == 10 * SOL
    supply = (await client.get_supply(exclude_non_circulating_accounts_list=True)).value
    assert supply.total == supply.circulating + supply.non_circulating
    assert supply.total >= 500_000_000 * SOL
    largest = (await client.get_largest_accounts()).value
    assert largest[0].address == validator.ledger.faucet.pubkey()
    assert (
        await client.get_minimum_balance_for_rent_exemption(165)
    ).value == validator.ledger.svm.rent_exempt_lamports(165)


@pytest.mark.parametrize("encoding", ["base58", "base64", "base64+zstd", "jsonParsed"])
async def test_account_encodings(client: AsyncClient, validator: Validator, encoding: str) -> None:
    key, owner = Keypair().pubkey(), Keypair().pubkey()
    validator.set_account(key, lamports=SOL, data=b"some bytes of data", owner=owner)
    found = (await client.get_account_info(key, Processed, encoding)).value
    assert found is not None
    assert (found.lamports, found.owner, found.executable) == (SOL, owner, False)
    assert bytes(found.data) == b"some bytes of data"
    cut = (
        await client.get_account_info(key, Processed, encoding, models.DataSliceOpts(offset=5, length=5))
    ).value
    assert cut is not None
    assert bytes(cut.data) == b"bytes"
    several = (await client.get_multiple_accounts([key, Keypair().pubkey()], Processed, encoding)).value
    assert (several[0], several[1]) == (found, None)
    assert (await client.get_account_info(Keypair().pubkey(), Processed, encoding)).value is None


async def test_program_accounts_by_filters(client: AsyncClient, validator: Validator) -> None:
    program = Keypair().pubkey()
    one, two, three = (Keypair().pubkey() for _ in range(3))
    for key, data in ((one, b"aXb"), (two, b"aYb"), (three, b"aXbc")):
        validator.set_account(key, lamports=SOL, data=data, owner=program)
    every = (await client.get_program_accounts(program, Processed, "base64")).value
    assert {entry.pubkey for entry in every} == {one, two, three}
    memcmp = models.MemcmpOpts(offset=1, bytes="2x")  # not "X": filters are base58
    assert (await client.get_program_accounts(program, Processed, "base64", filters=[3, memcmp])).value == []
    memcmp = models.MemcmpOpts(offset=1, bytes="2X")
    found = await client.get_program_accounts(program, Processed, "base64", filters=[3])
    assert {entry.pubkey for entry in found.value} == {one, two}
    parsed = await client.get_program_accounts_json_parsed(program, Processed, [4])
    assert [entry.pubkey for entry in parsed.value] == [three]


async def test_token_reads(
    client: AsyncClient, validator: Validator, token_mint: Mint, funded_keypair: Keypair
) -> None:
    owner = funded_keypair.pubkey()
    account = validator.mint_to(token_mint, owner, 1_234_567)
    other = validator.mint_to(token_mint, Keypair().pubkey(), 5)
    balance = (await client.get_token_account_balance(account)).value
    assert (balance.amount, balance.decimals, balance.ui_amount_string) == ("1234567", 6, "1.234567")
    assert (await client.get_token_supply(token_mint.address)).value.amount == "1234572"
    largest = (await client.get_token_largest_accounts(token_mint.address)).value
    assert [(entry.address, entry.amount.amount) for entry in largest] == [(account, "1234567"), (other, "5")]
    by_mint = models.TokenAccountOpts(mint=token_mint.address)
    by_program = models.TokenAccountOpts(program_id=TOKEN_PROGRAM_ID)
    for options in (by_mint, by_program):
        owned = (await client.get_token_accounts_by_owner(owner, options)).value
        assert [entry.pubkey for entry in owned] == [account]
        parsed = (await client.get_token_accounts_by_owner_json_parsed(owner, options)).value
        assert [entry.account.data.parsed["info"]["tokenAmount"]["amount"] for entry in parsed] == ["1234567"]
    info = (await client.get_account_info_json_parsed(token_mint.address)).value
    assert info is not None
    assert info.data.parsed["info"]["supply"] == "1234572"
    both = (await client.get_multiple_accounts_json_parsed([account, other])).value
    assert [entry.data.parsed["info"]["mint"] for entry in both] == [str(token_mint.address)] * 2
    delegate = Keypair().pubkey()
    approve = spl.approve(
        token_models.ApproveParams(
            program_id=TOKEN_PROGRAM_ID, source=account, delegate=delegate, owner=owner, amount=77
        )
    )
    transaction, _ = await signed(client, funded_keypair, approve)
    await client.send_transaction(transaction)
    validator.finalize()
    delegated = (await client.get_token_accounts_by_delegate(delegate, by_mint)).value
    assert [entry.pubkey for entry in delegated] == [account]
    parsed = (await client.get_token_accounts_by_delegate_json_parsed(delegate, by_mint)).value
    assert parsed[0].account.data.parsed["info"]["delegatedAmount"]["amount"] == "77"


async def test_blocks_and_transactions_in_every_form(
    client: AsyncClient, validator: Validator, funded_keypair: Keypair
) -> None:
    target = Keypair().pubkey()
    transaction, _ = await signed(client, funded_keypair, pay(funded_keypair, target, 3 * SOL))
    signature = (await client.send_transaction(transaction)).value
    slot = validator.advance() - 1
    validator.finalize()
    for encoding in ("json", "jsonParsed", "base64", "base58"):
        found = await client.get_transaction(signature, encoding, Finalized, 0)
        assert found.value is not None, encoding
        assert found.value.slot == slot
        meta = found.value.transaction.meta
        assert meta is not None
        assert meta.err is None
        assert meta.post_balances[1] - meta.pre_balances[1] == 3 * SOL
        assert meta.pre_balances[0] - meta.post_balances[0] == 3 * SOL + meta.fee
        block = (await client.get_block(slot, encoding, 0)).value
        assert block is not None
        assert [entry.meta.fee for entry in block.transactions] == [5_000]
    forms = (TransactionDetails.Signatures, TransactionDetails.None_, TransactionDetails.Accounts)
    signatures, bare, accounts = [
        (await client.get_block(slot, "json", 0, details, rewards=False)).value for details in forms
    ]
    assert signatures is not None
    assert signatures.signatures == [signature]
    assert bare is not None
    assert (bare.signatures, bare.transactions) == (None, None)
    assert accounts is not None
    assert accounts.transactions is not None
    keys = accounts.transactions[0].transaction.account_keys
    assert [key.pubkey for key in keys][:2] == [funded_keypair.pubkey(), target]
    assert (await client.get_transaction(Signature.default(), "json", Finalized, 0)).value is None
    history = (await client.get_signatures_for_address(target)).value
    assert [(entry.signature, entry.slot, entry.err) for entry in history] == [(signature, slot, None)]
    assert (await client.get_signatures_for_address(target, until=signature)).value == []
    (status,) = (await client.get_signature_statuses([signature])).value
    assert status is not None
    assert status.confirmation_status == TransactionConfirmationStatus.Finalized
    assert (await client.get_transaction_count()).value == 2


async def test_fees_and_simulation(
    client: AsyncClient, validator: Validator, funded_keypair: Keypair
) -> None:
    target = Keypair().pubkey()
    transaction, _ = await signed(client, funded_keypair, pay(funded_keypair, target, SOL))
    assert (await client.get_fee_for_message(transaction.message)).value == 5_000
    simulated = (await client.simulate_transaction(transaction, sig_verify=True)).value
    assert simulated.err is None
    assert simulated.units_consumed == 150
    assert simulated.logs is not None
    assert simulated.logs[-1] == "Program 11111111111111111111111111111111 success"
    with_accounts = await client.simulate_transaction(
        transaction, replace_recent_blockhash=True, accounts_addresses=[target], accounts_encoding="base64"
    )
    accounts = with_accounts.value.accounts
    assert accounts is not None
    assert accounts[0] is not None
    assert accounts[0].lamports == SOL
    # nothing happened
    assert (await client.get_balance(target, Processed)).value == 0


# --- sending and confirming, on a clock


@on_a_clock
async def test_airdrop_transfer_and_confirm(client: AsyncClient) -> None:
    payer, target = Keypair(), Keypair().pubkey()
    airdrop = (await client.request_airdrop(payer.pubkey(), 5 * SOL)).value
    await client.confirm_transaction(airdrop, Confirmed, sleep_seconds=0.02)
    await land(client, payer, pay(payer, target, 2 * SOL))
    assert (await client.get_balance(target)).value == 2 * SOL
    assert (await client.get_balance(payer.pubkey())).value == 3 * SOL - 5_000


@on_a_clock
async def test_send_waits_for_the_confirmation_asked_for(
    client: AsyncClient, funded_keypair: Keypair
) -> None:
    target = Keypair().pubkey()
    transaction, last_valid = await signed(client, funded_keypair, pay(funded_keypair, target, SOL))
    options = models.TxOpts(
        skip_confirmation=False, preflight_commitment=Confirmed, last_valid_block_height=last_valid
    )
    await client.send_transaction(transaction, opts=options)
    assert (await client.get_balance(target, Confirmed)).value == SOL


@on_a_clock
async def test_raw_and_legacy_transactions(client: AsyncClient, funded_keypair: Keypair) -> None:
    target = Keypair().pubkey()
    latest = (await client.get_latest_blockhash()).value
    message = Message.new_with_blockhash(
        [pay(funded_keypair, target, SOL)], funded_keypair.pubkey(), latest.blockhash
    )
    wire = bytes(VersionedTransaction(message, [funded_keypair]))
    signature = (await client.send_raw_transaction(wire)).value
    await client.confirm_transaction(signature, Finalized, 0.02, latest.last_valid_block_height)
    assert (await client.get_balance(target, Finalized)).value == SOL
    found = (await client.get_transaction(signature, "json", Finalized)).value
    assert found is not None


@on_a_clock
async def test_lookup_tables(client: AsyncClient, validator: Validator, funded_keypair: Keypair) -> None:
    target, table = Keypair().pubkey(), Keypair().pubkey()
    header = (
        (1).to_bytes(4, "little")
        + (2**64 - 1).to_bytes(8, "little")
        + bytes(8)
        + bytes(1)
        + bytes(1 + 32 + 2)
    )
    owner = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
    validator.set_account(table, lamports=SOL, data=header + bytes(target), owner=owner)
    validator.advance(2)
    latest = (await client.get_latest_blockhash()).value
    tables = [AddressLookupTableAccount(table, [target])]
    message = MessageV0.try_compile(
        funded_keypair.pubkey(), [pay(funded_keypair, target, SOL)], tables, latest.blockhash
    )
    assert target not in message.account_keys
    transaction = VersionedTransaction(message, [funded_keypair])
    signature = (await client.send_transaction(transaction)).value
    await client.confirm_transaction(signature, Finalized, 0.02, latest.last_valid_block_height)
    found = (await client.get_transaction(signature, "json", Finalized, 0)).value
    assert found is not None
    assert found.transaction.meta is not None
    assert found.transaction.meta.loaded_addresses.writable == [target]
    assert (await client.get_balance(target, Finalized)).value == SOL


@on_a_clock
async def test_preflight_refuses_with_logs(client: AsyncClient, funded_keypair: Keypair) -> None:
    transaction, _ = await signed(client, funded_keypair, pay(funded_keypair, Keypair().pubkey(), 11 * SOL))
    with pytest.raises(RPCException) as refused:
        await client.send_transaction(transaction)
    message = refused.value.args[0]
    assert message.message == (
        "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1"
    )
    assert "Custom" in str(message.data.err)
    assert "insufficient lamports" in "".join(message.data.logs)


@on_a_clock
async def test_without_preflight_a_failure_lands_and_costs_its_fee(
    client: AsyncClient, funded_keypair: Keypair
) -> None:
    transaction, last_valid = await signed(
        client, funded_keypair, pay(funded_keypair, Keypair().pubkey(), 11 * SOL)
    )
    signature = (await client.send_transaction(transaction, models.TxOpts(skip_preflight=True))).value
    answer = await client.confirm_transaction(signature, Confirmed, 0.02, last_valid)
    assert answer.value[0] is not None
    assert "Custom" in str(answer.value[0].err)
    assert (await client.get_balance(funded_keypair.pubkey())).value == 10 * SOL - 5_000


async def test_an_unknown_blockhash_is_refused_and_an_expired_one_is_noticed(
    client: AsyncClient, validator: Validator, funded_keypair: Keypair
) -> None:
    target = Keypair().pubkey()
    message = MessageV0.try_compile(
        funded_keypair.pubkey(), [pay(funded_keypair, target, SOL)], [], Hash.new_unique()
    )
    with pytest.raises(RPCException, match="Blockhash not found"):
        await client.send_transaction(VersionedTransaction(message, [funded_keypair]))
    transaction, last_valid = await signed(client, funded_keypair, pay(funded_keypair, target, SOL))
    validator.advance(155)
    with pytest.raises(RPCException, match="Blockhash not found"):
        await client.send_transaction(transaction)
    with pytest.raises(TransactionExpiredBlockheightExceededError):
        await client.confirm_transaction(transaction.signatures[0], Confirmed, 0.01, last_valid)


async def test_bad_signatures_and_bad_bytes_are_refused(client: AsyncClient, funded_keypair: Keypair) -> None:
    transaction, _ = await signed(client, funded_keypair, pay(funded_keypair, Keypair().pubkey(), SOL))
    forged = VersionedTransaction.populate(transaction.message, [Keypair().sign_message(b"other")])
    with pytest.raises(RPCException, match="TransactionSignatureVerificationFailure"):
        await client.send_transaction(forged)
    with pytest.raises(RPCException, match="failed to deserialize"):
        await client.send_raw_transaction(b"\x01\x02\x03")


async def test_a_stopped_validator_is_a_transport_error(validator_factory: Any) -> None:
    validator = validator_factory()
    async with AsyncClient(validator.rpc_url) as client:
        assert await client.is_connected()
        validator.stop()
        with pytest.raises(SolanaRpcException):
            await client.get_slot()


# --- spl.token


@on_a_clock
async def test_a_token_from_its_mint_to_its_end(
    client: AsyncClient, validator: Validator, funded_keypair: Keypair
) -> None:
    payer, mint, friend = funded_keypair, Keypair(), Keypair()
    lamports = (await client.get_minimum_balance_for_rent_exemption(82)).value
    await land(
        client,
        payer,
        create_account(
            CreateAccountParams(
                from_pubkey=payer.pubkey(),
                to_pubkey=mint.pubkey(),
                lamports=lamports,
                space=82,
                owner=TOKEN_PROGRAM_ID,
            )
        ),
        spl.initialize_mint2(
            token_models.InitializeMint2Params(
                decimals=6,
                program_id=TOKEN_PROGRAM_ID,
                mint=mint.pubkey(),
                mint_authority=payer.pubkey(),
                freeze_authority=None,
            )
        ),
        signers=[mint],
    )
    own = spl.get_associated_token_address(payer.pubkey(), mint.pubkey())
    theirs = spl.get_associated_token_address(friend.pubkey(), mint.pubkey())
    token = {"program_id": TOKEN_PROGRAM_ID, "mint": mint.pubkey(), "decimals": 6}
    await land(
        client,
        payer,
        spl.create_associated_token_account(payer.pubkey(), payer.pubkey(), mint.pubkey()),
        spl.create_idempotent_associated_token_account(payer.pubkey(), friend.pubkey(), mint.pubkey()),
        spl.mint_to_checked(
            token_models.MintToCheckedParams(
                **token, dest=own, mint_authority=payer.pubkey(), amount=9_000_000
            )
        ),
    )
    await land(
        client,
        payer,
        spl.transfer_checked(
            token_models.TransferCheckedParams(
                **token, source=own, dest=theirs, owner=payer.pubkey(), amount=2_500_000
            )
        ),
    )
    assert (await client.get_token_account_balance(theirs)).value.amount == "2500000"
    assert (await client.get_token_account_balance(own)).value.amount == "6500000"
    await land(
        client,
        payer,
        spl.burn_checked(
            token_models.BurnCheckedParams(**token, account=own, owner=payer.pubkey(), amount=6_500_000)
        ),
        spl.close_account(
            token_models.CloseAccountParams(
                program_id=TOKEN_PROGRAM_ID, account=own, dest=payer.pubkey(), owner=payer.pubkey()
            )
        ),
    )
    assert (await client.get_token_supply(mint.pubkey())).value.amount == "2500000"
    assert (await client.get_account_info(own)).value is None
    assert validator.account(theirs) is not None


# --- subscriptions


@on_a_clock
async def test_every_subscription_of_the_websocket_client(
    client: AsyncClient, validator: Validator, funded_keypair: Keypair
) -> None:
    target = Keypair().pubkey()
    transaction, _ = await signed(client, funded_keypair, pay(funded_keypair, target, SOL))
    signature = transaction.signatures[0]
    async with SolanaWsClient(validator.ws_url) as socket:
        handles = {
            AccountNotification: await socket.account_subscribe(
                pubkey=target, commitment=Confirmed, encoding="base64"
            ),
            LogsNotification: await socket.logs_subscribe(
                filter_=RpcTransactionLogsFilterMentions(target), commitment=Confirmed
            ),
            SignatureNotification: await socket.signature_subscribe(
                signature=signature, commitment=Confirmed
            ),
            ProgramNotification: await socket.program_subscribe(
                program_id=Pubkey.default(), commitment=Confirmed, encoding="base64"
            ),
            BlockNotification: await socket.block_subscribe(
                filter_=RpcBlockSubscribeFilterMentions(target),
                commitment=Confirmed,
                encoding="base64",
                transaction_details=TransactionDetails.Full,
                show_rewards=False,
                max_supported_transaction_version=0,
            ),
            SlotNotification: await socket.slot_subscribe(),
            RootNotification: await socket.root_subscribe(),
            SlotUpdateNotification: await socket.slots_updates_subscribe(),
        }
        await client.send_transaction(transaction)
        seen: dict[type, Any] = {}
        while len(seen) < len(handles):
            notification = await socket.recv()
            seen.setdefault(type(notification), notification)
            assert notification.subscription == handles[type(notification)].subscription_id
        assert seen[AccountNotification].result.value.lamports == SOL
        assert seen[LogsNotification].result.value.signature == signature
        assert seen[SignatureNotification].result.value.err is None
        block = seen[BlockNotification].result.value
        assert block.err is None
        assert block.slot == seen[SignatureNotification].result.context.slot
        assert seen[SlotNotification].result.parent == seen[SlotNotification].result.slot - 1
        # the signature's subscription has ended itself, all others end when asked
        for kind, handle in handles.items():
            if kind is not SignatureNotification:
                await socket.unsubscribe(handle)


@on_a_clock
async def test_errors_of_subscriptions_are_the_clients_own(validator: Validator) -> None:
    async with SolanaWsClient(validator.ws_url) as socket:
        with pytest.raises(SolanaJsonRpcError, match="Method not found"):
            await socket.vote_subscribe()
        with pytest.raises(SolanaJsonRpcError, match="commitment below `confirmed`"):
            await socket.block_subscribe(commitment=Processed)
        assert (await socket.slot_subscribe()).subscription_id >= 0


@on_a_clock
async def test_a_signature_can_be_awaited_by_subscription_alone(
    client: AsyncClient, validator: Validator, funded_keypair: Keypair
) -> None:
    levels: list[Commitment] = [Processed, Confirmed, Finalized]
    for level in levels:
        transaction, _ = await signed(client, funded_keypair, pay(funded_keypair, Keypair().pubkey(), SOL))
        async with SolanaWsClient(validator.ws_url) as socket:
            await socket.signature_subscribe(signature=transaction.signatures[0], commitment=level)
            await client.send_transaction(transaction)
            notification = await socket.recv()
            assert isinstance(notification, SignatureNotification)
            (status,) = (await client.get_signature_statuses([transaction.signatures[0]])).value
            assert status is not None
