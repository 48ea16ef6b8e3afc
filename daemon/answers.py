"""From outcomes of the engine to answers of the API.

Owns: the form of a refusal, and readers of what people write. Rules: a refusal carries the engine's reason,
or names the field and what would be right. Must not know: HTTP.
"""

from __future__ import annotations

from collections.abc import Collection

from chain.addresses import parse_amount
from daemon.api import bodies
from daemon.runner import Answer, Build, Runner
from engine.codec import tagged
from engine.outcome import Rejected
from engine.rejects import RejectReason


class Refused(Exception):  # a refusal is an answer, not a failure
    """The answer is no; becomes the error body."""

    def __init__(self, error: bodies.Error, status: int = 409) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status


def refusal(code: str, message: str, status: int = 409) -> Refused:
    """Return a refusal of the API's own."""
    return Refused(bodies.Error(code, message), status)


def rejected(outcome: Rejected) -> Refused:
    """Return the engine's refusal in the API's form."""
    statement = outcome.reason.statement
    return Refused(
        bodies.Error(
            code=outcome.reason.value,
            message=f"{statement} {outcome.detail}".strip(),
            until_ns=outcome.retry_at_ns,
            would_pass_units=outcome.would_pass_units,
            final=outcome.reason.final,
        ),
        400 if outcome.reason is RejectReason.MALFORMED_COMMAND else 409,
    )


def done(answer: Answer) -> bodies.DoneBody:
    """Return what an accepted command did; raises `Refused` for a refused one."""
    outcome = answer.outcome
    if isinstance(outcome, Rejected):
        raise rejected(outcome)
    return bodies.DoneBody(answer.sequence, [tagged(event) for event in outcome.events])


async def run(runner: Runner, build: Build) -> bodies.DoneBody:
    """Do one command; raises `Refused`."""
    return done(await runner.submit(build))


def price_e8(text: str, what: str) -> int:
    """Read a decimal price; raises `Refused` naming the field."""
    try:
        return parse_amount(text, 8)
    except ValueError as error:
        raise refusal("malformed_command", f"{what}: {error}", 400) from error


def chosen(value: str, what: str, choices: Collection[str]) -> str:
    """Return a word that is among the choices; raises `Refused` naming them."""
    if value not in choices:
        raise refusal("malformed_request", f"{what}: {value!r}; should be one of {', '.join(choices)}", 400)
    return value


def listed(name: str, what: str, known: Collection[str]) -> str:
    """Return a name that is listed; raises `Refused` as unknown_asset or unknown_market, naming what is."""
    if name not in known:
        there = ", ".join(sorted(known))
        raise refusal(f"unknown_{what}", f"{what} {name!r} is not listed here; listed: {there}", 400)
    return name
