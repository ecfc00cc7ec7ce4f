"""Generated requests: none is answered with 500, none with what the OpenAPI document does not say.

RIVERRUN_FUZZ_SECONDS is how long it goes on, pass after pass, each with another seed (`make fuzz`).
"""

import os
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import EngineEvent, NonFatalError, ScenarioFinished

SECONDS = float(os.environ.get("RIVERRUN_FUZZ_SECONDS", "0"))
SCHEMATHESIS: dict[str, Any] = {
    "generation": {"max-examples": 20},
    "checks": {
        # The document cannot say all: a filter is SQL, an event must not lie in the future.
        "positive_data_acceptance": {"enabled": False},
        # What is accepted is durable, and visible soon.
        "ensure_resource_availability": {"enabled": False},
        "use_after_free": {"enabled": False},
    },
    # A record of an array stands for itself, so a request with a bad one may be accepted.
    "operations": [
        {
            "include-name": [f"POST /v1/{records}" for records in ("events", "items", "users")],
            "checks": {"negative_data_rejection": {"enabled": False}},
        }
    ],
}


# It warns of its own work: of a request that is long to print, and of random numbers that another
# thread drew while it made one. As errors they would end the search, and say nothing of the API.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_fuzz(app: FastAPI, client: TestClient) -> None:
    start = time.monotonic()
    for seed in count(int(time.time()) if SECONDS else 0):
        config = SchemathesisConfig.from_dict({"seed": seed, **SCHEMATHESIS})
        api = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
        events = list(from_schema(api).execute())
        assert {message for event in events for message in _failures(event)} == set(), seed
        tested = {event.recorder.label for event in events if isinstance(event, ScenarioFinished)}
        assert len(tested) >= len(list(api.get_all_operations()))
        if time.monotonic() - start >= SECONDS:
            break


def _failures(event: EngineEvent) -> Iterator[str]:
    if isinstance(event, NonFatalError):
        yield f"{event.label}: {event.value!r}"
    if isinstance(event, ScenarioFinished):
        for checks in event.recorder.checks.values():
            for check in checks:
                if check.failure_info is not None:
                    failure = check.failure_info
                    yield f"{event.recorder.label}: {failure.failure}\n{failure.code_sample}"
