"""Token mints for tests and demos, made by real transactions of the real token programs.

Owns: the value `Mint` and the instructions to create a mint and to mint into an associated token account.
Rules: the faucet pays. Must not know: JSON-RPC, threads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.transaction import VersionedTransaction

from . import programs
from .airdrop import distinct_limit
from .ledger import Ledger, NotIncluded
from .token_state import MINT_LENGTH, is_mint
from .transaction_errors import describe

_MAX_UNITS: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Mint:
    """A token mint and the keypair that may mint."""

    address: Pubkey
    decimals: int
    program: Pubkey
    authority: Keypair = field(repr=False)

    def __str__(self) -> str:
        return str(self.address)


class MintingFailed(RuntimeError):
    """The token program refused; the message says why."""


def associated_token_address(owner: Pubkey, mint: Pubkey, program: Pubkey) -> Pubkey:
    """The address of an owner's associated token account."""
    seeds = [bytes(owner), bytes(program), bytes(mint)]
    return Pubkey.find_program_address(seeds, programs.ASSOCIATED_TOKEN)[0]


def create_mint(
    ledger: Ledger,
    *,
    decimals: int,
    program: Pubkey,
    keypair: Keypair,
    authority: Keypair,
    freeze_authority: Pubkey | None,
) -> Mint:
    """Create a mint at the address of `keypair`. Raises MintingFailed."""
    payer = ledger.faucet.pubkey()
    freeze = b"\0" if freeze_authority is None else b"\1" + bytes(freeze_authority)
    create = create_account(
        CreateAccountParams(
            from_pubkey=payer,
            to_pubkey=keypair.pubkey(),
            lamports=ledger.svm.rent_exempt_lamports(MINT_LENGTH),
            space=MINT_LENGTH,
            owner=program,
        )
    )
    data = struct.pack("<BB", 20, decimals) + bytes(authority.pubkey()) + freeze
    initialize = Instruction(program, data, [AccountMeta(keypair.pubkey(), False, True)])
    _run(ledger, [create, initialize], [keypair])
    return Mint(keypair.pubkey(), decimals, program, authority)


def mint_to(ledger: Ledger, mint: Mint, owner: Pubkey, units: int) -> Pubkey:
    """Mint units into the owner's associated token account, made if missing; returns its address.

    Raises MintingFailed, ValueError when the amount is no u64.
    """
    if not 0 <= units <= _MAX_UNITS:
        raise ValueError(f"{units} is not an amount of 64 bits")
    account = ledger.svm.account(mint.address)
    if account is None or not is_mint(account.data):
        raise MintingFailed(f"{mint.address} is not a mint")
    _run(ledger, issue_instructions(ledger.faucet.pubkey(), mint, owner, units), [mint.authority])
    return associated_token_address(owner, mint.address, mint.program)


def issue_instructions(payer: Pubkey, mint: Mint, owner: Pubkey, units: int) -> list[Instruction]:
    """Create the owner's associated token account if it is missing, and mint units into it."""
    target = associated_token_address(owner, mint.address, mint.program)
    create = Instruction(
        programs.ASSOCIATED_TOKEN,
        b"\1",  # CreateIdempotent
        [
            AccountMeta(payer, True, True),
            AccountMeta(target, False, True),
            AccountMeta(owner, False, False),
            AccountMeta(mint.address, False, False),
            AccountMeta(programs.SYSTEM, False, False),
            AccountMeta(mint.program, False, False),
        ],
    )
    issue = Instruction(
        mint.program,
        struct.pack("<BQB", 14, units, mint.decimals),  # MintToChecked
        [
            AccountMeta(mint.address, False, True),
            AccountMeta(target, False, True),
            AccountMeta(mint.authority.pubkey(), True, False),
        ],
    )
    return [create, issue]


def _run(ledger: Ledger, instructions: list[Instruction], signers: list[Keypair]) -> None:
    payer = ledger.faucet
    blockhash = Hash.from_string(ledger.tip.blockhash)
    # equal mints on one blockhash would be one transaction: the count makes them differ
    unique = distinct_limit(ledger.transaction_count)
    message = Message.new_with_blockhash([*instructions, unique], payer.pubkey(), blockhash)
    result = ledger.process(VersionedTransaction(message, [payer, *signers]))
    err = result.err
    if isinstance(result, NotIncluded) or err is not None:
        raise MintingFailed(describe(err) if err is not None else "not included")
