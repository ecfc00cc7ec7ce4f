"""What a training says of itself where nobody looks on."""

import itertools
from types import SimpleNamespace

import pytest

from riverrun.cli import training_progress
from riverrun.cli.training_progress import refresh_progress
from trainer.train import Progress


def test_without_a_terminal_each_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with refresh_progress() as listener:
        listener.stage("Embedding texts")
        listener.progress(10, 20)
        listener.stage("Training, the newest events held out, of all that there are, " * 2)
        listener.step(Progress(epoch=1, epochs=2, step=3, steps=4, loss=5.0))
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.partition(",")[0] for line in said.err.splitlines()] == [
        "Embedding texts ...",
        "Training",
    ]


def test_without_a_terminal_a_long_stage_says_now_and_then_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(0.0, 25.0)
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr(training_progress, "time", clock)
    with refresh_progress() as listener:
        listener.stage("Embedding texts")
        for done in range(1, 9):
            listener.progress(1000 * done, 8000)
        listener.step(Progress(epoch=2, epochs=3, step=1, steps=4, loss=5.0))
    assert capsys.readouterr().err.splitlines() == [
        "Embedding texts ...",
        "  3,000 of 8,000",
        "  6,000 of 8,000",
        "  5 of 12  epoch 2/3  loss 5.000",
    ]
