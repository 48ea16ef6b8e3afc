"""Which address belongs to whom, and where keys may come from (S1, K1)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from chain.addresses import FEES_ACCOUNT, INSURANCE_FUND_ACCOUNT, DepositKeys
from chain.keystore import SMALLEST_SCRYPT_N, write_keystore
from chain.signer import Secret
from daemon.config import KeysConfig
from daemon.errors import ConfigError
from daemon.keys import UnknownAddress, load_keyring, path_of

SEED = bytes(range(64))


def config(**given: object) -> KeysConfig:
    names = ("seed_file", "keystore_file", "keystore_password_file", "signer_command", "address_file")
    return KeysConfig(**{name: given.get(name) for name in names})  # type: ignore[arg-type]


def private(path: Path, content: bytes | str) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("subaccount", "path"),
    [
        ("0/0", (0, 0)),
        ("7/12", (7, 12)),
        (f"{2**31 - 3}/{2**31 - 1}", (2**31 - 3, 2**31 - 1)),
        ("insurance_fund", (INSURANCE_FUND_ACCOUNT, 0)),
        ("fees", (FEES_ACCOUNT, 0)),
    ],
)
def test_s1_a_subaccount_has_one_path(subaccount: str, path: tuple[int, int]) -> None:
    assert path_of(subaccount) == path


@pytest.mark.parametrize(
    "subaccount",
    [
        "", "7", "/", "7/", "/0", "07/0", "7/00", "-1/0", "7/0/0", "7/x", "７/0",
        f"{2**31 - 2}/0", f"0/{2**31}", "rounding", "9" * 30 + "/0",
    ],
)  # fmt: skip
def test_nothing_else_has_a_path(subaccount: str) -> None:
    with pytest.raises(UnknownAddress):
        path_of(subaccount)


async def test_s1_a_seed_file_and_its_keystore_give_the_same_addresses(tmp_path: Path) -> None:
    seed_file = private(tmp_path / "seed.hex", SEED.hex() + "\n")
    password_file = private(tmp_path / "password", "correct horse\n")
    keystore_file = tmp_path / "seed.keystore"
    write_keystore(
        keystore_file, Secret(SEED), Secret("correct horse"), kind="seed", scrypt_n=SMALLEST_SCRYPT_N
    )
    plain = await load_keyring(config(seed_file=seed_file))
    sealed = await load_keyring(config(keystore_file=keystore_file, keystore_password_file=password_file))
    for subaccount in ("7/0", "7/1", "fees", "insurance_fund"):
        expected = DepositKeys(SEED).address(*path_of(subaccount))
        assert plain.address(subaccount) == sealed.address(subaccount) == expected
    assert plain.hot_wallet == DepositKeys(SEED).address(FEES_ACCOUNT, 0)


async def test_k1_the_keyring_signs_for_the_hot_wallet_alone_and_shows_nothing(tmp_path: Path) -> None:
    keyring = await load_keyring(config(seed_file=private(tmp_path / "seed.hex", SEED.hex())))
    assert keyring.signer.addresses() == (keyring.hot_wallet,)
    assert SEED.hex() not in repr(keyring)
    assert repr(keyring) == f"Keyring(hot_wallet={keyring.hot_wallet})"


@pytest.mark.parametrize("content", ["", "00" * 63, "00" * 65, "zz" * 64, "the seed is under the mat"])
async def test_k1_what_is_no_seed_is_refused_without_showing_it(content: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a seed; should be 64 bytes") as caught:
        await load_keyring(config(seed_file=private(tmp_path / "seed.hex", content)))
    assert not content or content not in str(caught.value)


async def test_k1_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "seed.hex", SEED.hex())
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others; run: chmod 600"):
        await load_keyring(config(seed_file=path))


async def test_a_missing_seed_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        await load_keyring(config(seed_file=tmp_path / "none"))


# -- an external signer with a list of addresses --

SIGNER = """
import json, sys
question = json.loads(sys.stdin.readline())
print(json.dumps({"addresses": [ADDRESS]} if question["question"] == "addresses" else {"error": "no"}))
"""


def listed(**changes: object) -> dict[str, object]:
    keys = DepositKeys(SEED)
    names = ("fees", "insurance_fund", "7/0")
    found = {name: keys.address(*path_of(name)) for name in names} | changes
    return {name: address for name, address in found.items() if address is not None}


def external(tmp_path: Path, addresses: object, holds: str) -> KeysConfig:
    program = tmp_path / "signer.py"
    program.write_text(SIGNER.replace("ADDRESS", repr(holds)))
    path = tmp_path / "addresses.json"
    path.write_text(addresses if isinstance(addresses, str) else json.dumps(addresses))
    return config(signer_command=(sys.executable, str(program)), address_file=path)


async def test_an_external_signer_needs_no_seed_here(tmp_path: Path) -> None:
    hot = str(listed()["fees"])
    keyring = await load_keyring(external(tmp_path, listed(), hot))
    assert keyring.hot_wallet == hot
    assert keyring.address("7/0") == DepositKeys(SEED).address(7, 0)
    with pytest.raises(UnknownAddress, match="no address for subaccount '8/0' in the address file"):
        keyring.address("8/0")


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        (listed(fees=None), "fees is missing"),
        (listed(**{"8/0": "nonsense!"}), "8/0: address 'nonsense!' contains '!'"),
        (listed(eight=str(listed()["7/0"])), "eight: 'eight' is not a subaccount"),
        (listed(**{"8/0": str(listed()["7/0"])}), "two subaccounts share an address"),
        ("[1, 2]", "should be a JSON object from subaccount to address"),
    ],
)
async def test_a_bad_address_file_is_refused(addresses: object, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await load_keyring(external(tmp_path, addresses, str(listed()["fees"])))
    assert any(why in fault for fault in caught.value.faults), caught.value.faults


async def test_a_signer_without_the_hot_wallet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the signer does not hold the hot wallet"):
        await load_keyring(external(tmp_path, listed(), str(listed()["7/0"])))
