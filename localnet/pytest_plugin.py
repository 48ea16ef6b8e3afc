"""pytest fixtures: a fresh Solana per test.

Owns: the fixtures `validator`, `funded_keypair`, `token_mint`, their factories, and the marker
`localnet`. Loaded by pytest itself through the entry point of the distribution.

    def test_transfer(validator, funded_keypair):
        ...  # validator.rpc_url, validator.ws_url, validator.advance()

    @pytest.mark.localnet(slot_ms=50)  # the keyword arguments of localnet.Validator
    async def test_on_a_clock(validator): ...

Rules: nothing but pytest is imported before a fixture is used, so a run without them pays nothing. Every
validator runs in a thread of its own and stops with its test; sync and async tests use it alike. Must not
know: the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from solders.keypair import Keypair

    from localnet import Validator
    from localnet.validator import Mint

FUNDED_LAMPORTS = 10_000_000_000  # 10 SOL


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, so that it passes --strict-markers."""
    config.addinivalue_line(
        "markers", "localnet(**options): keyword arguments of localnet.Validator for the validator fixture"
    )


@pytest.fixture
def validator_factory() -> Iterator[Callable[..., Validator]]:
    """Make running validators: `validator_factory(slot_ms=50)`. All stop with the test."""
    from localnet import Validator

    with ExitStack() as stack:

        def make(**options: Any) -> Validator:
            return stack.enter_context(Validator(**{"rpc_port": 0, "ws_port": 0} | options))

        yield make


@pytest.fixture
def validator(request: pytest.FixtureRequest, validator_factory: Callable[..., Validator]) -> Validator:
    """A running validator on free ports, advanced by hand without the marker `localnet(slot_ms=...)`."""
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("localnet"))):
        if marker.args:
            raise pytest.UsageError("the marker localnet takes keyword arguments only")
        options |= marker.kwargs
    return validator_factory(**options)


@pytest.fixture
def funded_keypair_factory(validator: Validator) -> Callable[..., Keypair]:
    """Make keypairs with SOL: `funded_keypair_factory(lamports=5_000_000_000)`; 10 SOL by default."""
    from solders.keypair import Keypair

    def make(lamports: int = FUNDED_LAMPORTS) -> Keypair:
        keypair = Keypair()
        # settled, so that it can pay at any commitment, also on a clock
        validator.airdrop(keypair.pubkey(), lamports, settle=True)
        return keypair

    return make


@pytest.fixture
def funded_keypair(funded_keypair_factory: Callable[..., Keypair]) -> Keypair:
    """A keypair with 10 SOL."""
    return funded_keypair_factory()


@pytest.fixture
def token_mint_factory(validator: Validator) -> Callable[..., Mint]:
    """Make token mints: `token_mint_factory(decimals=9)`, with the arguments of `Validator.create_mint`."""
    return partial(validator.create_mint, settle=True)


@pytest.fixture
def token_mint(token_mint_factory: Callable[..., Mint]) -> Mint:
    """A mint with 6 decimals whose authority the validator holds."""
    return token_mint_factory()
