"""Reads a TOML table against a list of keys, and collects every fault instead of stopping at the first.

Owns the grammar of one value (path, address, whole number, ...) and the wording of a fault: the key's
full path, what is wrong, what would be right. Which keys exist is `daemon.config`'s business.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit


class Wrong(ValueError):
    """A value is not what its key asks for; the message says what would be right."""


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = _Required()


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table: how to read its value, what it is without one, what it means."""

    name: str
    parse: Callable[[object], Any]
    default: Any
    doc: str
    example: str = ""


def shown(value: object) -> str:
    """Write a value as the reader typed it, cut short."""
    text = {True: "true", False: "false"}.get(value, repr(value)) if isinstance(value, bool) else repr(value)
    text = re.sub(r"Decimal\('([^']*)'\)", r"\1", text)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean `x`?)", or the names there are when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known here: " + ", ".join(names)


def read_table(table: object, path: str, keys: Iterable[Key], faults: list[str]) -> dict[str, Any]:
    """Return the parsed value or default of every key; append a line to `faults` for each that is wrong."""
    keys = list(keys)
    values = {key.name: None if key.default is REQUIRED else key.default for key in keys}
    if not isinstance(table, Mapping):
        faults.append(f"{path}: is {shown(table)}; should be a table, written [{path}]")
        return values
    prefix = f"{path}." if path else ""
    by_name = {key.name: key for key in keys}
    for name, value in table.items():
        if name not in by_name:
            faults.append(f"{prefix}{name}: unknown key; {nearest(str(name), by_name)}")
            continue
        try:
            values[name] = by_name[name].parse(value)
        except Wrong as wrong:
            faults.append(f"{prefix}{name}: is {shown(value)}; should be {wrong}")
    faults.extend(
        f"{prefix}{key.name}: missing; {key.doc}"
        for key in keys
        if key.default is REQUIRED and key.name not in table
    )
    return values


def text(value: object) -> str:
    """Read a string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise Wrong("a string in quotes, not empty")
    return value


def words(value: object) -> tuple[str, ...]:
    """Read a list of strings: a program and its arguments."""
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise Wrong('a list of strings, a program and its arguments: ["signer", "--key", "hot"]')
    return tuple(value)


def boolean(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise Wrong("true or false, without quotes")
    return value


def whole(least: int = 0, most: int = 2**63 - 1) -> Callable[[object], int]:
    """Return a reader of whole numbers from `least` to `most`."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            span = f" from {least} to {most}" if most < 2**63 - 1 else f" of at least {least}"
            raise Wrong(f"a whole number{span if least > -(2**63) else ''}, without quotes")
        return value

    return parse


def seconds(least: float, most: float) -> Callable[[object], float]:
    """Return a reader of a number of seconds from `least` to `most`."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise Wrong(f"a number of seconds from {least:g} to {most:g}")
        return float(value)

    return parse


def choice(*options: str) -> Callable[[object], str]:
    """Return a reader that admits the given words."""

    def parse(value: object) -> str:
        if value not in options:
            raise Wrong("one of " + ", ".join(f'"{option}"' for option in options))
        return str(value)

    return parse


def url(*schemes: str) -> Callable[[object], str]:
    """Return a reader of URLs with one of the given schemes."""

    def parse(value: object) -> str:
        wanted = " or ".join(f"{scheme}://host[:port][/path]" for scheme in schemes)
        if not isinstance(value, str):
            raise Wrong(f"a URL, {wanted}")
        try:
            parts = urlsplit(value)
            usable = (
                parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            usable = False
        if not usable:
            raise Wrong(f"a URL, {wanted}")
        return value

    return parse


def base58_32(what: str) -> Callable[[object], str]:
    """Return a reader of 32 bytes in base58: an address, a mint, a genesis hash."""

    def parse(value: object) -> str:
        from chain.addresses import parse_address  # loads solders, which only a command with a config needs

        try:
            return parse_address(value if isinstance(value, str) else "")
        except ValueError as error:
            raise Wrong(f"{what}, 32 bytes in base58 ({error})") from None

    return parse
