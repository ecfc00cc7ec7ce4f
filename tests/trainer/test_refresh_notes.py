"""Notes are read as they were written: in memory and on disk, by this version or one before."""

import math
from collections.abc import Callable, MutableMapping
from pathlib import Path

import pytest

from serving.ranking.calibrated_fusion import CalibratedFusion
from trainer.evaluate import EvaluationRow
from trainer.refresh_notes import Basis, Choice, NotedStart, RefreshNotes
from trainer.run_notes import RunNotes
from trainer.start import Start

Store = Callable[[], MutableMapping[str, str]]
ROW = EvaluationRow("two-tower", "all", 9, {"ndcg@10": 0.5})


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """What notes lie in, opened again each time."""
    kept: dict[str, str] = {}
    if request.param == "memory":
        return lambda: kept
    return lambda: RunNotes(tmp_path, "run")


def test_what_is_noted_is_read_again_until_it_is_forgotten(store: Store) -> None:
    basis = Basis(settings="a1", current=None, checkpoints="b2")
    fusion = CalibratedFusion(weights={"ease": 0.25}, temperature=0.5)
    choice = Choice(epochs=3, rows=(ROW,), ranker=True, fusion=fusion)
    notes = RefreshNotes(store())
    assert (notes.basis, notes.start, notes.choice, notes.version) == (None,) * 4
    notes.basis, notes.choice, notes.version = basis, choice, "first"
    notes.start = NotedStart.of(Start(None, "nothing serves"))
    notes.version = "second"
    again = RefreshNotes(store())
    assert (again.basis, again.choice, again.version) == (basis, choice, "second")
    assert again.start == NotedStart(version=None, reason="nothing serves")
    again.forget()
    assert not store()


def test_a_metric_that_is_not_a_number_stays_one(store: Store) -> None:
    row = EvaluationRow("two-tower", "all", 9, {"ndcg@10": math.nan})
    RefreshNotes(store()).choice = Choice(epochs=3, rows=(row,), ranker=False, fusion=None)
    choice = RefreshNotes(store()).choice
    assert choice is not None
    assert math.isnan(choice.rows[0].metrics["ndcg@10"])


def test_the_stored_form_is_that_of_every_version(store: Store) -> None:
    """A run that was interrupted before an update of the program goes on after it."""
    stored = store()
    stored["basis"] = '{"settings": "a1", "current": "old", "checkpoints": "b2"}'
    stored["start"] = '{"version": "old", "reason": ""}'
    stored["choice"] = (
        '{"epochs": 3, "rows": [{"scorer": "two-tower", "task": "all", "num_users": 9, '
        '"metrics": {"ndcg@10": 0.5}}], "ranker": true, '
        '"fusion": {"weights": {"ease": 0.25}, "temperature": 0.5}}'
    )
    stored["version"] = '"new"'
    notes = RefreshNotes(store())
    assert notes.basis == Basis(settings="a1", current="old", checkpoints="b2")
    assert notes.start == NotedStart(version="old", reason="")
    fusion = CalibratedFusion(weights={"ease": 0.25}, temperature=0.5)
    assert notes.choice == Choice(epochs=3, rows=(ROW,), ranker=True, fusion=fusion)
    assert notes.version == "new"
