"""A file that holds one secret, encrypted: scrypt makes the key, AES-256-GCM the cipher.

Owns: the format, writing it whole or not at all, and reading it with clear errors. Must not know: what the
secret is for (`kind` is a label: "seed" or "keypair").

Rules (K1): the file is 0600 and refused if others can read it; an existing file is never overwritten without
being asked; the parameters are authenticated with the secret, so a changed file does not open; what a file
asks of memory and time is bounded before it is done. A wrong passphrase and a damaged file cannot be told
apart by AES-GCM, and the error says so.

Format, JSON: {"version": 1, "kind": ..., "scrypt": {"n", "r", "p", "salt"}, "aes_256_gcm": {"nonce",
"ciphertext"}}, bytes in base64. The associated data is the same object without the ciphertext, as written by
msgspec.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from chain.errors import ChainError
from chain.signer import Secret

VERSION = 1
DEFAULT_SCRYPT_N = 2**17  # 128 MiB and about half a second: OWASP's recommendation of 2023
SMALLEST_SCRYPT_N = 2**14  # 16 MiB; less would make a stolen file cheap to search
LARGEST_SCRYPT_N = 2**20  # 1 GiB; a file must not be able to ask for more
SCRYPT_R = 8
SCRYPT_P = 1
SALT_BYTES = 16
NONCE_BYTES = 12
LARGEST_FILE_BYTES = 65_536


class KeystoreError(ChainError):
    """A keystore file could not be opened or written; says what to do about it."""


class _Scrypt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    n: int
    r: int
    p: int
    salt: bytes


class _Cipher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nonce: bytes
    ciphertext: bytes


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    kind: str
    scrypt: _Scrypt
    aes_256_gcm: _Cipher


def write_keystore(
    path: Path,
    secret: Secret,
    passphrase: Secret,
    *,
    kind: str,
    replace: bool = False,
    scrypt_n: int = DEFAULT_SCRYPT_N,
) -> None:
    """Encrypt `secret` into `path`: 0600, synced to disk, whole or not at all.

    Raises KeystoreError if the passphrase is empty, if the file exists and `replace` is false, or if it
    cannot be written.
    """
    if not len(passphrase):
        raise KeystoreError("a keystore needs a passphrase; an empty one protects nothing")
    if not len(secret):
        raise KeystoreError("there is nothing to keep: the secret is empty")
    parameters = _Scrypt(scrypt_n, SCRYPT_R, SCRYPT_P, secrets.token_bytes(SALT_BYTES))
    _check_parameters(path, parameters)
    header = _File(VERSION, kind, parameters, _Cipher(secrets.token_bytes(NONCE_BYTES), b""))
    ciphertext = _cipher(header, passphrase).encrypt(
        header.aes_256_gcm.nonce, secret.reveal(), _associated_data(header)
    )
    sealed = msgspec.structs.replace(header, aes_256_gcm=_Cipher(header.aes_256_gcm.nonce, ciphertext))
    _write_whole(path, msgspec.json.format(msgspec.json.encode(sealed)) + b"\n", replace)


def read_keystore(path: Path, passphrase: Secret, *, kind: str) -> Secret:
    """Decrypt the secret in `path`.

    Raises KeystoreError if the file is missing, readable by others, of another format or kind, if it asks
    for too little or too much work, or if the passphrase does not open it.
    """
    file = _read_file(path)
    if file.kind != kind:
        raise KeystoreError(f"{path} holds a {file.kind!r}, but a {kind!r} is needed here")
    _check_parameters(path, file.scrypt)
    try:
        return Secret(
            _cipher(file, passphrase).decrypt(
                file.aes_256_gcm.nonce, file.aes_256_gcm.ciphertext, _associated_data(file)
            )
        )
    except (InvalidTag, ValueError):
        pass
    raise KeystoreError(f"{path} does not open: the passphrase is wrong, or the file was changed or damaged")


def _read_file(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise KeystoreError(f"{path} can be read by others; run: chmod 600 {path}")
            data = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise KeystoreError(f"{path} cannot be read: {error.strerror}") from None
    try:
        file_ = msgspec.json.decode(data, type=_File)
    except msgspec.MsgspecError as error:
        raise KeystoreError(f"{path} is not a keystore file: {error}") from None
    if file_.version != VERSION:
        raise KeystoreError(f"{path} is of version {file_.version}; this program reads version {VERSION}")
    return file_


def _check_parameters(path: Path, scrypt: _Scrypt) -> None:
    n_is_sound = SMALLEST_SCRYPT_N <= scrypt.n <= LARGEST_SCRYPT_N and scrypt.n & (scrypt.n - 1) == 0
    if not n_is_sound or scrypt.r != SCRYPT_R or scrypt.p != SCRYPT_P or len(scrypt.salt) != SALT_BYTES:
        raise KeystoreError(
            f"{path}: scrypt n={scrypt.n} r={scrypt.r} p={scrypt.p} with {len(scrypt.salt)} bytes of salt is "
            f"not acceptable; n must be a power of two from {SMALLEST_SCRYPT_N} to {LARGEST_SCRYPT_N}, "
            f"r {SCRYPT_R}, p {SCRYPT_P}, salt {SALT_BYTES} bytes"
        )


def _cipher(file: _File, passphrase: Secret) -> AESGCM:
    scrypt = file.scrypt
    return AESGCM(
        Scrypt(salt=scrypt.salt, length=32, n=scrypt.n, r=scrypt.r, p=scrypt.p).derive(passphrase.reveal())
    )


def _associated_data(file: _File) -> bytes:
    return msgspec.json.encode(
        msgspec.structs.replace(file, aes_256_gcm=_Cipher(file.aes_256_gcm.nonce, b""))
    )


def _write_whole(path: Path, data: bytes, replace: bool) -> None:
    """Write beside the file, sync, then give it its name: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                path.hardlink_to(temporary)  # unlike a rename, refuses to overwrite
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise KeystoreError(f"{path} exists and is not overwritten; choose another name") from None
    except OSError as error:
        raise KeystoreError(f"{path} cannot be written: {error.strerror}") from None
