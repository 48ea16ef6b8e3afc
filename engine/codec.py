"""Canonical, compact, injective JSON for frozen dataclasses, driven by their type hints.

Owns: spelling. Rules: integers, strings, booleans, None, tuples and dataclasses only; no floats; ASCII; a
union of dataclasses is told apart by a first key "type". Decoding is strict: what is unknown, missing or
mistyped raises CodecError naming the place. Must not know what the values mean.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Decoder = Callable[[Any, str], Any]

_TAG = "type"
_compact = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False).encode
_sorted = json.JSONEncoder(
    separators=(",", ":"), check_circular=False, allow_nan=False, sort_keys=True
).encode


class CodecError(ValueError):
    """A text is not the canonical JSON of the wanted type; the message says where and why."""


def dumps_compact(value: Any) -> bytes:
    """Encode plain lists, dicts, ints, strings; keys in the order given."""
    return _compact(value).encode("ascii")


def dumps_sorted(value: Any) -> bytes:
    """Encode plain lists, dicts, ints, strings; keys sorted."""
    return _sorted(value).encode("ascii")


def loads(text: str | bytes) -> Any:
    """Parse JSON, refusing floats, NaN and duplicate keys."""
    try:
        return json.loads(
            text, parse_float=_refuse_number, parse_constant=_refuse_number, object_pairs_hook=_unique_keys
        )
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not the JSON expected: {error}") from error


def tagged(value: Any) -> dict[str, Any]:
    """Turn a flat dataclass into a dict whose first key "type" is its class name; field order as declared."""
    names, getter = _layout(type(value))
    plain: dict[str, Any] = {_TAG: type(value).__name__}
    plain.update(zip(names, getter(value), strict=True))
    return plain


def encode_tagged(value: Any) -> str:
    """Encode what `tagged` gives for a flat dataclass, straight from its fields: the path of every
    deposit.
    """
    kind = type(value)
    keys = _KEYS.get(kind)
    if keys is None:
        names = _layout(kind)[0]
        heads = [f'{{"{_TAG}":"{kind.__name__}"'] + [""] * len(names)
        keys = _KEYS[kind] = tuple([f'{head},"{name}":' for head, name in zip(heads, names, strict=False)])
    parts: list[str] = []
    for key, item in zip(keys, _layout(kind)[1](value), strict=True):
        parts.append(key)
        item_kind = type(item)
        if item_kind is str:
            parts.append(encode_basestring_ascii(item))
        elif item_kind is int:
            parts.append(repr(item))
        elif item_kind is bool:
            parts.append("true" if item else "false")
        else:
            parts.append(_compact(item))
    parts.append("}")
    return "".join(parts)


def untag(plain: Any, classes: dict[str, type[Any]], where: str) -> Any:
    """Build the dataclass named by the key "type" out of a dict; raises CodecError."""
    if not isinstance(plain, dict) or not isinstance(plain.get(_TAG), str):
        raise CodecError(f"{where}: expected an object with a type")
    wanted = classes.get(plain[_TAG])
    if wanted is None:
        raise CodecError(f"{where}: unknown type {plain[_TAG]!r}")
    return _decoder(wanted)({key: value for key, value in plain.items() if key != _TAG}, where)


def encode_plain(value: Any) -> str:
    """Encode a dataclass without tags, nested dataclasses too, keys sorted."""
    return _sorted(_plain(value))


def decode_plain(text: str | bytes, wanted: type[T]) -> T:
    """Decode what `encode_plain` wrote, or raise CodecError."""
    return cast("T", _decoder(wanted)(loads(text), wanted.__name__))


def build(plain: Any, wanted: Any, where: str) -> Any:
    """Turn parsed JSON into a value of the wanted type (a class or a type hint), or raise CodecError."""
    return _decoder(wanted)(plain, where)


def row(value: Any) -> list[Any]:
    """Turn a flat dataclass into the list of its field values in declared order."""
    return list(_layout(type(value))[1](value))


def unrow(plain: Any, wanted: type[T], where: str) -> T:
    """Build a dataclass out of what `row` wrote, or raise CodecError."""
    names, _ = _layout(wanted)
    if not isinstance(plain, list) or len(plain) != len(names):
        raise CodecError(f"{where}: expected a list of {len(names)}")
    return cast("T", _decoder(wanted)(dict(zip(names, plain, strict=True)), where))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        names, getter = _layout(type(value))
        return {name: _plain(item) for name, item in zip(names, getter(value), strict=True)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


_LAYOUTS: dict[Any, tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]] = {}
_DECODERS: dict[Any, Decoder] = {}
_KEYS: dict[Any, tuple[str, ...]] = {}


def _layout(wanted: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    layout = _LAYOUTS.get(wanted)
    if layout is None:
        layout = _LAYOUTS[wanted] = _make_layout(wanted)
    return layout


def _make_layout(wanted: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(field.name for field in fields(wanted))
    if len(names) == 1:
        single = attrgetter(names[0])
        return names, lambda value: (single(value),)
    return names, attrgetter(*names)


def _decoder(wanted: Any) -> Decoder:
    decoder = _DECODERS.get(wanted)
    if decoder is None:
        decoder = _DECODERS[wanted] = _make_decoder(wanted)
    return decoder


def _make_decoder(wanted: Any) -> Decoder:
    if wanted in (int, str, bool):
        return _scalar(wanted)
    if is_dataclass(wanted):
        return _dataclass(wanted)
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is tuple:
        return (
            _many(_decoder(arguments[0]))
            if arguments[-1] is Ellipsis
            else _fixed(tuple(map(_decoder, arguments)))
        )
    if origin in (Union, types.UnionType) and len(arguments) == 2 and arguments[1] is type(None):
        inner = _decoder(arguments[0])
        return lambda plain, where: None if plain is None else inner(plain, where)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _member(wanted)
    raise TypeError(f"no codec for {wanted!r}")


def _scalar(wanted: type[Any]) -> Decoder:
    def decode(plain: Any, where: str) -> Any:
        if type(plain) is not wanted:
            raise CodecError(f"{where}: expected {wanted.__name__}, found {type(plain).__name__}")
        return plain

    return decode


def _member(wanted: type[Enum]) -> Decoder:
    def decode(plain: Any, where: str) -> Any:
        try:
            return wanted(plain)
        except ValueError as error:
            raise CodecError(f"{where}: {error}") from error

    return decode


def _many(inner: Decoder) -> Decoder:
    def decode(plain: Any, where: str) -> Any:
        if not isinstance(plain, list):
            raise CodecError(f"{where}: expected a list")
        return tuple([inner(item, f"{where}[{place}]") for place, item in enumerate(plain)])

    return decode


def _fixed(inner: tuple[Decoder, ...]) -> Decoder:
    def decode(plain: Any, where: str) -> Any:
        if not isinstance(plain, list) or len(plain) != len(inner):
            raise CodecError(f"{where}: expected a list of {len(inner)}")
        return tuple(
            [
                one(item, f"{where}[{place}]")
                for place, (one, item) in enumerate(zip(inner, plain, strict=True))
            ]
        )

    return decode


def _dataclass(wanted: Any) -> Decoder:
    hints = get_type_hints(wanted)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(wanted)}

    def decode(plain: Any, where: str) -> Any:
        if not isinstance(plain, dict):
            raise CodecError(f"{where}: expected an object")
        unknown = [key for key in plain if key not in decoders]
        missing = [key for key in decoders if key not in plain]
        if unknown or missing:
            said = [f"unknown key {key!r}" for key in unknown] + [f"missing key {key!r}" for key in missing]
            raise CodecError(f"{where}: " + ", ".join(said))
        return wanted(**{name: inner(plain[name], f"{where}.{name}") for name, inner in decoders.items()})

    return decode


def _refuse_number(text: str) -> Any:
    raise CodecError(f"only integers are numbers here, not {text}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise CodecError("duplicate key")
    return plain
