"""The traps of the design and of the library, each with its number."""

from __future__ import annotations

import ast
import ctypes
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from solvency import curve, prover, tree, verifier
from solvency.verifier import CURVE_ORDER, MAX_U64, UnsupportedPlatform
from tests.solvency import forge

PACKAGE = Path(verifier.__file__).parent


def test_ctypes_cuts_integers_in_silence_and_we_do_not() -> None:
    """The trap itself, shown: the bare library takes 2^64 + 5 for 5."""
    raw, other = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    bare = curve._LIB.secp256k1_pedersen_commit
    blinding = (7).to_bytes(32, "big")
    assert bare(curve._CONTEXT, raw, blinding, 2**64 + 5, verifier.H_STRUCT)
    assert bare(curve._CONTEXT, other, blinding, 5, verifier.H_STRUCT)
    assert raw.raw == other.raw
    for value in (-1, 2**64, 2**64 + 5, CURVE_ORDER):
        with pytest.raises(prover.ProverFault):
            curve.commitment(value, 7)
        with pytest.raises(prover.ProverFault):
            curve.range_proof(value, 7, verifier.GENERATOR_H, b"")
        with pytest.raises(ValueError, match="64 bits"):
            verifier.commit(value, 7)
    for blinding_value in (0, CURVE_ORDER, -1, 2**256):
        with pytest.raises(prover.ProverFault):
            curve.commitment(1, blinding_value)


def test_a_sum_of_the_tree_past_64_bits_stops_the_prover() -> None:
    leaves = [(bytes((i,)) * 32, MAX_U64 // 2 + 1, i + 1) for i in range(2)]
    with pytest.raises(prover.ProverFault, match="does not fit"):
        tree.build(b"c" * 32, 0, leaves)
    full = [(bytes((i,)) * 32, MAX_U64 // 2 + i, i + 1) for i in range(2)]
    assert tree.build(b"c" * 32, 0, full).root[2] == MAX_U64


def test_leaves_must_be_padded() -> None:
    with pytest.raises(prover.ProverFault, match="not padded"):
        tree.build(b"c" * 32, 0, [(bytes((i,)) * 32, 1, i + 1) for i in range(3)])
    assert [tree.padded_size(n) for n in (0, 1, 2, 3, 4, 5, 1000)] == [1, 1, 2, 4, 4, 8, 1024]


def test_chunks_and_workers_build_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = [(hashlib.sha256(bytes((i,))).digest(), i, i + 1) for i in range(64)]
    whole = tree.build(b"c" * 32, 0, list(leaves))
    monkeypatch.setattr(tree, "CHUNK_DEPTH", 2)
    seen: list[tuple[str, int, int]] = []
    chunked = tree.build(b"c" * 32, 0, list(leaves), progress=lambda *step: seen.append(step))
    assert whole == chunked
    assert seen[-1] == ("tree 0", 64, 64)
    assert len(seen) == 16


def test_the_proof_says_zero_to_two_to_the_64() -> None:
    """exp = 0, min = 0, max = 2^64 − 1, in the first two bytes and in the library's own answer."""
    for value in (0, 1, MAX_U64):
        wire = curve.commitment(value, 3)
        proof = curve.range_proof(value, 3, wire, b"t")
        assert (len(proof), proof[:2]) == (verifier.PROOF_SIZE, b"\x40\x3f")
        assert verifier.proof_holds(wire, proof, b"t")
        assert not verifier.proof_holds(wire, proof + b"\x00", b"t")
        assert not verifier.proof_holds(wire, proof[:-1], b"t")
        assert not verifier.proof_holds(curve.commitment(value, 4), proof, b"t")


def test_points_are_what_the_library_says() -> None:
    """Addition, negation and scaling agree with commitments, whose arithmetic is plain integers."""
    for a, r, b, s, k in ((1, 2, 3, 4, 5), (MAX_U64 // 3, CURVE_ORDER - 1, 7, 2, 2), (0, 5, 0, 6, 9)):
        total = verifier.add_points([verifier.commit(a, r), verifier.commit(b, s)])
        assert total == verifier.commit(a + b, (r + s) % CURVE_ORDER)
        assert verifier.multiply_point(verifier.commit(a, r), k) == verifier.commit(
            a * k, r * k % CURVE_ORDER
        )
    point = verifier.commit(5, 6)
    assert verifier.add_points([point, verifier.negate_point(point)]) is None
    assert verifier.add_points([]) is None
    assert verifier.add_points([None, point, None]) == point
    assert verifier.multiply_point(point, 0) is None
    assert verifier.multiply_point(None, 5) is None
    assert verifier.negate_point(None) is None
    assert verifier.commit(0, 0) is None


def test_nobody_knows_the_logarithm_of_h() -> None:
    """H's x is the hash of G, and its y is a point of the curve that is no square."""
    assert hashlib.sha256(verifier.GENERATOR_G).digest() == verifier.GENERATOR_H[1:]
    p = 2**256 - 2**32 - 977
    x, y = int.from_bytes(verifier.H_STRUCT[:32], "big"), int.from_bytes(verifier.H_STRUCT[32:], "big")
    assert (y * y - x**3 - 7) % p == 0
    assert pow(y, (p - 1) // 2, p) == p - 1
    exported = ctypes.c_void_p.in_dll(curve._LIB, "secp256k1_generator_h")
    assert exported.value is not None
    assert ctypes.string_at(exported.value, 64) == verifier.H_STRUCT


def test_weak_keys_are_the_points_of_small_order() -> None:
    """8 × P is the identity for each of them: arithmetic of edwards25519 in plain integers."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p

    def add(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
        (x1, y1), (x2, y2) = one, two
        t = d * x1 * x2 * y1 * y2
        x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, p)
        y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, p)
        return x % p, y % p

    def decode(y: int) -> tuple[int, int] | None:
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = pow(square, (p + 3) // 8, p)
        if (x * x - square) % p:
            x = x * pow(2, (p - 1) // 4, p) % p
        return None if (x * x - square) % p else (x, y)

    found = set()
    for key in verifier._WEAK_KEYS:
        point = decode(int.from_bytes(key, "little"))
        assert point is not None
        for _ in range(3):
            point = add(point, point)
        assert point == (0, 1)
        found.add(key)
    assert len(found) == 5  # y = 1, −1, 0 and two of order 8; the sign of x gives the other three


def test_the_import_says_clearly_what_is_missing() -> None:
    with pytest.raises(UnsupportedPlatform, match=r"hides the curve functions.*wallycore 1\.5\.6"):
        verifier.bind({"no_such_function": (ctypes.c_int, [])})


def test_the_import_says_clearly_that_the_wheel_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedPlatform, match=r"pip install wallycore==1\.5\.6"):
        verifier.bind({})


def test_the_self_tests_fail_on_a_library_that_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "proof_holds", lambda *_: True)
    with pytest.raises(UnsupportedPlatform, match="self-test"):
        verifier.self_test()
    with pytest.raises(UnsupportedPlatform, match="self-test"):
        curve.self_test()


def test_the_verifier_stands_alone() -> None:
    """One file, wallycore and cryptography: it runs where this project is not installed."""
    imports = set()
    for node in ast.walk(ast.parse((PACKAGE / "verifier.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imports |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imports.add((node.module or "").split(".")[0])
    assert imports - set(sys.stdlib_module_names) == {"cryptography"}


def test_the_verifier_runs_as_a_file(tmp_path: Path) -> None:
    copy, bundle = tmp_path / "verifier.py", tmp_path / "bundle"
    copy.write_bytes((PACKAGE / "verifier.py").read_bytes())
    bundle.write_bytes(forge.honest()[1])
    run = subprocess.run(
        [sys.executable, "-P", str(copy), str(bundle)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("valid: epoch 1, sequence 1000, slot 5000")


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_the_package_imports_nothing_of_ours(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            root = name.split(".")[0]
            assert root in {"solvency", "cryptography", "msgspec"} or root in sys.stdlib_module_names
            assert root not in {
                "engine",
                "chain",
                "localnet",
                "daemon",
                "time",
                "logging",
                "sqlite3",
            }


def test_no_clock_is_read() -> None:
    for path in PACKAGE.glob("*.py"):
        text = path.read_text("utf-8")
        assert not [call for call in (".now(", ".today(", ".utcnow(", "time.time") if call in text], path


def test_the_wheel_is_the_one_whose_symbols_we_know() -> None:
    """Private symbols: another version may mean something else by them."""
    from importlib.metadata import version

    assert version("wallycore") == "1.5.6"
