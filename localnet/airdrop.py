"""The faucet: transfers from an account that holds 500,000,000 SOL at genesis.

Owns: the airdrop transaction. Rules: two equal airdrops on one blockhash are two transactions (a faucet
that answers the second with the first one's signature has surprised many); the second asks for one
compute unit more. Must not know: JSON-RPC.
"""

from __future__ import annotations

import struct
from itertools import count

from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from . import programs
from .ledger import Ledger


def distinct_limit(number: int) -> Instruction:
    """A compute unit limit that makes an otherwise equal transaction another one."""
    return Instruction(programs.COMPUTE_BUDGET, struct.pack("<BI", 2, 300_000 + number % 1_000_000), [])


def airdrop_transaction(ledger: Ledger, key: Pubkey, lamports: int, blockhash: Hash) -> VersionedTransaction:
    """A signed transfer from the faucet that the ledger has not seen yet."""
    faucet = ledger.faucet
    pay = transfer(TransferParams(from_pubkey=faucet.pubkey(), to_pubkey=key, lamports=lamports))
    for attempt in count():
        instructions = [pay]
        if attempt:
            instructions.append(distinct_limit(attempt))
        message = Message.new_with_blockhash(instructions, faucet.pubkey(), blockhash)
        transaction = VersionedTransaction(message, [faucet])
        if ledger.transaction(str(transaction.signatures[0])) is None:
            return transaction
    raise AssertionError("unreachable: count() never ends")
