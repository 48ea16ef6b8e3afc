"""Which address belongs to which subaccount, and who signs for the hot wallet.

Owns: reading the seed, the keystore or the external signer named in the configuration. Rules (K1): a
secret is read from a file that only its owner can read, is held by `chain.signer` types that never show
it, and moves money of the hot wallet alone: holding the seed of every deposit address is no reason to sign
for them, except that they are ours.

    customer "7/0"       m/44'/501'/7'/0'
    "insurance_fund"     m/44'/501'/2147483647'/0'
    "fees"               m/44'/501'/2147483646'/0'    the hot wallet: the operator's capital, pays withdrawals
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from chain.addresses import FEES_ACCOUNT, INSURANCE_FUND_ACCOUNT, DepositKeys, parse_address
from chain.keystore import read_keystore
from chain.signer import ExternalSigner, Secret, SeedSigner, Signer, SignerError
from daemon.config import KeysConfig
from daemon.errors import ConfigError

# What no transaction can begin with: its first byte counts signatures, and "m" would be 109 of them.
RESERVE_CHALLENGE: Final = b"makewhole solvency reserve 1\n"
HOT_WALLET: Final = "fees"
SYSTEM_PATHS: Final = {"insurance_fund": (INSURANCE_FUND_ACCOUNT, 0), HOT_WALLET: (FEES_ACCOUNT, 0)}
LARGEST_CUSTOMER_ACCOUNT: Final = FEES_ACCOUNT - 1


class UnknownAddress(ValueError):
    """There is no deposit address for this subaccount; the message says why."""


class Keyring:
    """Deposit addresses by subaccount, and the signer of the hot wallet."""

    def __init__(self, signer: Signer, keys: DepositKeys | None, listed: Mapping[str, str]) -> None:
        self.signer = signer
        self._keys = keys
        self._listed = listed
        self.hot_wallet = self.address(HOT_WALLET)
        if self.hot_wallet not in signer.addresses():
            raise ConfigError("keys", [f"the signer does not hold the hot wallet {self.hot_wallet}"])

    def __repr__(self) -> str:
        return f"Keyring(hot_wallet={self.hot_wallet})"

    def address(self, subaccount: str) -> str:
        """Return the deposit address of a subaccount; raises `UnknownAddress`."""
        if self._keys is None:
            try:
                return self._listed[subaccount]
            except KeyError:
                raise UnknownAddress(
                    f"no address for subaccount {subaccount!r} in the address file"
                ) from None
        return self._keys.address(*path_of(subaccount))

    def can_sign_challenge(self, subaccount: str) -> bool:
        """Tell whether the key of a deposit address is within reach."""
        try:
            return self._keys is not None or self.address(subaccount) in self.signer.addresses()
        except UnknownAddress:
            return False

    async def sign_challenge(self, text: bytes, subaccount: str) -> bytes:
        """Sign with the key of a deposit address that it is ours (proof of solvency), and nothing else (K1).

        Raises SignerError.
        """
        if not text.startswith(RESERVE_CHALLENGE):
            raise SignerError("keys of deposit addresses sign challenges of the proof of solvency only")
        address = self.address(subaccount)
        if self._keys is None:
            return await self.signer.sign(text, address)
        return await SeedSigner(self._keys, [path_of(subaccount)]).sign(text, address)


def path_of(subaccount: str) -> tuple[int, int]:
    """Return (account, subaccount index) of "7/0" or of a system account; raises `UnknownAddress`."""
    system = SYSTEM_PATHS.get(subaccount)
    if system is not None:
        return system
    account, slash, index = subaccount.partition("/")
    canonical = all(
        part.isascii() and part.isdigit() and str(int(part)) == part for part in (account, index) if part
    )
    if not (slash and account and index and canonical and len(account) <= 10 and len(index) <= 10):
        raise UnknownAddress(f"{subaccount!r} is not a subaccount; write account/index, such as 7/0")
    if int(account) > LARGEST_CUSTOMER_ACCOUNT or int(index) >= 2**31:
        raise UnknownAddress(
            f"{subaccount!r}: account numbers end at {LARGEST_CUSTOMER_ACCOUNT}, indices at {2**31 - 1}"
        )
    return int(account), int(index)


async def load_keyring(config: KeysConfig) -> Keyring:
    """Open whichever source of keys the configuration names; raises `ConfigError` or a `SignerError`."""
    if config.signer_command is not None and config.address_file is not None:
        signer = await ExternalSigner.start(config.signer_command)
        return Keyring(signer, None, _read_addresses(config.address_file))
    if config.keystore_file is not None and config.keystore_password_file is not None:
        password = Secret(read_private(config.keystore_password_file).strip())
        seed = read_keystore(config.keystore_file, password, kind="seed")
    elif config.seed_file is not None:
        seed = read_seed(config.seed_file)
    else:
        raise ConfigError("keys", ["no source of keys is given"])
    keys = DepositKeys(seed.reveal())
    return Keyring(SeedSigner(keys, [SYSTEM_PATHS[HOT_WALLET]]), keys, {})


def read_private(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(str(path), [f"can be read by others; run: chmod 600 {path}"])
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None


def read_seed(path: Path) -> Secret:
    """Read a seed file; raises `ConfigError` for one that others can read or that is no seed."""
    try:
        seed = Secret(bytes.fromhex(read_private(path).decode("ascii").strip()))
    except (ValueError, UnicodeDecodeError):
        seed = Secret(b"")
    if len(seed) != 64:
        # What was found is not shown: it may be most of a seed.
        raise ConfigError(str(path), ["is not a seed; should be 64 bytes as 128 hexadecimal digits"])
    return seed


def _read_addresses(path: Path) -> dict[str, str]:
    try:
        listed = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    except msgspec.MsgspecError as error:
        raise ConfigError(
            str(path), [f"should be a JSON object from subaccount to address: {error}"]
        ) from None
    faults = []
    for subaccount, address in listed.items():
        try:
            path_of(subaccount)
            parse_address(address)
        except ValueError as error:
            faults.append(f"{subaccount}: {error}")
    faults += [f"{name} is missing" for name in SYSTEM_PATHS if name not in listed]
    if len(set(listed.values())) != len(listed):
        faults.append("two subaccounts share an address")
    if faults:
        raise ConfigError(str(path), faults)
    return listed
