"""What a training says of itself where nobody looks on."""

import pytest

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
