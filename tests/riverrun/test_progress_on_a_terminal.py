"""What a training and an import show of their progress where somebody looks on."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from riverrun.cli import import_session, training_progress
from riverrun.cli.import_session import import_with_bar
from riverrun.cli.training_progress import refresh_progress
from riverrun.importing.report import ImportReport, RejectsFile
from riverrun.importing.sink import ArchiveSink
from tests.riverrun.memory_archive import MemoryArchive
from tests.riverrun.run_import import GOOD, HEAD
from trainer.train import Progress

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Takes the place of a terminal of 120 columns."""
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    for module in (import_session, training_progress):
        monkeypatch.setattr(module, "err", console)
    return file


def drawn(terminal: io.StringIO) -> list[str]:
    """Return the lines that were drawn, those that were drawn over as well."""
    lines = re.split(r"[\r\n]+", CONTROL.sub("", terminal.getvalue()))
    return [" ".join(line.split()) for line in lines]


def test_a_training_shows_a_bar_for_each_stage(terminal: io.StringIO) -> None:
    with refresh_progress() as listener:
        listener.stage("Embedding texts")
        listener.progress(20, 20)
        listener.stage("Training")
        listener.step(Progress(epoch=2, epochs=3, step=1, steps=4, loss=5.0))
    *_, texts, training, _ = drawn(terminal)
    assert re.search(r"Embedding texts ━{10,} 20/20 ", texts)
    assert re.search(r"Training ━{10,}.* 5/12 .* epoch 2/3 loss 5\.000", training)


def test_an_import_shows_how_much_of_the_files_and_how_many_rows_are_read(
    terminal: io.StringIO, tmp_path: Path
) -> None:
    file = tmp_path / "events.csv"
    file.write_text("\n".join([HEAD, *[GOOD] * 3, ""]))
    size = file.stat().st_size
    with ImportReport(rejects=RejectsFile(tmp_path / "rejected")) as report:
        import_with_bar("events", [file], None, ArchiveSink(MemoryArchive(), report))  # type: ignore[arg-type]
    at_its_end = re.compile(rf"events ━{{10,}} {size}/{size} bytes 3 rows ")
    assert any(map(at_its_end.match, drawn(terminal)))
