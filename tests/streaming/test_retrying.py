"""What fails for a while is tried again, and the log says when it began and ended."""

from structlog.testing import capture_logs

from streaming.metrics import StreamMetrics
from streaming.retrying import Retrying
from streaming.settings import StreamingSettings
from streaming.stream_state import StateError


def test_the_log_says_when_a_step_succeeds_that_had_failed() -> None:
    retrying = Retrying(StreamingSettings(retry_seconds=0.001), StreamMetrics())
    answers = [StateError("away"), StateError("away"), None]

    def step() -> str:
        if (error := answers.pop(0)) is not None:
            raise error
        return "done"

    with capture_logs() as logs:
        assert retrying("load", step) == "done"
        answers.append(None)
        assert retrying("load", step) == "done"
    assert [each["event"] for each in logs] == ["step_failed", "step_failed", "step_succeeded"]
    assert (logs[-1]["stage"], logs[-1]["failures"]) == ("load", 2)
