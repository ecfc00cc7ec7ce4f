"""The best epoch that is kept beside the checkpoints belongs to one split."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.support import tiny_training as tiny
from tests.support.tiny_refresh import events
from trainer.judging import BestEpoch
from trainer.tasks import Split, temporal_split

QUERIES = np.arange(6, dtype=np.float32).reshape(3, 2)


def split_of(frame: pl.DataFrame, hours: int = 18) -> Split:
    return temporal_split(frame, tiny.tiny_items(), tiny.START + timedelta(hours=hours))


def renamed(frame: pl.DataFrame) -> pl.DataFrame:
    """As many people do the same; one of them is another."""
    other = pl.col("user_id").replace({"u003": "a"})
    return frame.with_columns(user_id=other)


def test_it_is_known_again_by_the_same_split(tmp_path: Path) -> None:
    BestEpoch(tmp_path, split_of(events(0, 24))).write(2, 0.5, [], queries=QUERIES)
    again = BestEpoch(tmp_path, split_of(events(0, 24)))
    best = again.read()
    assert best is not None
    assert (best.number, best.value) == (2, 0.5)
    assert (again.embeddings("queries") == QUERIES).all()


@pytest.mark.parametrize(
    "other",
    [
        split_of(events(0, 25)),  # more is asked
        split_of(events(0, 24), hours=17),  # less is known
        split_of(renamed(events(0, 24))),  # somebody else is known
    ],
)
def test_nothing_is_left_of_it_by_another(tmp_path: Path, other: Split) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    BestEpoch(folder, split_of(events(0, 24))).write(2, 0.5, [], queries=QUERIES)
    (folder / "checkpoint").touch()
    assert BestEpoch(folder, other).read() is None
    assert not folder.exists()
