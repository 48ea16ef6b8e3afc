"""What the tests of signers and keystores share: secrets, the forms they could leak in, full tracebacks."""

from __future__ import annotations

import base64
import traceback

from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

SEED = bytes(range(64))
PAIR = Keypair.from_seed(bytes(range(100, 132)))
MESSAGE = b"a message"


def forms_of(secret: bytes) -> list[str]:
    """Every text a key is likely to leak as."""
    return [
        secret.hex(),
        repr(secret),
        repr(list(secret))[1:-1],
        base64.b64encode(secret).decode(),
        str(Keypair.from_bytes(secret)) if len(secret) == 64 and secret == bytes(PAIR) else secret.hex(),
    ]


SECRETS = {
    "seed": forms_of(SEED),
    "keypair": forms_of(bytes(PAIR)) + forms_of(bytes(PAIR)[:32]),
    "passphrase": ["correct horse battery"],
}


def assert_silent(text: str) -> None:
    for name, forms in SECRETS.items():
        for form in forms:
            assert form not in text, f"the {name} shows in: {text[:400]}"


def verifies(signature: bytes, address: str, message: bytes = MESSAGE) -> bool:
    return Signature.from_bytes(signature).verify(Pubkey.from_string(address), message)


def full_traceback(error: BaseException) -> str:
    """The error, its causes, and every local of every frame of the package, as error reporters print them."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    parts, chained = [], [report]
    for each in chained:
        ours = [
            frame for frame in each.stack if "/chain/" in frame.filename and "/tests/" not in frame.filename
        ]
        parts += [*each.format_exception_only(), *traceback.StackSummary.from_list(ours).format()]
        chained += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
    assert "chain/" in "".join(parts), "no frame of the package: this check would see nothing"
    return "".join(parts)
