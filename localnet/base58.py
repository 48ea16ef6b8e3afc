"""Base58 for byte strings of any length (solders offers it for 32 and 64 bytes only).

Owns: the two functions. Rules: Bitcoin's alphabet; leading zero bytes are leading "1"s. Must not know:
anything else.
"""

from __future__ import annotations

from typing import Final

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}


def encode(data: bytes) -> str:
    """Print bytes in base58."""
    stripped = data.lstrip(b"\0")
    number = int.from_bytes(stripped, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(ALPHABET[digit])
    return "1" * (len(data) - len(stripped)) + "".join(reversed(digits))


def decode(text: str) -> bytes:
    """Read base58. Raises ValueError as `bs58` prints it when a character is not of the alphabet."""
    number = 0
    for index, character in enumerate(text):
        value = _VALUES.get(character)
        if value is None:
            if ord(character) > 127:
                raise ValueError(f"NonAsciiCharacter {{ index: {index} }}")
            raise ValueError(f"InvalidCharacter {{ character: '{character}', index: {index} }}")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
