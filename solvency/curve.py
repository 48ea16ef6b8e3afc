"""The half of the curve library that makes proofs: blinded commitments and range proofs.

Owns: the randomized proving context and the guards around ctypes. The verifying half, every constant
included, is in `verifier.py`. Rule: the nonce of every range proof is fresh randomness. The library derives
the proof's inner secrets from nonce and commitment but not from the bound text, so one nonce under two texts
would reveal the amount.
"""

from __future__ import annotations

import ctypes
import secrets

from solvency import verifier
from solvency.verifier import CURVE_ORDER, H_STRUCT, MAX_U64, POINT_SIZE, PROOF_PREFIX, PROOF_SIZE

_P, _SIZE, _U64, _BYTES, _INT = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_uint64,
    ctypes.c_char_p,
    ctypes.c_int,
)
_LIB = verifier.bind(
    {
        "context_create": (_P, [ctypes.c_uint]),
        "context_randomize": (_INT, [_P, _BYTES]),
        "pedersen_commit": (_INT, [_P, _BYTES, _BYTES, _U64, _BYTES]),
        "pedersen_commitment_parse": (_INT, [_P, _BYTES, _BYTES]),
        "pedersen_commitment_serialize": (_INT, [_P, _BYTES, _BYTES]),
        "rangeproof_sign": (
            _INT,
            [_P, _BYTES, ctypes.POINTER(_SIZE), _U64, _BYTES, _BYTES, _BYTES, _INT, _INT, _U64]
            + [_BYTES, _SIZE, _BYTES, _SIZE, _BYTES],
        ),
    }
)
_CONTEXT = _P(_LIB.secp256k1_context_create(0x301))
_LIB.secp256k1_context_randomize(_CONTEXT, secrets.token_bytes(32))


class ProverFault(RuntimeError):
    """Say that the prover was about to publish something false or could not prove something true."""


def _check(value: int, blinding: int) -> None:
    # ctypes cuts integers to 64 bits in silence; a value that does not fit must stop here. The value itself
    # stays out of the message.
    if not 0 <= value <= MAX_U64:
        raise ProverFault("a committed value does not fit 64 bits")
    if not 0 < blinding < CURVE_ORDER:
        raise ProverFault("a blinding is zero or not below the curve order")


def commitment(value: int, blinding: int) -> bytes:
    """Return the 33 bytes of value × H + blinding × G; refuse what does not fit."""
    _check(value, blinding)
    raw, wire = ctypes.create_string_buffer(64), ctypes.create_string_buffer(POINT_SIZE)
    if not _LIB.secp256k1_pedersen_commit(_CONTEXT, raw, blinding.to_bytes(32, "big"), value, H_STRUCT):
        raise ProverFault("the curve library refused a commitment")
    _LIB.secp256k1_pedersen_commitment_serialize(_CONTEXT, wire, raw)
    return wire.raw


def range_proof(value: int, blinding: int, wire: bytes, binding: bytes) -> bytes:
    """Prove that `wire` commits to a value in [0, 2^64); 5,126 bytes bound to `binding`."""
    _check(value, blinding)
    room = PROOF_SIZE + 8
    raw, proof, size = ctypes.create_string_buffer(64), ctypes.create_string_buffer(room), _SIZE(room)
    nonce = secrets.token_bytes(32)
    parsed = _LIB.secp256k1_pedersen_commitment_parse(_CONTEXT, raw, wire)
    if not parsed or not _LIB.secp256k1_rangeproof_sign(
        _CONTEXT, proof, ctypes.byref(size), 0, raw, blinding.to_bytes(32, "big"), nonce,
        0, 64, value, None, 0, binding, len(binding), H_STRUCT,
    ):  # fmt: skip
        raise ProverFault("the curve library refused a range proof")
    made = proof.raw[: size.value]
    if len(made) != PROOF_SIZE or made[:2] != PROOF_PREFIX:
        raise ProverFault("a range proof came out with other parameters")
    return made


def self_test() -> None:
    """Prove, verify and tamper once on this machine; raise UnsupportedPlatform if anything is off."""
    wire, text = commitment(2**63 + 1, 7), b"self-test"
    proof = range_proof(2**63 + 1, 7, wire, text)
    broken = proof[:-1] + bytes((proof[-1] ^ 1,))
    if (
        not verifier.proof_holds(wire, proof, text)
        or verifier.proof_holds(wire, broken, text)
        or verifier.proof_holds(wire, proof, b"self-tesu")
        or verifier.proof_holds(commitment(2**63 + 2, 7), proof, text)
    ):
        raise verifier.UnsupportedPlatform(
            "the curve library failed the proving self-test; expected wallycore 1.5.6"
        )


self_test()
