"""The best epoch that is kept beside the checkpoints belongs to one split."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from structlog.testing import capture_logs

from feature_repo.offline_features import OfflineFeatures
from tests.support import tiny_training as tiny
from tests.support.tiny_refresh import USERS, events
from trainer.best_epoch import BestEpoch, best_epoch
from trainer.held_out import hold_out
from trainer.interactions import Interactions
from trainer.material import Material
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


def test_what_is_read_is_of_one_epoch_however_the_writing_of_a_better_one_ends(
    tmp_path: Path,
) -> None:
    class Interrupting:
        def __array__(self) -> None:
            raise KeyboardInterrupt

    kept = BestEpoch(tmp_path, split_of(events(0, 24)))
    kept.write(1, 0.5, [], queries=QUERIES, candidates=QUERIES)
    with pytest.raises(KeyboardInterrupt):
        kept.write(2, 0.6, [], queries=QUERIES + 1, candidates=cast(Any, Interrupting()))
    again = BestEpoch(tmp_path, split_of(events(0, 24)))
    best = again.read()
    assert best is not None
    assert best.number == 1
    for name in ("queries", "candidates"):
        assert (again.embeddings(name) == QUERIES).all()


def test_checkpoints_whose_best_epoch_is_not_known_are_not_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    for name in ("checkpoint", "best-epoch.json"):
        (folder / name).touch()
    assert BestEpoch(folder, split_of(events(0, 24))).read() is None
    assert not folder.exists()


@pytest.mark.parametrize(
    "damaged",
    [
        lambda whole: b"",
        lambda whole: whole[:-100],
        lambda whole: whole.replace(QUERIES.tobytes(), (QUERIES + 1).tobytes()),
        lambda whole: whole.replace(b"epoch.npy", b"other.npy"),
    ],
)
def test_nothing_is_left_of_a_damaged_one(
    tmp_path: Path, damaged: Callable[[bytes], bytes]
) -> None:
    folder, split = tmp_path / "training", split_of(events(0, 24))
    folder.mkdir()
    BestEpoch(folder, split).write(2, 0.5, [], queries=QUERIES)
    file = folder / "best-epoch.npz"
    whole = file.read_bytes()
    file.write_bytes(damaged(whole))
    assert file.read_bytes() != whole
    with capture_logs() as logs:
        assert BestEpoch(folder, split).read() is None
    assert not folder.exists()
    assert [line["event"] for line in logs] == ["training_begins_anew"]
    assert str(folder) in logs[0]["reason"]


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


def test_nor_is_it_used_where_something_beside_it_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, other = split_of(events(0, 24)), split_of(events(0, 25))
    BestEpoch(tmp_path, split).write(2, 0.5, [], queries=QUERIES)
    monkeypatch.setattr(shutil, "rmtree", lambda folder, ignore_errors: None)
    assert BestEpoch(tmp_path, other).read() is None


def test_nobody_is_encoded_who_is_not_asked_about_nor_learned_from(tmp_path: Path) -> None:
    stayed = pl.col("user_id") < "u020"
    read = events(0, 24).filter(stayed | (pl.col("timestamp") < tiny.START + timedelta(hours=18)))
    settings = tiny.tiny_settings(epochs=2, transformer_layers=0, holdout_share=0.2)
    columns = Interactions.from_frame(read, tiny.tiny_items())
    tower, texts = tiny.tiny_text_tower(), tiny.tiny_text_embeddings()
    features = OfflineFeatures(tmp_path / "features")
    material = Material(read, columns.items, columns, settings, tower, texts, features)
    held_out = hold_out(material)
    assert held_out is not None
    told: list[int] = []
    _, newest = best_epoch(
        material,
        held_out,
        None,
        lambda step: None,
        lambda epoch, values: told.append(len(values)),
    )
    assert told == [len(held_out.judged)] * 2
    queries = newest.queries
    users = held_out.split.past.user_ids
    assert len(queries) == len(users) == USERS
    encoded = {users[row] for row in np.flatnonzero(queries.any(axis=1))}
    assert encoded == {f"u{number:03}" for number in range(20)}
    assert set(held_out.tasks[-1].users) <= set(held_out.split.returning)
