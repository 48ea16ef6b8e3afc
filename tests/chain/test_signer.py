"""Signers sign, refuse what is not theirs, and never show a key (K1)."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from solders.keypair import Keypair

from chain.addresses import DepositKeys
from chain.signer import ExternalSigner, KeypairSigner, Secret, SeedSigner, Signer, SignerError

from .secrecy import MESSAGE, PAIR, SEED, assert_silent, full_traceback, verifies

SIGNERS: list[Callable[[], Signer]] = [
    lambda: SeedSigner(DepositKeys(SEED), [(7, 0), (7, 1)]),
    lambda: KeypairSigner(PAIR),
]


@pytest.mark.parametrize("make", SIGNERS)
async def test_k1_a_signer_signs_for_its_addresses_and_for_no_other(make: Callable[[], Signer]) -> None:
    signer = make()
    assert isinstance(signer, Signer)
    for address in signer.addresses():
        assert verifies(await signer.sign(MESSAGE, address), address)
    stranger = str(Keypair().pubkey())
    with pytest.raises(SignerError, match=f"does not hold the key of {stranger}") as caught:
        await signer.sign(MESSAGE, stranger)
    assert caught.value.retry_safe


async def test_k1_a_seed_signs_only_for_paths_that_were_named() -> None:
    keys = DepositKeys(SEED)
    signer = SeedSigner(keys, [(7, 0)])
    with pytest.raises(SignerError):
        await signer.sign(MESSAGE, keys.address(8, 0))
    assert signer.add(8, 0) == keys.address(8, 0)
    assert verifies(await signer.sign(MESSAGE, keys.address(8, 0)), keys.address(8, 0))
    assert signer.addresses() == (keys.address(7, 0), keys.address(8, 0))


@pytest.mark.parametrize(
    "make", [*SIGNERS, lambda: Secret(SEED), lambda: Secret(bytes(PAIR)), lambda: DepositKeys(SEED)]
)
def test_k1_no_repr_log_or_format_shows_a_key(
    make: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    holder = make()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning("%s %r %s", holder, holder, [holder])
    parts = [
        caplog.text,
        f"{holder} {holder!r} {holder:}",
        repr(getattr(holder, "__dict__", {})),
        repr(
            [
                getattr(holder, name, None)
                for name in getattr(type(holder), "__slots__", ())
                if name != "_seed"
            ]
        ),
    ]
    for text in parts:
        assert_silent(text)


@pytest.mark.parametrize("make", [*SIGNERS, lambda: Secret(SEED), lambda: ExternalSigner(["x"], ["y"])])
@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy])
def test_k1_keys_are_not_pickled_or_copied(
    make: Callable[[], object], copier: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="not pickled or copied") as caught:
        copier(make())
    assert_silent(str(caught.value))


@pytest.mark.parametrize("make", SIGNERS)
async def test_k1_no_traceback_shows_a_key(make: Callable[[], Signer]) -> None:
    with pytest.raises(SignerError) as caught:
        await make().sign(MESSAGE, "11111111111111111111111111111112")
    assert_silent(full_traceback(caught.value))


def test_k1_a_bad_key_is_refused_without_showing_it() -> None:
    broken = Secret(bytes(PAIR)[:32] + bytes(32))
    with pytest.raises(SignerError, match="not 64 bytes of an ed25519 key pair") as caught:
        KeypairSigner(broken)
    assert_silent(full_traceback(caught.value))


def test_secrets_compare_without_showing() -> None:
    assert Secret("abc") == Secret(b"abc")
    assert Secret("abc") != Secret("abd")
    assert Secret("abc") != b"abc"
    assert len(Secret("abc")) == 3
    assert Secret("abc").reveal() == b"abc"
    with pytest.raises(TypeError):
        hash(Secret("abc"))


# A keypair file, as Solana's command line writes it -------------------------------------------------------


async def test_a_keypair_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "id.json"
    path.write_text(json.dumps(list(bytes(PAIR))))
    path.chmod(0o600)
    signer = KeypairSigner.from_file(path)
    assert signer.addresses() == (str(PAIR.pubkey()),)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (json.dumps(list(bytes(PAIR))), 0o644, "chmod 600"),
        (json.dumps(list(bytes(PAIR))[:40]), 0o600, "64 bytes"),
        ("{}", 0o600, "a JSON list of 64 numbers is expected"),
        ("[300]", 0o600, "a JSON list of 64 numbers is expected"),
        (None, 0o600, "cannot be read: No such file"),
    ],
)
def test_k1_a_keypair_file_that_cannot_be_used_says_why(
    tmp_path: Path, content: str | None, mode: int, words: str
) -> None:
    path = tmp_path / "id.json"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(SignerError, match=words) as caught:
        KeypairSigner.from_file(path)
    assert_silent(full_traceback(caught.value))


# Another program ------------------------------------------------------------------------------------------

PROGRAM = """
import json, sys, base64
from solders.keypair import Keypair
pair = Keypair.from_seed(bytes(range(100, 132)))
question = json.loads(sys.stdin.readline())
assert question["version"] == 1
MODE = sys.argv[1]
if MODE == "refuse":
    print(json.dumps({"error": "over the limit of the day"}))
elif MODE == "crash":
    print("secret on stdout"); print("secret on stderr", file=sys.stderr); sys.exit(3)
elif MODE == "sleep":
    import time; time.sleep(60)
elif MODE == "flood":
    print("x" * 2_000_000)
elif question["question"] == "addresses":
    print(json.dumps({"addresses": {"none": [], "bad": ["0OIl"]}.get(MODE, [str(pair.pubkey())])}))
elif question["question"] == "sign":
    message = base64.b64decode(question["message"])
    assert question["address"] == str(pair.pubkey())
    signed = bytes((Keypair() if MODE == "other key" else pair).sign_message(message))
    if MODE == "short": signed = signed[:10]
    text = "!!!" if MODE == "no base64" else base64.b64encode(signed).decode()
    print(json.dumps({"signature": text}))
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], list[str]]:
    path = tmp_path / "signer.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return lambda mode: [sys.executable, str(path), mode]


async def test_k1_an_external_program_signs(program: Callable[[str], list[str]]) -> None:
    signer = await ExternalSigner.start(program("ok"))
    assert isinstance(signer, Signer)
    assert signer.addresses() == (str(PAIR.pubkey()),)
    assert verifies(await signer.sign(MESSAGE, str(PAIR.pubkey())), str(PAIR.pubkey()))
    with pytest.raises(SignerError, match="does not hold the key"):
        await signer.sign(MESSAGE, str(Keypair().pubkey()))


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("refuse", "refused: over the limit of the day"),
        ("crash", "ended with status 3 and no JSON answer"),
        ("sleep", r"did not answer in 0\.5 s"),
        ("flood", "that is no signature"),
        ("other key", "a signature that is not of this key and message"),
        ("short", "gave 10 bytes; a signature has 64"),
        ("no base64", "gave 0 bytes; a signature has 64"),
    ],
)
async def test_k1_an_external_program_that_misbehaves_is_a_clear_error(
    program: Callable[[str], list[str]], mode: str, words: str
) -> None:
    timeout_s = 0.5 if mode == "sleep" else 20.0
    signer = ExternalSigner(program(mode), [str(PAIR.pubkey())], timeout_s)
    with pytest.raises(SignerError, match=words) as caught:
        await signer.sign(MESSAGE, str(PAIR.pubkey()))
    assert "secret on" not in full_traceback(caught.value)


@pytest.mark.parametrize(
    ("mode", "words"), [("none", "names no addresses"), ("bad", "base58"), ("crash", "no JSON answer")]
)
async def test_an_external_program_must_name_real_addresses(
    program: Callable[[str], list[str]], mode: str, words: str
) -> None:
    with pytest.raises(SignerError, match=words):
        await ExternalSigner.start(program(mode))


async def test_an_external_program_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="cannot be started: No such file"):
        await ExternalSigner.start([str(tmp_path / "missing")])
    with pytest.raises(ValueError, match="needs a command"):
        ExternalSigner([], [])
