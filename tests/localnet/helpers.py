"""What the localnet tests share: a JSON-RPC client over a real socket, and transactions in one line."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from localnet.ledger import Ledger

SOL = 1_000_000_000


class Rpc:
    """A blocking client: one HTTP request per call."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 0

    def post(self, body: bytes, content_type: str = "application/json") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request("POST", "/", body, {"Content-Type": content_type})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ask(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        status, answer = self.post(json.dumps(body).encode())
        assert status == 200
        decoded = json.loads(answer)
        assert decoded["jsonrpc"] == "2.0"
        assert decoded["id"] == 7
        return decoded

    def call(self, method: str, *params: Any) -> Any:
        answer = self.ask(method, *params)
        assert "result" in answer, answer
        return answer["result"]

    def value(self, method: str, *params: Any) -> Any:
        result = self.call(method, *params)
        assert set(result) == {"context", "value"}
        assert set(result["context"]) == {"apiVersion", "slot"}
        return result["value"]

    def error(self, method: str, *params: Any) -> Any:
        answer = self.ask(method, *params)
        assert "error" in answer, answer
        return answer["error"]

    def blockhash(self, commitment: str = "confirmed") -> Hash:
        value = self.value("getLatestBlockhash", {"commitment": commitment})
        return Hash.from_string(value["blockhash"])

    def send(self, transaction: VersionedTransaction, **config: Any) -> str:
        options = {"encoding": "base64", "preflightCommitment": "processed"} | config
        return str(self.call("sendTransaction", wire(transaction), options))


def wire(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


def pay(source: Pubkey, target: Pubkey, lamports: int) -> Instruction:
    return transfer(TransferParams(from_pubkey=source, to_pubkey=target, lamports=lamports))


def v0(payer: Keypair, blockhash: Hash, *instructions: Instruction, tables: Any = ()) -> VersionedTransaction:
    message = MessageV0.try_compile(payer.pubkey(), list(instructions), list(tables), blockhash)
    return VersionedTransaction(message, [payer])


def legacy(
    payer: Keypair, blockhash: Hash, *instructions: Instruction, signers: tuple[Keypair, ...] = ()
) -> VersionedTransaction:
    message = Message.new_with_blockhash(list(instructions), payer.pubkey(), blockhash)
    return VersionedTransaction(message, [payer, *signers])


def v1(payer: Keypair, blockhash: Hash, *instructions: Instruction) -> VersionedTransaction:
    return VersionedTransaction(MessageV1.try_compile(payer.pubkey(), list(instructions), blockhash), [payer])


def transfer_from(payer: Keypair, target: Pubkey, lamports: int, blockhash: Hash) -> VersionedTransaction:
    return v0(payer, blockhash, pay(payer.pubkey(), target, lamports))


def make_ledger(**options: Any) -> Ledger:
    return Ledger(**({"seed": b"s" * 32, "time_s": lambda slot: 1_700_000_000 + slot} | options))


def tip_hash(ledger: Ledger) -> Hash:
    return Hash.from_string(ledger.tip.blockhash)


def fund(ledger: Ledger, lamports: int = 10 * SOL) -> Keypair:
    """A keypair with lamports, final."""
    keypair = Keypair()
    sent = ledger.process(transfer_from(ledger.faucet, keypair.pubkey(), lamports, tip_hash(ledger)))
    assert sent.err is None
    ledger.advance(ledger.finality_lag)
    return keypair
