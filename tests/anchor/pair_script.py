"""What a wallet developer does with anchorpy, run by the older interpreter; reads and writes JSON.

Started by test_anchor_pair.py in the environment that `make anchor` builds. It imports nothing of the tests.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys

from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction

from chain.anchor import AnchorError, DecoderPanicked, connect, fetch, load_program, panics_as_errors, send
from chain.errors import TransactionFailed


def _transfer(pair: Keypair, target: str, lamports: int, blockhash: Hash) -> Transaction:
    parameters = TransferParams(
        from_pubkey=pair.pubkey(), to_pubkey=Pubkey.from_string(target), lamports=lamports
    )
    message = Message.new_with_blockhash([transfer(parameters)], pair.pubkey(), blockhash)
    return Transaction([pair], message, blockhash)


async def main(task: dict) -> dict:
    pair = Keypair.from_bytes(bytes(task["secret"]))
    told = {
        "versions": {name: importlib.metadata.version(name) for name in ("anchorpy", "solana", "solders")}
    }
    async with connect(task["rpc_url"], pair) as provider:
        blockhash = (await provider.connection.get_latest_blockhash()).value.blockhash
        told["signature"] = await send(provider, _transfer(pair, task["target"], task["lamports"], blockhash))
        told["balance"] = (await provider.connection.get_balance(Pubkey.from_string(task["target"]))).value

        program = load_program(task["idl"], task["program_id"], provider)
        counter = await fetch(program, "Counter", task["counter"])
        told["counter"] = {
            "authority": str(counter.authority),
            "count": counter.count,
            "label": counter.label,
            "history": list(counter.history),
        }
        told["refusals"] = {}
        for name, kind, address in (
            ("absent", "Counter", task["target_absent"]),
            ("other type", "Counter", task["not_a_counter"]),
            ("unknown type", "Ledger", task["counter"]),
        ):
            try:
                await fetch(program, kind, address)
            except AnchorError as error:
                told["refusals"][name] = str(error)
        try:
            load_program({**task["idl"], "instructions": 5}, task["program_id"], provider)
        except AnchorError as error:
            told["refusals"]["idl"] = str(error)

        # A transaction that lands with an error: preflight is off, so that it lands at all.
        provider.opts = provider.opts._replace(skip_preflight=True)
        try:
            await send(provider, _transfer(pair, task["target"], 10**18, blockhash))
        except TransactionFailed as error:
            told["failed"] = str(error)

        try:
            with panics_as_errors("a transaction of version 1"):
                answer = await provider.connection.get_transaction(
                    Signature.from_string(task["version_1"]),
                    encoding="base64",
                    max_supported_transaction_version=1,
                )
                answer.value.transaction.transaction  # noqa: B018 - the panic is in the access
            told["version 1"] = "decoded"
        except DecoderPanicked as error:
            told["version 1"] = str(error)
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
