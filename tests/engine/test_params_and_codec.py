"""Parameters, and the canonical JSON of everything that is written."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec import CodecError, encode_tagged, loads
from engine.commands import COMMAND_TYPES, Command, Deposit, Tick
from engine.events import EVENT_TYPES, Event
from engine.journal import decode_command, decode_outcome, encode_command, encode_outcome
from engine.outcome import Accepted, Rejected
from engine.params import default_params, params_faults, params_from_json, params_to_json
from engine.rejects import RejectReason

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    if hint is int:
        return st.integers(-(2**127), 2**127)
    if hint is str:
        return TEXT
    if hint is bool:
        return st.booleans()
    arguments = get_args(hint)
    if arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    return st.tuples(*[values_of(one) for one in arguments])


def any_of(kinds: tuple[type, ...]) -> st.SearchStrategy[Any]:
    def build(kind: type) -> st.SearchStrategy[Any]:
        hints = get_type_hints(kind)
        return st.builds(kind, **{one.name: values_of(hints[one.name]) for one in fields(kind)})

    return st.one_of([build(kind) for kind in kinds])


def test_vocabularies_are_complete() -> None:
    assert set(COMMAND_TYPES) == set(get_args(Command))
    assert set(EVENT_TYPES) == set(get_args(Event))
    for kind in COMMAND_TYPES:
        assert [one.name for one in fields(kind)][:2] == ["id", "time_ns"]


@given(any_of(COMMAND_TYPES), any_of(COMMAND_TYPES))
def test_r5_commands_survive_encoding_and_only_equal_ones_look_equal(first: Any, second: Any) -> None:
    assert decode_command(encode_command(first)) == first
    assert (encode_command(first) == encode_command(second)) == (first == second)


@given(any_of(COMMAND_TYPES + EVENT_TYPES))
def test_the_fast_encoding_is_plain_json(value: Any) -> None:
    plain = {"type": type(value).__name__} | {one.name: getattr(value, one.name) for one in fields(value)}
    assert encode_tagged(value) == json.dumps(plain, separators=(",", ":"))


@given(st.lists(any_of(EVENT_TYPES), max_size=3))
def test_r5_accepted_outcomes_survive_encoding(events: list[Any]) -> None:
    outcome = Accepted(tuple(events))
    assert decode_outcome(encode_outcome(outcome)) == outcome


@given(st.sampled_from(RejectReason), TEXT, st.none() | st.integers(), st.none() | st.integers())
def test_r5_rejected_outcomes_survive_encoding(
    reason: RejectReason, detail: str, retry_at_ns: int | None, would_pass_units: int | None
) -> None:
    outcome = Rejected(reason, detail, retry_at_ns, would_pass_units)
    assert decode_outcome(encode_outcome(outcome)) == outcome


def test_encoding_is_compact_and_ordered() -> None:
    assert encode_command(Tick("a", 5)) == b'{"type":"Tick","id":"a","time_ns":5}'
    wanted = b'{"rejected":"unknown_asset","detail":"X","retry_at_ns":null,"would_pass_units":null}'
    assert encode_outcome(Rejected(RejectReason.UNKNOWN_ASSET, "X")) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not the JSON"),
        (b"{", "not the JSON"),
        (b"[]", "expected an object"),
        (b'{"type":"Nothing"}', "unknown type"),
        (b'{"type":"Tick","id":"a"}', "missing key 'time_ns'"),
        (b'{"type":"Tick","id":"a","time_ns":5,"x":1}', "unknown key 'x'"),
        (b'{"type":"Tick","id":"a","time_ns":5.0}', "only integers"),
        (b'{"type":"Tick","id":"a","time_ns":NaN}', "only integers"),
        (b'{"type":"Tick","id":"a","time_ns":true}', "expected int"),
        (b'{"type":"Tick","id":1,"time_ns":5}', "expected str"),
        (b'{"type":"Tick","id":"a","id":"b","time_ns":5}', "duplicate"),
    ],
)
def test_decoding_says_what_is_wrong(text: bytes, says: str) -> None:
    with pytest.raises(CodecError, match=says):
        decode_command(text)


@pytest.mark.parametrize(
    "text",
    [b"{}", b"[]", b'{"accepted":1}', b'{"accepted":[{"type":"Tick"}]}', b'{"rejected":"no","detail":""}'],
)
def test_decoding_outcomes_is_strict(text: bytes) -> None:
    with pytest.raises(CodecError):
        decode_outcome(text)


def test_numbers_too_long_to_parse_are_refused() -> None:
    with pytest.raises(CodecError):
        loads("9" * 10_000)


def test_params_round_trip_and_are_canonical() -> None:
    text = params_to_json(default_params())
    assert params_from_json(text) == default_params()
    assert params_to_json(params_from_json(json.dumps(json.loads(text), indent=2))) == text
    assert params_faults(default_params()) == ()


def test_r18_starting_parameters() -> None:
    by_symbol = {market.symbol: market for market in default_params().markets}
    sol, btc = by_symbol["SOL-PERP"], by_symbol["BTC-PERP"]
    assert (sol.base_imf_ppm, sol.base_mmf_ppm, sol.imf_factor_e12, sol.mmf_factor_e12) == (
        20_000,
        13_500,
        75_000_000,
        37_500_000,
    )
    assert (btc.base_imf_ppm, btc.base_mmf_ppm, btc.imf_factor_e12, btc.mmf_factor_e12) == (
        13_330,
        6_670,
        24_940_000,
        14_960_000,
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nonsense": 1}, "unknown key 'nonsense'"),
        ({"gate_max_ns": None}, "gate_max_ns"),
        ({"gate_max_ns": -1}, "gate_max_ns must be 0"),
        ({"settlement_interval_ns": 0}, "settlement_interval_ns must be 1"),
        ({"liquidation_end_ppm": 999_999}, "liquidation_end_ppm"),
        ({"velocity_floor_ppm": 1.5}, "only integers"),
        ({"assets": []}, "asset USDC is missing"),
        ({"remembered_commands": True}, "expected int"),
    ],
)
def test_bad_params_are_refused_by_name(change: dict[str, Any], says: str) -> None:
    plain = json.loads(params_to_json(default_params())) | change
    with pytest.raises(ValueError, match=says):
        params_from_json(json.dumps(plain))


def test_all_faults_of_params_are_told_at_once() -> None:
    good = default_params()
    usdc = replace(good.assets[0], haircut_ppm=5)
    market = replace(good.markets[0], asset="DOGE", max_leverage=0)
    faults = " ".join(params_faults(replace(good, assets=(usdc, *good.assets[1:]), markets=(market, market))))
    for word in ("settlement asset", "DOGE", "max_leverage", "must differ"):
        assert word in faults


def test_missing_key_is_named() -> None:
    plain = json.loads(params_to_json(default_params()))
    del plain["assets"][1]["haircut_ppm"]
    with pytest.raises(ValueError, match=r"assets\[1\].*haircut_ppm"):
        params_from_json(json.dumps(plain))


def test_commands_are_told_apart_by_type() -> None:
    deposit = Deposit("a", 1, "1/0", "USDC", 5, "")
    assert json.loads(encode_command(deposit))["type"] == "Deposit"
