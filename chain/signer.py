"""Who signs: one small interface, and three signers behind it.

Owns: the `Signer` protocol, signers from a seed, from single keys and from an external program, and the
wrapper that keeps a secret out of sight. A keystore file is in `keystore`. Must not know: what is signed.

Rules (K1): a key is in no repr, log, traceback or pickle. Secrets live in `Secret`, whose text is always
redacted and which refuses to be copied into a pickle. Functions drop their plain secret before they raise,
because a traceback may show locals. Every signature is checked against its address before it is used: a
signer that answers for another key must not cost a transaction.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import msgspec
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from chain.addresses import DepositKeys, parse_address
from chain.errors import ChainError

SIGNATURE_BYTES = 64
LONGEST_ANSWER_BYTES = 1 << 20


class SignerError(ChainError):
    """A signature could not be had. Nothing was sent; asking again is safe."""

    retry_safe = True


@final
class Secret:
    """A secret that shows itself only to `reveal()`: not to repr, str, format, pickle or copy."""

    __slots__ = ("__value",)

    def __init__(self, value: bytes | bytearray | str) -> None:
        self.__value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """Return the secret. Do not keep it in a local across anything that can raise."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.__value, other.__value)

    __hash__ = None  # type: ignore[assignment] # a hash of a short passphrase would give it away

    def __len__(self) -> int:
        return len(self.__value)

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a secret is not pickled or copied")


@runtime_checkable
class Signer(Protocol):
    """Signs messages for the addresses it holds; raises SignerError if it does not or cannot."""

    async def sign(self, message: bytes, address: str) -> bytes:
        """Return the 64-byte ed25519 signature of `message` by the key of `address`."""
        ...

    def addresses(self) -> tuple[str, ...]:
        """Return the addresses this signer can sign for."""
        ...


class _NotPickled:
    """Signers are handles to keys; a copy of one would be a copy of the key."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError(f"{type(self).__name__} holds keys and is not pickled or copied")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class SeedSigner(_NotPickled):
    """Signs for addresses derived from one seed; keys are derived for each signature and not kept.

    Only paths named in `paths` or by `add` are signed for: holding the seed is no reason to sign for
    everything that it could derive.
    """

    __slots__ = ("_keys", "_paths")

    def __init__(self, keys: DepositKeys, paths: Iterable[tuple[int, int]] = ()) -> None:
        self._keys = keys
        self._paths: dict[str, tuple[int, int]] = {}
        for account, subaccount in paths:
            self.add(account, subaccount)

    def add(self, account: int, subaccount: int) -> str:
        """Allow signing for m/44'/501'/account'/subaccount' and return its address."""
        address = self._keys.address(account, subaccount)
        self._paths[address] = (account, subaccount)
        return address

    def addresses(self) -> tuple[str, ...]:
        return tuple(self._paths)

    async def sign(self, message: bytes, address: str) -> bytes:
        path = self._paths.get(address)
        if path is None:
            raise SignerError(f"this signer does not hold the key of {address}")
        return checked_signature(bytes(self._keys.keypair(*path).sign_message(message)), message, address)


class KeypairSigner(_NotPickled):
    """Signs with single keys held in memory."""

    __slots__ = ("_secrets",)

    def __init__(self, *keypairs: Keypair | Secret) -> None:
        self._secrets: dict[str, Secret] = {}
        for keypair in keypairs:
            secret = Secret(bytes(keypair)) if isinstance(keypair, Keypair) else keypair
            self._secrets[_address_of(secret)] = secret

    @classmethod
    def from_file(cls, path: Path) -> KeypairSigner:
        """Read a keypair file as Solana's command line writes it: a JSON list of 64 numbers.

        Raises SignerError if the file can be read by others or is no such list. The file holds the key in
        plain; a keystore (`chain.keystore`) does not.
        """
        return cls(_read_keypair_file(path))

    def addresses(self) -> tuple[str, ...]:
        return tuple(self._secrets)

    async def sign(self, message: bytes, address: str) -> bytes:
        secret = self._secrets.get(address)
        if secret is None:
            raise SignerError(f"this signer does not hold the key of {address}")
        signature = bytes(Keypair.from_bytes(secret.reveal()).sign_message(message))
        return checked_signature(signature, message, address)


class ExternalSigner(_NotPickled):
    """Signs by asking another program, which may hold the key in hardware or behind a policy.

    The program is started once per question, reads one JSON object from its input and writes one to its
    output. Questions: {"version": 1, "question": "addresses"} and {"version": 1, "question": "sign",
    "address": "<base58>", "message": "<base64>"}. Answers: {"addresses": ["<base58>", ...]},
    {"signature": "<base64>"}, or {"error": "<why, for an operator>"}.
    """

    __slots__ = ("_addresses", "_command", "_timeout_s")

    def __init__(self, command: Sequence[str], addresses: Iterable[str], timeout_s: float = 30.0) -> None:
        if not command:
            raise ValueError("an external signer needs a command")
        self._command = tuple(command)
        self._addresses = tuple(addresses)
        self._timeout_s = timeout_s

    @classmethod
    async def start(cls, command: Sequence[str], timeout_s: float = 30.0) -> ExternalSigner:
        """Ask the program for its addresses and return a signer for them. Raises SignerError."""
        answer = await cls(command, (), timeout_s)._ask({"version": 1, "question": "addresses"})
        if not answer.addresses:
            raise SignerError(f"external signer {command[0]!r} names no addresses")
        try:
            addresses = [parse_address(address) for address in answer.addresses]
        except ValueError as error:
            raise SignerError(f"external signer {command[0]!r}: {error}") from None
        return cls(command, addresses, timeout_s)

    def addresses(self) -> tuple[str, ...]:
        return self._addresses

    async def sign(self, message: bytes, address: str) -> bytes:
        if address not in self._addresses:
            raise SignerError(f"external signer {self._command[0]!r} does not hold the key of {address}")
        encoded = base64.b64encode(message).decode()
        answer = await self._ask({"version": 1, "question": "sign", "address": address, "message": encoded})
        try:
            signature = base64.b64decode(answer.signature or "", validate=True)
        except ValueError:
            signature = b""
        return checked_signature(signature, message, address)

    async def _ask(self, question: dict[str, Any]) -> _Answer:
        name = self._command[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # it may print what must not be in our log
            )
        except OSError as error:
            raise SignerError(f"external signer {name!r} cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                # Kept out of sight like a key: a program that crashed may have printed anything.
                output = Secret((await process.communicate(msgspec.json.encode(question) + b"\n"))[0])
        except TimeoutError:
            raise SignerError(f"external signer {name!r} did not answer in {self._timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return _read_answer(name, output, process.returncode)


class _Answer(msgspec.Struct, frozen=True):
    addresses: list[str] | None = None
    signature: str | None = None
    error: str | None = None


def _read_answer(name: str, output: Secret, status: int | None) -> _Answer:
    if len(output) > LONGEST_ANSWER_BYTES:
        raise SignerError(f"external signer {name!r} answered {len(output)} bytes; that is no signature")
    answer: _Answer | None = None
    with contextlib.suppress(msgspec.MsgspecError):
        answer = msgspec.json.decode(output.reveal(), type=_Answer)
    if answer is None:
        raise SignerError(f"external signer {name!r} ended with status {status} and no JSON answer")
    if answer.error is not None:
        raise SignerError(f"external signer {name!r} refused: {answer.error[:500]}")
    if status != 0:
        raise SignerError(f"external signer {name!r} ended with status {status}")
    return answer


def checked_signature(signature: bytes, message: bytes, address: str) -> bytes:
    """Return `signature` if it is the one of `message` by `address`; raises SignerError otherwise."""
    if len(signature) != SIGNATURE_BYTES:
        raise SignerError(
            f"the signer of {address} gave {len(signature)} bytes; a signature has {SIGNATURE_BYTES}"
        )
    if not Signature.from_bytes(signature).verify(Pubkey.from_string(address), message):
        raise SignerError(f"the signer of {address} gave a signature that is not of this key and message")
    return signature


def _address_of(secret: Secret) -> str:
    try:
        return str(Keypair.from_bytes(secret.reveal()).pubkey())
    except ValueError:
        pass
    # Raised outside of the handler, so that no text about the bytes is chained to it.
    raise SignerError("a secret key is not 64 bytes of an ed25519 key pair")


def _read_keypair_file(path: Path) -> Secret:
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise SignerError(f"{path} can be read by others; run: chmod 600 {path}")
        return Secret(bytes(msgspec.json.decode(path.read_bytes(), type=list[int])))
    except OSError as error:
        raise SignerError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError):
        pass
    raise SignerError(f"{path} is not a keypair file: a JSON list of 64 numbers is expected")
