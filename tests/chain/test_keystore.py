"""The keystore opens for its passphrase, for nothing else, and shows nothing (K1)."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.keystore import KeystoreError, read_keystore, write_keystore
from chain.signer import Secret

from .secrecy import SEED, assert_silent, full_traceback

SMALL_N = 2**14
PASSPHRASE = Secret("correct horse battery")


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "seed.json"
    write_keystore(path, Secret(SEED), PASSPHRASE, kind="seed", scrypt_n=SMALL_N)
    return path


def test_k1_a_keystore_gives_back_what_was_put_in(keystore: Path) -> None:
    seed = read_keystore(keystore, PASSPHRASE, kind="seed")
    assert seed == Secret(SEED)
    assert stat.S_IMODE(keystore.stat().st_mode) == 0o600
    assert_silent(keystore.read_text())
    assert [path.name for path in keystore.parent.iterdir()] == ["seed.json"], "no temporary file stays"


def test_k1_two_keystores_of_one_secret_share_nothing(keystore: Path) -> None:
    other = keystore.with_name("other.json")
    write_keystore(other, Secret(SEED), PASSPHRASE, kind="seed", scrypt_n=SMALL_N)
    one, two = json.loads(keystore.read_text()), json.loads(other.read_text())
    assert one["scrypt"]["salt"] != two["scrypt"]["salt"]
    assert one["aes_256_gcm"] != two["aes_256_gcm"]


def test_k1_a_wrong_passphrase_says_so_and_shows_nothing(keystore: Path) -> None:
    with pytest.raises(KeystoreError, match="does not open: the passphrase is wrong") as caught:
        read_keystore(keystore, Secret("wrong horse battery"), kind="seed")
    text = full_traceback(caught.value)
    assert_silent(text)
    assert "wrong horse" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["aes_256_gcm"].update(ciphertext="A" * 20), "damaged"),
        (lambda d: d["scrypt"].update(n=2**15), "damaged"),
        (lambda d: d["scrypt"].update(n=2**10), "not acceptable"),
        (lambda d: d["scrypt"].update(n=2**30), "not acceptable"),
        (lambda d: d["scrypt"].update(n=2**15 + 1), "not acceptable"),
        (lambda d: d["scrypt"].update(salt="AAAA"), "not acceptable"),
        (lambda d: d["aes_256_gcm"].update(nonce="AAAA"), "damaged"),
        (lambda d: d.update(kind="keypair"), "holds a 'keypair', but a 'seed' is needed"),
        (lambda d: d.update(version=2), "version 2; this program reads version 1"),
        (lambda d: d.update(extra=1), "is not a keystore file"),
        (lambda d: d.clear(), "is not a keystore file"),
    ],
)  # fmt: skip
def test_k1_a_changed_keystore_does_not_open(
    keystore: Path, change: Callable[[dict[str, dict[str, object]]], object], words: str
) -> None:
    data = json.loads(keystore.read_text())
    change(data)
    keystore.write_text(json.dumps(data))
    with pytest.raises(KeystoreError, match=words) as caught:
        read_keystore(keystore, PASSPHRASE, kind="seed")
    assert_silent(full_traceback(caught.value))


def test_k1_the_label_of_a_keystore_is_authenticated(keystore: Path) -> None:
    data = json.loads(keystore.read_text())
    data["kind"] = "keypair"
    keystore.write_text(json.dumps(data))
    with pytest.raises(KeystoreError, match="was changed or damaged"):
        read_keystore(keystore, PASSPHRASE, kind="keypair")


def test_k1_a_keystore_others_can_read_is_refused(keystore: Path) -> None:
    keystore.chmod(0o640)
    with pytest.raises(KeystoreError, match="chmod 600"):
        read_keystore(keystore, PASSPHRASE, kind="seed")


def test_a_keystore_is_not_overwritten_unless_asked(keystore: Path) -> None:
    before = keystore.read_bytes()
    with pytest.raises(KeystoreError, match="exists and is not overwritten") as caught:
        write_keystore(keystore, Secret(SEED), PASSPHRASE, kind="seed", scrypt_n=SMALL_N)
    assert_silent(full_traceback(caught.value))
    assert keystore.read_bytes() == before
    write_keystore(keystore, Secret(b"x"), PASSPHRASE, kind="seed", scrypt_n=SMALL_N, replace=True)
    assert read_keystore(keystore, PASSPHRASE, kind="seed") == Secret(b"x")
    assert len(list(keystore.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("secret", "passphrase", "n", "words"),
    [
        (Secret(SEED), Secret(""), SMALL_N, "an empty one protects nothing"),
        (Secret(""), PASSPHRASE, SMALL_N, "the secret is empty"),
        (Secret(SEED), PASSPHRASE, 1024, "n must be a power of two from 16384"),
    ],
)
def test_a_keystore_that_would_protect_nothing_is_not_written(
    tmp_path: Path, secret: Secret, passphrase: Secret, n: int, words: str
) -> None:
    with pytest.raises(KeystoreError, match=words):
        write_keystore(tmp_path / "k", secret, passphrase, kind="seed", scrypt_n=n)
    assert not list(tmp_path.iterdir())


def test_a_keystore_in_a_missing_folder_or_of_a_missing_name_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="cannot be written: No such file"):
        write_keystore(tmp_path / "no" / "k", Secret(SEED), PASSPHRASE, kind="seed", scrypt_n=SMALL_N)
    with pytest.raises(KeystoreError, match="cannot be read: No such file"):
        read_keystore(tmp_path / "k", PASSPHRASE, kind="seed")
