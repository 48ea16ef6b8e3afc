"""Instructions that a payout or a sweep is made of, and messages made of instructions.

Owns: the layout of the few instructions we send. Addresses come and go as base58 text; inside are solders
types. Must not know: amounts' meaning, endpoints, keys.

Rules: token transfers are `TransferChecked` (mint and decimals are checked by the program); accounts are
created idempotently (somebody else creating the account first is no failure); amounts are u64 or refused.
Messages are in the legacy form: without lookup tables it says the same as version 0, and every node, wallet
and signing device reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import (
    AdvanceNonceAccountParams,
    TransferParams,
    advance_nonce_account,
    transfer,
)
from solders.transaction import Transaction

from chain.tokens import (
    ASSOCIATED_TOKEN_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAMS,
    associated_token_address,
)

MEMO_PROGRAM = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
COMPUTE_BUDGET_PROGRAM = "ComputeBudget111111111111111111111111111111"
U64_MAX = 2**64 - 1
LARGEST_COMPUTE_UNIT_LIMIT = 1_400_000
LARGEST_TRANSACTION_BYTES = 1_232  # one IPv6 packet of 1,280 bytes less its headers

_TRANSFER_CHECKED = 12
_CREATE_IDEMPOTENT = 1


def transfer_lamports(source: str, destination: str, lamports: int) -> Instruction:
    """Move lamports by the System program. Raises ValueError unless 0 < lamports <= u64."""
    _check_u64(lamports, "lamports")
    return transfer(
        TransferParams(
            from_pubkey=Pubkey.from_string(source),
            to_pubkey=Pubkey.from_string(destination),
            lamports=lamports,
        )
    )


def transfer_checked(
    *, source: str, mint: str, destination: str, owner: str, units: int, decimals: int, program: str
) -> Instruction:
    """Move token units between token accounts; the program checks mint and decimals.

    Raises ValueError for a program that is not one of the two token programs, units outside 1..u64 or
    decimals outside u8.
    """
    _check_program(program)
    _check_u64(units, "units")
    if not 0 <= decimals <= 255:
        raise ValueError(f"a mint has 0 to 255 decimals, not {decimals}")
    data = bytes([_TRANSFER_CHECKED]) + units.to_bytes(8, "little") + bytes([decimals])
    accounts = [
        AccountMeta(Pubkey.from_string(source), is_signer=False, is_writable=True),
        AccountMeta(Pubkey.from_string(mint), is_signer=False, is_writable=False),
        AccountMeta(Pubkey.from_string(destination), is_signer=False, is_writable=True),
        AccountMeta(Pubkey.from_string(owner), is_signer=True, is_writable=False),
    ]
    return Instruction(Pubkey.from_string(program), data, accounts)


def create_associated_token_account(*, payer: str, owner: str, mint: str, program: str) -> Instruction:
    """Create the associated token account of (owner, mint, program) unless it is there already."""
    _check_program(program)
    account = associated_token_address(owner, mint, program)
    accounts = [
        AccountMeta(Pubkey.from_string(payer), is_signer=True, is_writable=True),
        AccountMeta(Pubkey.from_string(account), is_signer=False, is_writable=True),
        AccountMeta(Pubkey.from_string(owner), is_signer=False, is_writable=False),
        AccountMeta(Pubkey.from_string(mint), is_signer=False, is_writable=False),
        AccountMeta(Pubkey.from_string(SYSTEM_PROGRAM), is_signer=False, is_writable=False),
        AccountMeta(Pubkey.from_string(program), is_signer=False, is_writable=False),
    ]
    return Instruction(Pubkey.from_string(ASSOCIATED_TOKEN_PROGRAM), bytes([_CREATE_IDEMPOTENT]), accounts)


def compute_unit_limit(units: int) -> Instruction:
    """Ask for at most `units` compute units. Raises ValueError outside 1..1,400,000."""
    if not 0 < units <= LARGEST_COMPUTE_UNIT_LIMIT:
        raise ValueError(f"a compute unit limit is 1 to {LARGEST_COMPUTE_UNIT_LIMIT}, not {units}")
    return set_compute_unit_limit(units)


def compute_unit_price(microlamports: int) -> Instruction:
    """Offer `microlamports` (10^-6 lamport) per compute unit asked for. Raises ValueError outside u64."""
    if not 0 <= microlamports <= U64_MAX:
        raise ValueError(f"a compute unit price is 0 to {U64_MAX} microlamports, not {microlamports}")
    return set_compute_unit_price(microlamports)


def memo(text: str) -> Instruction:
    """Write `text` into the transaction, unsigned."""
    return Instruction(Pubkey.from_string(MEMO_PROGRAM), text.encode(), [])


def advance_nonce(nonce_account: str, authority: str) -> Instruction:
    """Use up the stored nonce: a transaction that carries the old value can never land again (W4)."""
    return advance_nonce_account(
        AdvanceNonceAccountParams(
            nonce_pubkey=Pubkey.from_string(nonce_account),
            authorized_pubkey=Pubkey.from_string(authority),
        )
    )


def build_message(payer: str, instructions: Sequence[Instruction], blockhash: str) -> Message:
    """Compile instructions into the message that `payer` signs and pays for."""
    return Message.new_with_blockhash(
        list(instructions), Pubkey.from_string(payer), Hash.from_string(blockhash)
    )


def assemble_transaction(message: Message, signatures: Sequence[bytes]) -> bytes:
    """Put signatures in front of a message.

    Raises ValueError if there are not as many as the message asks for, or if the result is larger than a
    packet (1,232 bytes).
    """
    needed = message.header.num_required_signatures
    if len(signatures) != needed:
        raise ValueError(f"the message asks for {needed} signatures, {len(signatures)} were given")
    data = bytes(Transaction.populate(message, [Signature.from_bytes(s) for s in signatures]))
    if len(data) > LARGEST_TRANSACTION_BYTES:
        raise ValueError(
            f"a transaction of {len(data)} bytes does not fit; the limit is {LARGEST_TRANSACTION_BYTES}"
        )
    return data


def unsigned_transaction(message: Message) -> bytes:
    """Return the transaction with empty signatures, for simulation without signature checks."""
    return assemble_transaction(message, [bytes(64)] * message.header.num_required_signatures)


def write_locked_accounts(message: Message) -> tuple[str, ...]:
    """Return the accounts the message writes to: what it competes for in a block (W6)."""
    header, keys = message.header, message.account_keys
    signed = header.num_required_signatures
    writable = [
        *keys[: signed - header.num_readonly_signed_accounts],
        *keys[signed : len(keys) - header.num_readonly_unsigned_accounts],
    ]
    return tuple(str(key) for key in writable)


def _check_u64(amount: int, what: str) -> None:
    if not 0 < amount <= U64_MAX:
        raise ValueError(f"{what} to transfer must be 1 to {U64_MAX}, not {amount}")


def _check_program(program: str) -> None:
    if program not in TOKEN_PROGRAMS:
        raise ValueError(f"{program} is not one of the two token programs")
