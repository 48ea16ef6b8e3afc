"""For wallet developers who use anchorpy: providers and programs, with the sharp edges covered.

Owns: the only code that also runs on the older pair that anchorpy needs (solana 0.36, solders 0.26), in an
environment of its own (`make anchor`). Must not know: anything of the package that needs the current pair;
it imports `chain.errors` and nothing else of ours.

Rules
- solders is Rust. On a transaction of version 1 in base64 it panics, and not when the answer arrives but
  when its `.transaction.transaction` is touched; the panic is a BaseException that `except Exception` does
  not catch. `panics_as_errors`, around the access too, makes it a `ChainError`.
- solana-py reports a transaction that landed with an error as confirmed. `send` asks for the error.
- Foreign transactions are not for this pair at all: read them as raw JSON with `chain.rpc`.

    async with connect("http://127.0.0.1:8899", keypair) as provider:
        program = load_program(Path("counter.json").read_text(), program_id, provider)
        counter = await fetch(program, "Counter", address)
"""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from chain.errors import ChainError, TransactionFailed

COMMITMENTS = ("processed", "confirmed", "finalized")


class AnchorError(ChainError):
    """Something of the older pair could not be had; says what, and what would work."""


class DecoderPanicked(AnchorError):
    """solders met bytes or JSON that it does not know. Asking again gives the same panic."""


@contextmanager
def panics_as_errors(what: str) -> Iterator[None]:
    """Turn a panic of solders inside the block into DecoderPanicked; everything else passes."""
    try:
        yield
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise DecoderPanicked(
            f"{what}: the decoder of this pair panicked ({error}); it is older than what it read. Read it as "
            "raw JSON instead."
        ) from None


@asynccontextmanager
async def connect(
    rpc_url: str, keypair: Any, *, commitment: str = "confirmed", timeout_s: float = 30.0
) -> AsyncIterator[Any]:
    """Open an anchorpy Provider that sends from `keypair`; the connection closes with the block.

    Raises AnchorError without anchorpy, and ValueError for an unknown commitment.
    """
    if commitment not in COMMITMENTS:
        raise ValueError(f"commitment is one of {', '.join(COMMITMENTS)}, not {commitment!r}")
    anchorpy = _anchorpy()
    from solana.rpc.async_api import AsyncClient
    from solana.rpc.commitment import Commitment

    types: Any = importlib.import_module("solana.rpc.types")  # TxOpts exists in the older pair only
    level = Commitment(commitment)
    # Without confirmation: `send` does its own, which tells failed from landed.
    options = types.TxOpts(skip_confirmation=True, preflight_commitment=level)
    async with AsyncClient(rpc_url, level, timeout=timeout_s) as client:
        yield anchorpy.Provider(client, anchorpy.Wallet(keypair), options)


def load_program(idl: str | Mapping[str, Any], program_id: str, provider: Any) -> Any:
    """Make an anchorpy Program from an IDL as JSON text or as parsed JSON.

    Raises AnchorError for an IDL that anchorpy cannot read; it reads the form of Anchor up to 0.29.
    """
    from solders.pubkey import Pubkey

    anchorpy = _anchorpy()
    text = idl if isinstance(idl, str) else json.dumps(idl)
    try:
        with panics_as_errors("the IDL"):
            parsed = anchorpy.Idl.from_json(text)
    except ChainError:
        raise
    except Exception as error:  # noqa: BLE001 - the parser's error class cannot be imported
        raise AnchorError(
            f"the IDL cannot be read: {error}. anchorpy reads the form that Anchor up to 0.29 writes "
            '(with "isMut" and "isSigner"), not the newer one.'
        ) from None
    return anchorpy.Program(parsed, Pubkey.from_string(program_id), provider)


async def fetch(program: Any, account_type: str, address: str) -> Any:
    """Fetch and decode an account of the program.

    Raises AnchorError if the IDL has no such account type, if the account does not exist or is of another
    type.
    """
    from solders.pubkey import Pubkey

    anchorpy = _anchorpy()
    client = program.account.get(account_type)
    if client is None:
        known = ", ".join(program.account) or "none"
        raise AnchorError(f"the IDL has no account type {account_type!r}; it has: {known}")
    try:
        with panics_as_errors(f"account {address}"):
            return await client.fetch(Pubkey.from_string(address))
    except (
        anchorpy.error.AccountDoesNotExistError,
        anchorpy.error.AccountInvalidDiscriminator,
    ) as error:
        raise AnchorError(f"{error} as {account_type!r}") from None


async def send(provider: Any, transaction: Any) -> str:
    """Send a signed transaction, wait for the provider's commitment, and return its signature.

    Raises TransactionFailed if it landed with an error: solana-py alone reports that as a success.
    """
    with panics_as_errors("the answer to a sent transaction"):
        signature = await provider.send(transaction)
        answer = await provider.connection.confirm_transaction(
            signature, provider.opts.preflight_commitment, sleep_seconds=0.2
        )
    status = answer.value[0]
    if status is None:
        raise AnchorError(f"{signature} is not known to the cluster")
    if status.err is not None:
        raise TransactionFailed(str(signature), str(status.err))
    return str(signature)


def _is_panic(error: BaseException) -> bool:
    # The class is made inside of the Rust extension and cannot be imported.
    return type(error).__name__ == "PanicException"


def _anchorpy() -> Any:
    try:
        import anchorpy  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise AnchorError(
            "anchorpy is not here. It needs an older solana and solders than the rest, so it lives in an "
            "environment of its own: install the extra [anchor] there (in this repository: make anchor)."
        ) from None
    return anchorpy
