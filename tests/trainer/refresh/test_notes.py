"""Notes are read as they were written."""

import math

import pytest
from pydantic import ValidationError

from serving.ranking.calibrated_fusion import CalibratedFusion
from trainer.evaluate import EvaluationRow
from trainer.refresh.notes import Basis, BundleChecks, Choice, NotedStart, Notes
from trainer.start import Start

ROW = EvaluationRow("two-tower", "all", 9, {"ndcg@10": 0.5})
FUSION = CalibratedFusion(weights={"ease": 0.25}, temperature=0.5)
BASIS = Basis(settings="a1", current="old", checkpoints="b2")
NOTES = Notes(
    BASIS, NotedStart("old", ""), Choice(3, (ROW,), has_ranker=True, fusion=FUSION), "new"
)


@pytest.mark.parametrize(
    "notes",
    [
        Notes(),
        Notes(Basis(settings="a1", current=None, checkpoints=None)),
        Notes(BASIS, NotedStart.of(Start(None, "nothing serves"))),
        Notes(BASIS, choice=Choice(3, (), has_ranker=False, fusion=None)),
        NOTES,
        Notes(checks=BundleChecks(index_recall=0.5, latency_ms=2.5), left_open="novel"),
    ],
)
def test_what_is_noted_is_read_again(notes: Notes) -> None:
    assert Notes.from_json(notes.to_json()) == notes


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_a_finite_number_stays_what_it_is(value: float) -> None:
    row = EvaluationRow("two-tower", "all", 9, {"ndcg@10": value})
    choice = Choice(3, (row,), has_ranker=False, fusion=None)
    read = Notes.from_json(Notes(choice=choice).to_json()).choice
    assert read is not None
    assert read.rows[0].metrics["ndcg@10"] == pytest.approx(value, nan_ok=True)


def test_the_stored_form_is_that_of_every_version() -> None:
    """A run that was interrupted before an update of the program goes on after it."""
    stored = (
        '{"basis": {"settings": "a1", "current": "old", "checkpoints": "b2"}, '
        '"start": {"version": "old", "reason": ""}, '
        '"choice": {"epochs": 3, "rows": [{"scorer": "two-tower", "task": "all", "num_users": 9, '
        '"metrics": {"ndcg@10": 0.5}}], "has_ranker": true, '
        '"fusion": {"weights": {"ease": 0.25}, "temperature": 0.5}}, "version": "new"}'
    )
    assert Notes.from_json(stored) == NOTES


@pytest.mark.parametrize("stored", ["", "{", '{"choice": {"rows": 1}}', '{"version": 3}'])
def test_what_is_no_notes_is_refused(stored: str) -> None:
    with pytest.raises(ValidationError):
        Notes.from_json(stored)
