"""The attempts of one call: it decides whether to send again; the client sends and waits."""

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Generic, TypeVar

import httpx

from riverrun.client.calls import Call
from riverrun.client.errors import UNAVAILABLE, UnreachableError
from riverrun.client.retries import Retries, retry_after

AnswerT = TypeVar("AnswerT")
Outcome = httpx.Response | httpx.RequestError


class Exchange(Generic[AnswerT]):
    """Counts the attempts of `call`. random draws the pauses; clock reads a `Retry-After` date."""

    def __init__(
        self,
        call: Call[AnswerT],
        retries: Retries,
        random: Random,
        clock: Callable[[], datetime],
    ) -> None:
        self._call = call
        self._retries = retries
        self._random = random
        self._clock = clock
        self._attempts = 0

    def pause_after(self, outcome: Outcome) -> float | None:
        """Return the seconds until the next attempt, or None where `outcome` is the last."""
        self._attempts += 1
        asked = None
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in UNAVAILABLE or self._call.is_accepted(outcome):
                return None
            asked = retry_after(outcome.headers, self._clock())
        return self._retries.pause(self._attempts, self._random.random(), asked)

    def result(self, outcome: Outcome) -> AnswerT:
        """Return the result of the last attempt, or raise a `ClientError`."""
        if isinstance(outcome, httpx.Response):
            return self._call.answer(outcome)
        # Some of httpx's errors have no text.
        why = str(outcome) or type(outcome).__name__
        message = f"{self._call.operation}: no answer in {self._attempts} attempts: {why}"
        raise UnreachableError(message) from outcome
