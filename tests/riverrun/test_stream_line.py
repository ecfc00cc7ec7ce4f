"""What `riverrun stream` shows on a terminal while it runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.markup import render

from riverrun.cli.stream import _line
from riverrun.stream_parts import StreamParts
from riverrun.stream_worker import StreamWorker


def running(
    *reasons: str, behind: int = 0, archives: bool = False, **stopped_by: Exception
) -> StreamWorker:
    """Return a worker of three partitions; reasons: why it does not follow its item changelog."""
    parts: dict[str, Any] = {
        "worker": SimpleNamespace(positions=dict.fromkeys("abc", 9), ready=True, failure=None),
        "archiver": SimpleNamespace(archives=archives, failure=None),
        "lag": SimpleNamespace(total=behind),
    }
    for part, failure in stopped_by.items():
        parts[part].failure = failure
    serving = SimpleNamespace(not_ready=lambda: reasons)
    return StreamWorker(cast(Any, serving), StreamParts(**parts), cast(Any, None))


@pytest.mark.parametrize(
    ("worker", "per_second", "line"),
    [
        (running(), 0.0, "following  0 records/s  0 behind  3 partitions"),
        (
            running(behind=1_234_567, archives=True),
            5_432.1,
            "following  5,432 records/s  1,234,567 behind  3 partitions, archiving",
        ),
        (
            running("the item changelog is being read", behind=7),
            0.0,
            "the item changelog is being read  0 records/s  7 behind  3 partitions",
        ),
        (
            running(worker=ValueError("no [red]user[/]")),
            0.4,
            "the stream worker failed: no [red]user[/]  0 records/s  0 behind  3 partitions",
        ),
        (
            running("no changelog", archiver=OSError("full")),
            1.0,
            "no changelog; the archiver failed: full  1 records/s  0 behind  3 partitions",
        ),
    ],
    ids=["caught up", "behind", "starting", "stopped", "archiver stopped"],
)
def test_the_line_says_whether_the_worker_follows_and_how_far_it_is_behind(
    worker: StreamWorker, per_second: float, line: str
) -> None:
    assert render(_line(worker, per_second)).plain == line
