"""Account and token methods over HTTP: encodings, slices, filters, commitments, refusals."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from localnet import Mint, Validator, base58, programs
from localnet.token_state import pack_mint, pack_token_account

from .helpers import SOL, Rpc, pay, v0

RENT_EPOCH = 18_446_744_073_709_551_615


@pytest.fixture
def node() -> Iterator[Validator]:
    with Validator(rpc_port=0, ws_port=0, finality_lag=4) as validator:
        yield validator


@pytest.fixture
def rpc(node: Validator) -> Rpc:
    return Rpc(node.rpc_url)


def plant(node: Validator, data: bytes, owner: Pubkey = programs.MEMO) -> Pubkey:
    key = Pubkey.new_unique()
    node.set_account(key, lamports=SOL, data=data, owner=owner)
    node.finalize()
    return key


def test_account_data_in_every_encoding(node: Validator, rpc: Rpc) -> None:
    data = bytes(range(100))
    key = str(plant(node, data))

    def read(**config: Any) -> Any:
        return rpc.value("getAccountInfo", key, config)["data"]

    assert read() == base58.encode(data)
    assert read(encoding="base58") == [base58.encode(data), "base58"]
    assert read(encoding="base64") == [base64.b64encode(data).decode(), "base64"]
    packed, name = read(encoding="base64+zstd")
    assert name == "base64+zstd"
    assert zstandard.ZstdDecompressor().decompress(base64.b64decode(packed), max_output_size=1_000) == data
    assert read(encoding="jsonParsed") == [base64.b64encode(data).decode(), "base64"]


def test_the_members_of_an_account(node: Validator, rpc: Rpc) -> None:
    key = str(plant(node, b"abc"))
    assert rpc.value("getAccountInfo", key, {"encoding": "base64"}) == {
        "data": ["YWJj", "base64"],
        "executable": False,
        "lamports": SOL,
        "owner": str(programs.MEMO),
        "rentEpoch": RENT_EPOCH,
        "space": 3,
    }
    assert rpc.value("getAccountInfo", str(Pubkey.new_unique())) is None


@pytest.mark.parametrize(
    ("offset", "length", "expected"), [(2, 3, b"cde"), (0, 0, b""), (4, 100, b"ef"), (9, 5, b"")]
)
def test_data_slices(node: Validator, rpc: Rpc, offset: int, length: int, expected: bytes) -> None:
    key = str(plant(node, b"abcdef"))
    config = {"encoding": "base64", "dataSlice": {"offset": offset, "length": length}}
    value = rpc.value("getAccountInfo", key, config)
    assert base64.b64decode(value["data"][0]) == expected
    assert value["space"] == 6


def test_more_than_128_bytes_are_not_printed_in_base58(node: Validator, rpc: Rpc) -> None:
    key = str(plant(node, bytes(129)))
    message = "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
    assert rpc.error("getAccountInfo", key) == {"code": -32600, "message": message}
    sliced = {"encoding": "base58", "dataSlice": {"offset": 0, "length": 128}}
    assert rpc.value("getAccountInfo", key, sliced)["data"] == ["1" * 128, "base58"]


def test_reads_are_honest_about_their_commitment(node: Validator, rpc: Rpc) -> None:
    payer, target = Keypair(), str(Pubkey.new_unique())
    node.airdrop(payer.pubkey(), 5 * SOL)
    transaction = v0(payer, rpc.blockhash(), pay(payer.pubkey(), Pubkey.from_string(target), SOL))
    rpc.send(transaction)

    def read() -> list[int]:
        levels = ("processed", "confirmed", "finalized")
        return [rpc.value("getBalance", target, {"commitment": level}) for level in levels]

    assert read() == [SOL, 0, 0]
    assert rpc.value("getBalance", target) == 0
    node.advance()
    assert read() == [SOL, SOL, 0]
    node.finalize()
    assert read() == [SOL, SOL, SOL]


def test_min_context_slot(node: Validator, rpc: Rpc) -> None:
    key, slot = str(Pubkey.new_unique()), node.ledger.open.slot
    assert rpc.value("getBalance", key, {"commitment": "processed", "minContextSlot": slot}) == 0
    for method in ("getBalance", "getAccountInfo"):
        error = rpc.error(method, key, {"commitment": "processed", "minContextSlot": slot + 1})
        assert error == {
            "code": -32016,
            "message": "Minimum context slot has not been reached",
            "data": {"contextSlot": slot},
        }


def test_multiple_accounts_keep_their_order(node: Validator, rpc: Rpc) -> None:
    first, second = plant(node, b"1"), plant(node, b"2")
    keys = [str(second), str(Pubkey.new_unique()), str(first)]
    found = rpc.value("getMultipleAccounts", keys, {"encoding": "base64"})
    assert [entry and base64.b64decode(entry["data"][0]) for entry in found] == [b"2", None, b"1"]
    error = rpc.error("getMultipleAccounts", [str(first)] * 101)
    assert error == {"code": -32602, "message": "Too many inputs provided; max 100"}


def test_program_accounts_and_their_filters(node: Validator, rpc: Rpc) -> None:
    program = Pubkey.new_unique()
    wanted = plant(node, b"xxKEYyy", program)
    plant(node, b"xxNOTyy", program)
    plant(node, b"xxKEYyyz", program)

    def find(*filters: Any) -> list[str]:
        config = {"encoding": "base64", "filters": list(filters)}
        return [entry["pubkey"] for entry in rpc.call("getProgramAccounts", str(program), config)]

    assert len(find()) == 3
    key58 = {"memcmp": {"offset": 2, "bytes": base58.encode(b"KEY")}}
    key64 = {"memcmp": {"offset": 2, "bytes": base64.b64encode(b"KEY").decode(), "encoding": "base64"}}
    for match in (key58, key64, {"memcmp": {"offset": 2, "bytes": list(b"KEY")}}):
        assert len(find(match)) == 2
        assert find(match, {"dataSize": 7}) == [str(wanted)]
    assert find({"memcmp": {"offset": 6, "bytes": base58.encode(b"yyy")}}) == []
    config = {"encoding": "base64", "withContext": True}
    assert len(rpc.value("getProgramAccounts", str(program), config)) == 3


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([{"dataSize": 1}] * 5, "Too many filters provided; max 4"),
        ([{"memcmp": {"offset": 0, "bytes": "1" * 129}}], "Invalid param: DataTooLarge"),
        (
            [{"memcmp": {"offset": 0, "bytes": "0"}}],
            "Invalid param: Base58DecodeError(InvalidCharacter { character: '0', index: 0 })",
        ),
        ([{"memcmp": {"bytes": "1"}}], "Invalid params: missing field `offset`."),
        (
            [{"size": 3}],
            "Invalid params: unknown variant `size`, expected one of "
            "`dataSize`, `memcmp`, `tokenAccountState`.",
        ),
    ],
)
def test_bad_filters_are_refused(rpc: Rpc, filters: object, message: str) -> None:
    error = rpc.error("getProgramAccounts", str(programs.TOKEN), {"filters": filters})
    assert error == {"code": -32602, "message": message}


def test_program_accounts_are_honest_about_their_commitment(node: Validator, rpc: Rpc) -> None:
    program, key = Pubkey.new_unique(), Pubkey.new_unique()
    node.set_account(key, lamports=SOL, data=b"a", owner=program)

    def count(level: str) -> int:
        config = {"encoding": "base64", "commitment": level}
        return len(rpc.call("getProgramAccounts", str(program), config))

    assert [count("processed"), count("confirmed"), count("finalized")] == [1, 0, 0]
    node.finalize()
    node.set_account(key, lamports=0)
    assert [count("processed"), count("confirmed"), count("finalized")] == [0, 1, 1]


@pytest.fixture(params=[programs.TOKEN, programs.TOKEN_2022], ids=["token", "token-2022"])
def mint(node: Validator, request: pytest.FixtureRequest) -> Mint:
    return node.create_mint(decimals=6, program=request.param)


def test_token_accounts_parsed(node: Validator, rpc: Rpc, mint: Mint) -> None:
    owner = Pubkey.new_unique()
    account = node.mint_to(mint, owner, 1_500_000)
    amount = {"amount": "1500000", "decimals": 6, "uiAmount": 1.5, "uiAmountString": "1.5"}
    value = rpc.value("getAccountInfo", str(account), {"encoding": "jsonParsed"})
    info: dict[str, object] = {
        "isNative": False,
        "mint": str(mint),
        "owner": str(owner),
        "state": "initialized",
        "tokenAmount": amount,
    }
    name, space = "spl-token", 165
    if mint.program == programs.TOKEN_2022:
        name, space = "spl-token-2022", 170
        info["extensions"] = [{"extension": "immutableOwner"}]
    assert value["data"] == {
        "program": name,
        "parsed": {"type": "account", "info": info},
        "space": space,
    }
    assert rpc.value("getTokenAccountBalance", str(account)) == amount
    assert rpc.value("getTokenSupply", str(mint)) == amount
    assert rpc.value("getTokenLargestAccounts", str(mint)) == [{"address": str(account)} | amount]


def test_scaled_amounts_change_what_is_shown_and_nothing_else(node: Validator, rpc: Rpc) -> None:
    mint, holder, owner = Pubkey.new_unique(), Pubkey.new_unique(), Pubkey.new_unique()
    base = pack_mint(mint_authority=None, supply_units=3_000, decimals=2, freeze_authority=None)
    scale = bytes(32) + struct.pack("<dqd", 1.5, 2**62, 9.0)
    data = base.ljust(165, b"\0") + b"\1" + struct.pack("<HH", 25, len(scale)) + scale
    node.set_account(mint, lamports=SOL, data=data, owner=programs.TOKEN_2022)
    account = pack_token_account(mint=mint, owner=owner, amount_units=1_002)
    node.set_account(holder, lamports=SOL, data=account, owner=programs.TOKEN_2022)
    node.finalize()
    shown = {"amount": "1002", "decimals": 2, "uiAmount": 15.03, "uiAmountString": "15.03"}
    assert rpc.value("getTokenAccountBalance", str(holder)) == shown
    supply = {"amount": "3000", "decimals": 2, "uiAmount": 45.0, "uiAmountString": "45"}
    assert rpc.value("getTokenSupply", str(mint)) == supply
    parsed = rpc.value("getAccountInfo", str(holder), {"encoding": "jsonParsed"})["data"]["parsed"]
    assert parsed["info"]["tokenAmount"] == shown


def test_mints_parsed(node: Validator, rpc: Rpc, mint: Mint) -> None:
    value = rpc.value("getAccountInfo", str(mint), {"encoding": "jsonParsed"})
    assert value["data"]["parsed"] == {
        "type": "mint",
        "info": {
            "decimals": 6,
            "freezeAuthority": None,
            "isInitialized": True,
            "mintAuthority": str(mint.authority.pubkey()),
            "supply": "0",
        },
    }


def test_token_accounts_of_an_owner(node: Validator, rpc: Rpc, mint: Mint) -> None:
    owner, other = Pubkey.new_unique(), node.create_mint(program=mint.program)
    account, second = node.mint_to(mint, owner, 1), node.mint_to(other, owner, 0)
    node.mint_to(mint, Pubkey.new_unique(), 1)

    def find(wanted: Any, **config: Any) -> set[str]:
        found = rpc.value("getTokenAccountsByOwner", str(owner), wanted, {"encoding": "jsonParsed"} | config)
        return {entry["pubkey"] for entry in found}

    assert find({"mint": str(mint)}) == {str(account)}
    assert find({"programId": str(mint.program)}) == {str(account), str(second)}
    late = node.mint_to(node.create_mint(program=mint.program), owner, 1, settle=False)
    assert str(late) not in find({"programId": str(mint.program)})
    assert str(late) in find({"programId": str(mint.program)}, commitment="processed")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"mint": str(programs.MEMO)}, "Invalid param: mint could not be unpacked"),
        ({"mint": str(Pubkey([9] * 32))}, "Invalid param: could not find mint"),
        ({"programId": str(programs.SYSTEM)}, "Invalid param: unrecognized Token program id"),
    ],
)
def test_bad_token_filters(rpc: Rpc, wanted: object, message: str) -> None:
    error = rpc.error("getTokenAccountsByOwner", str(Pubkey.new_unique()), wanted)
    assert error == {"code": -32602, "message": message}


def test_bad_token_accounts(node: Validator, rpc: Rpc) -> None:
    missing, plain = str(Pubkey.new_unique()), str(plant(node, b"x"))
    assert rpc.error("getTokenAccountBalance", missing)["message"] == "Invalid param: could not find account"
    assert rpc.error("getTokenAccountBalance", plain)["message"] == "Invalid param: not a Token account"
    assert rpc.error("getTokenSupply", plain)["message"] == "Invalid param: not a Token mint"


def test_rent(rpc: Rpc) -> None:
    assert rpc.call("getMinimumBalanceForRentExemption", 0) == 890_880
    assert rpc.call("getMinimumBalanceForRentExemption", 165) == 2_039_280
    assert rpc.error("getMinimumBalanceForRentExemption", 10 * 1024 * 1024 + 1)["code"] == -32600


def test_the_supply_is_what_all_accounts_hold(node: Validator, rpc: Rpc) -> None:
    before = rpc.value("getSupply")
    assert before["total"] == before["circulating"] + before["nonCirculating"]
    payer = Keypair()
    node.airdrop(payer.pubkey(), SOL)
    after = rpc.value("getSupply", {"excludeNonCirculatingAccountsList": True})
    assert after["total"] == before["total"] - 5_000  # the fee is burnt: there is no leader account
    assert after["nonCirculating"] == before["nonCirculating"] - SOL - 5_000
    assert after["nonCirculatingAccounts"] == []
    largest = rpc.value("getLargestAccounts", {"filter": "circulating"})
    assert {"address": str(payer.pubkey()), "lamports": SOL} in largest
