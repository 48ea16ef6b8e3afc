"""The pytest plugin as a user meets it: in a pytest of its own, found through the entry point."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest_plugins = ["pytester"]

SETTINGS = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
addopts = --strict-markers
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Run a test file in a pytest process of its own."""
    pytester.makefile(".ini", pytest=SETTINGS)

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-q", "-W", "error", *arguments)

    return run


def test_fixtures_in_sync_and_async_tests(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import json, urllib.request
        from solana.rpc.async_api import AsyncClient

        def ask(url, method, *params):
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["result"]

        def test_sync(validator, funded_keypair):
            balance = ask(validator.rpc_url, "getBalance", str(funded_keypair.pubkey()))
            assert balance["value"] == 10_000_000_000

        async def test_async(validator, funded_keypair, token_mint):
            async with AsyncClient(validator.rpc_url) as client:
                assert (await client.get_balance(funded_keypair.pubkey())).value == 10_000_000_000
                assert (await client.get_token_supply(token_mint.address)).value.decimals == 6

        def test_factories(validator, funded_keypair_factory, token_mint_factory):
            poor = funded_keypair_factory(2_000_000)
            rich = funded_keypair_factory(lamports=5_000_000_000)
            assert poor != rich
            assert ask(validator.rpc_url, "getBalance", str(poor.pubkey()))["value"] == 2_000_000
            mint = token_mint_factory(decimals=9)
            account = validator.mint_to(mint, rich.pubkey(), 77)
            assert ask(validator.rpc_url, "getTokenAccountBalance", str(account))["value"]["amount"] == "77"

        def test_each_test_has_a_chain_of_its_own(validator):
            assert ask(validator.rpc_url, "getTransactionCount", {"commitment": "processed"}) == 0

        def test_several_validators(validator, validator_factory):
            other = validator_factory()
            assert other.rpc_url != validator.rpc_url
            assert ask(other.rpc_url, "getGenesisHash") != ask(validator.rpc_url, "getGenesisHash")
        """
    )
    result.assert_outcomes(passed=5)


def test_the_marker_gives_the_validators_options(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import time
        import pytest

        pytestmark = pytest.mark.localnet(finality_lag=7)

        @pytest.mark.localnet(slot_ms=10)
        def test_clock(validator):
            assert (validator.slot_ms, validator.ledger.finality_lag) == (10, 7)
            first = validator.call(lambda: validator.ledger.open.slot)
            until = time.monotonic() + 60
            while validator.call(lambda: validator.ledger.open.slot) < first + 5:
                assert time.monotonic() < until, "the clock stands still"
                time.sleep(0.01)

        @pytest.mark.localnet(finality_lag=3)
        def test_by_hand(validator):
            assert (validator.slot_ms, validator.ledger.finality_lag) == (None, 3)
            assert validator.advance(4) == validator.advance(1) - 1
        """
    )
    result.assert_outcomes(passed=2)


def test_a_marker_with_positional_arguments_is_a_clear_error(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import pytest

        @pytest.mark.localnet(10)
        def test_it(validator):
            pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the marker localnet takes keyword arguments only*"])


def test_a_run_that_does_not_use_it_imports_nothing(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import sys

        def test_nothing(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("makewhole_localnet")
            heavy = {"localnet.validator", "localnet.ledger", "solders", "aiohttp", "msgspec", "uvloop"}
            assert heavy & set(sys.modules) == set()
        """,
        "-p",
        "no:anyio",
    )
    result.assert_outcomes(passed=1)


def test_validators_stop_with_their_test_even_when_it_fails(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import threading
        urls = []

        def test_fails(validator):
            urls.append(validator.rpc_url)
            assert False

        def test_no_thread_is_left():
            assert urls
            assert [t.name for t in threading.enumerate() if t.name == "localnet"] == []
        """
    )
    result.assert_outcomes(passed=1, failed=1)


def test_the_fixtures_are_documented(run: Callable[..., pytest.RunResult]) -> None:
    result = run("def test_nothing(): pass", "--fixtures")
    for name in ("validator", "funded_keypair", "token_mint", "validator_factory", "funded_keypair_factory"):
        assert any(line.startswith(f"{name} --") for line in result.outlines), name
    result = run("def test_nothing(): pass", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.localnet(*): keyword arguments of localnet.Validator*"])
