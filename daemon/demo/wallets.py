"""A customer's own wallet: its own key, its own transactions, sent over JSON-RPC like any wallet's."""

from __future__ import annotations

import base64

from solders.instruction import Instruction
from solders.keypair import Keypair

from chain.instructions import (
    assemble_transaction,
    build_message,
    create_associated_token_account,
    memo,
    transfer_checked,
    transfer_lamports,
)
from chain.rpc import RpcPool
from chain.tokens import TokenMint, associated_token_address


class Wallet:
    """Holds a key and sends what it is told to; the daemon knows nothing of it."""

    def __init__(self, name: str, keypair: Keypair, pool: RpcPool) -> None:
        self.name = name
        self.keypair = keypair
        self.address = str(keypair.pubkey())
        self._pool = pool
        self._sent = 0

    async def send(self, token: TokenMint, address: str, units: int) -> str:
        """Sign and send a transfer to a wallet address; returns the signature."""
        if token.mint is None or token.program is None:
            return await self._submit([transfer_lamports(self.address, address, units)])
        create = create_associated_token_account(
            payer=self.address, owner=address, mint=token.mint, program=token.program
        )
        move = transfer_checked(
            source=associated_token_address(self.address, token.mint, token.program),
            mint=token.mint,
            destination=associated_token_address(address, token.mint, token.program),
            owner=self.address,
            units=units,
            decimals=token.decimals,
            program=token.program,
        )
        return await self._submit([create, move])

    async def balance(self, token: TokenMint, commitment: str = "finalized") -> int:
        """Ask the chain what this wallet holds."""
        return await balance_of(self._pool, self.address, token, commitment)

    async def _submit(self, instructions: list[Instruction]) -> str:
        latest = await self._pool.call("getLatestBlockhash", [{"commitment": "confirmed"}])
        self._sent += 1  # two equal transfers on one blockhash would be one transaction
        note = memo(f"{self.name} {self._sent}")
        message = build_message(self.address, [*instructions, note], latest["value"]["blockhash"])
        transaction = assemble_transaction(message, [bytes(self.keypair.sign_message(bytes(message)))])
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        encoded = base64.b64encode(transaction).decode()
        return str(await self._pool.call("sendTransaction", [encoded, options], type=str))


async def balance_of(pool: RpcPool, owner: str, token: TokenMint, commitment: str = "finalized") -> int:
    """Ask the chain what a wallet address holds of an asset, in base units."""
    if token.mint is None or token.program is None:
        answer = await pool.call("getBalance", [owner, {"commitment": commitment}])
        return int(answer["value"])
    account = associated_token_address(owner, token.mint, token.program)
    options = {"encoding": "jsonParsed", "commitment": commitment}
    answer = await pool.call("getAccountInfo", [account, options])
    if answer["value"] is None:
        return 0
    return int(answer["value"]["data"]["parsed"]["info"]["tokenAmount"]["amount"])
