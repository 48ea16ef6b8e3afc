"""Prints transactions and blocks as JSON-RPC does.

Owns: every form of `getTransaction` and `getBlock`: transactionDetails full, accounts, signatures, none;
encodings json, jsonParsed, base58, base64 and the old `binary`. Rules: members appear and disappear
exactly as in Agave (transaction-status): `version` only when the caller said what it understands,
`loadedAddresses` not with jsonParsed, `uiAmount` of zero is null inside transactions. Must not know: the
ledger, HTTP.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from solders.message import MessageV0, MessageV1
from solders.transaction import Legacy

from . import base58
from .blocks import Block, InnerInstruction, TokenBalance, TransactionRecord
from .errors import unsupported_transaction_version
from .instruction_parsing import encode_parsed_instruction
from .token_state import ui_token_amount

Json: TypeAlias = dict[str, object]
TOP_LEVEL_STACK_HEIGHT: Final = 1


def encode_block(
    block: Block,
    *,
    encoding: str = "json",
    transaction_details: str = "full",
    rewards: bool = True,
    max_version: int | None = None,
) -> Json:
    """A block as `getBlock` and `blockSubscribe` print it. Raises -32015 on a version above `max_version`."""
    body: Json = {
        "blockHeight": block.height,
        "blockTime": block.time_s,
        "blockhash": block.blockhash,
        "parentSlot": block.parent_slot,
        "previousBlockhash": block.previous_blockhash,
    }
    if rewards:
        body["rewards"] = []
    if transaction_details == "full":
        body["transactions"] = [
            encode_transaction(record, encoding=encoding, rewards=rewards, max_version=max_version)
            for record in block.transactions
        ]
    elif transaction_details == "accounts":
        body["transactions"] = [
            _encode_accounts_form(record, rewards=rewards, max_version=max_version)
            for record in block.transactions
        ]
    elif transaction_details == "signatures":
        body["signatures"] = [record.signature for record in block.transactions]
    return body


def encode_transaction(
    record: TransactionRecord, *, encoding: str = "json", rewards: bool = True, max_version: int | None = None
) -> Json:
    """A transaction with its metadata. Raises -32015 on a version above `max_version`."""
    body = _versioned(record, max_version)
    if encoding in ("json", "jsonParsed"):
        body["transaction"] = _encode_json(record, parsed=encoding == "jsonParsed")
    else:
        wire = bytes(record.transaction)
        if encoding == "base64":
            body["transaction"] = [base64.b64encode(wire).decode(), "base64"]
        else:
            text = base58.encode(wire)
            body["transaction"] = text if encoding == "binary" else [text, "base58"]
    body["meta"] = _encode_meta(record, parsed=encoding == "jsonParsed", rewards=rewards)
    return body


def _versioned(record: TransactionRecord, max_version: int | None) -> Json:
    """The `version` member: absent for a caller that never heard of versions. Raises -32015."""
    version = record.transaction.version()
    if version == Legacy.Legacy:
        return {} if max_version is None else {"version": "legacy"}
    number = int(version)
    if max_version is None or number > max_version:
        raise unsupported_transaction_version(number)
    return {"version": number}


def _encode_accounts_form(record: TransactionRecord, *, rewards: bool, max_version: int | None) -> Json:
    body = _versioned(record, max_version)
    meta = _simple_meta(record)
    if rewards:
        meta["rewards"] = []
    body["meta"] = meta
    body["transaction"] = {
        "signatures": [str(signature) for signature in record.transaction.signatures],
        "accountKeys": _parsed_accounts(record),
    }
    return body


def _simple_meta(record: TransactionRecord) -> Json:
    return {
        "err": record.err,
        "status": {"Ok": None} if record.err is None else {"Err": record.err},
        "fee": record.fee_lamports,
        "preBalances": record.pre_balances,
        "postBalances": record.post_balances,
        "preTokenBalances": [encode_token_balance(balance) for balance in record.pre_token_balances],
        "postTokenBalances": [encode_token_balance(balance) for balance in record.post_token_balances],
    }


def _encode_meta(record: TransactionRecord, *, parsed: bool, rewards: bool) -> Json:
    meta = _simple_meta(record)
    meta["innerInstructions"] = encode_inner_instructions(record, parsed=parsed)
    meta["logMessages"] = record.logs
    meta["rewards"] = [] if rewards else None
    if not parsed:
        meta["loadedAddresses"] = loaded_addresses(record)
    if record.return_data is not None:
        meta["returnData"] = encode_return_data(record.return_data)
    meta["computeUnitsConsumed"] = record.compute_units_consumed
    meta["costUnits"] = record.cost_units
    return meta


def encode_return_data(return_data: tuple[str, bytes]) -> Json:
    """What a program returned."""
    program, data = return_data
    return {"programId": program, "data": [base64.b64encode(data).decode(), "base64"]}


def loaded_addresses(record: TransactionRecord) -> Json:
    """The addresses that came from lookup tables."""
    first = record.static_count
    middle = first + record.loaded_writable_count
    return {
        "writable": [str(key) for key in record.account_keys[first:middle]],
        "readonly": [str(key) for key in record.account_keys[middle:]],
    }


def encode_token_balance(balance: TokenBalance, *, stored: bool = True) -> Json:
    """A token balance of a transaction, from the history (`stored`) or from a simulation."""
    amount = ui_token_amount(balance.amount_units, balance.decimals, balance.multiplier)
    if stored and balance.amount_units == 0:
        # stored balances lose a zero uiAmount on their way through the validator's storage format
        amount["uiAmount"] = None
    return {
        "accountIndex": balance.account_index,
        "mint": balance.mint,
        "owner": balance.owner,
        "programId": balance.program_id,
        "uiTokenAmount": amount,
    }


def encode_inner_instructions(record: TransactionRecord, *, parsed: bool) -> list[Json]:
    """The instructions that programs called, grouped by the top-level instruction they came from."""
    return encode_inner(record.inner_instructions, [str(key) for key in record.account_keys], parsed=parsed)


def encode_inner(
    groups: Sequence[tuple[int, tuple[InnerInstruction, ...]]], keys: Sequence[str], *, parsed: bool
) -> list[Json]:
    """Inner instructions over printed account keys."""
    encode = encode_parsed_instruction if parsed else _encode_compiled
    return [
        {
            "index": index,
            "instructions": [
                encode(keys, inner.program_id_index, inner.accounts, inner.data, inner.stack_height)
                for inner in group
            ],
        }
        for index, group in groups
    ]


def _encode_compiled(
    keys: Sequence[str], program_index: int, accounts: bytes, data: bytes, stack_height: int | None
) -> Json:
    return {
        "programIdIndex": program_index,
        "accounts": list(accounts),
        "data": base58.encode(data),
        "stackHeight": stack_height,
    }


def _encode_json(record: TransactionRecord, *, parsed: bool) -> Json:
    message = record.transaction.message
    keys = [str(key) for key in record.account_keys]
    encode: Callable[..., Json] = encode_parsed_instruction if parsed else _encode_compiled
    body: Json = {
        "accountKeys": _parsed_accounts(record) if parsed else keys[: record.static_count],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            encode(
                keys,
                instruction.program_id_index,
                bytes(instruction.accounts),
                bytes(instruction.data),
                TOP_LEVEL_STACK_HEIGHT,
            )
            for instruction in message.instructions
        ],
    }
    if not parsed:
        header = message.header
        body["header"] = {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        }
    if isinstance(message, MessageV0):
        body["addressTableLookups"] = [
            {
                "accountKey": str(lookup.account_key),
                "writableIndexes": list(bytes(lookup.writable_indexes)),
                "readonlyIndexes": list(bytes(lookup.readonly_indexes)),
            }
            for lookup in message.address_table_lookups
        ]
    elif isinstance(message, MessageV1):
        config = message.config
        body["config"] = {
            "priorityFee": config.priority_fee,
            "computeUnitLimit": config.compute_unit_limit,
            "loadedAccountsDataSizeLimit": config.loaded_accounts_data_size_limit,
            "heapSize": config.heap_size,
        }
    return {
        "signatures": [str(signature) for signature in record.transaction.signatures],
        "message": body,
    }


def _parsed_accounts(record: TransactionRecord) -> list[Json]:
    signers = record.transaction.message.header.num_required_signatures
    writable = set(record.writable_keys)
    return [
        {
            "pubkey": str(key),
            "signer": index < signers,
            "source": "transaction" if index < record.static_count else "lookupTable",
            "writable": key in writable,
        }
        for index, key in enumerate(record.account_keys)
    ]
