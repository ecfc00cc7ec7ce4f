"""Windows that come through the point-in-time join are those that the events make."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from trainer.history_examples import joined_windows
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.tasks import leave_one_out_split
from trainer.windows import make_windows, sample_batch

START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = [Item(item_id=f"i{number}") for number in range(5)]
KINDS = ["view", "cart", "purchase"]

# (user, item, hour, kind): item 5 is unknown; few hours make for baskets.
HISTORIES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 30), st.sampled_from(KINDS)),
    min_size=12,
    max_size=40,
)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> OfflineFeatures:
    return OfflineFeatures(tmp_path_factory.mktemp("features"))


def frame_of(history: list[tuple[int, int, int, str]]) -> pl.DataFrame:
    rows = [
        {
            "event_id": f"e{number}",
            "user_id": f"u{user}",
            "item_id": f"i{item}",
            "event_type": kind,
            "timestamp": START + timedelta(hours=hour),
            "value": None,
        }
        for number, (user, item, hour, kind) in enumerate(history)
    ]
    overrides = {"timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64()}
    return pl.DataFrame(rows, schema_overrides=overrides)


@settings(max_examples=25)
@given(HISTORIES, st.integers(2, 6), st.integers(1, 3))
def test_joined_windows_are_those_of_the_events(
    features: OfflineFeatures, history: list[tuple[int, int, int, str]], length: int, held_out: int
) -> None:
    """Of the past of a split: where times tie, what is held out is of a moment of the past."""
    events = frame_of([*history, *history[:3]])
    columns = leave_one_out_split(events, ITEMS, held_out, held_out).past
    training = TrainingSettings(history_length=length)
    direct = make_windows(columns, training)
    joined = joined_windows(columns, training, features)
    assert len(joined) == len(direct)
    if len(direct) == 0:
        return
    chosen = np.arange(len(direct))
    expected = sample_batch(columns, direct, chosen, training, np.random.default_rng(0))
    found = sample_batch(columns, joined, chosen, training, np.random.default_rng(0))
    for name in expected.__slots__:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


def test_what_is_held_out_of_the_moment_of_a_cut_is_not_shown(features: OfflineFeatures) -> None:
    """Nor need its type be one that the past knows."""
    history = [(0, 0, 0, "view"), (0, 1, 1, "view"), (0, 2, 2, "view"), (0, 3, 2, "purchase")]
    past = leave_one_out_split(frame_of(history), ITEMS, 1, 1).past
    windows = joined_windows(past, TrainingSettings(), features)
    (start,), (end,) = windows.histories.start, windows.histories.end
    assert windows.histories.item[start:end].tolist() == [0, 1, 2]
    assert past.event_types == ["view"]


def test_the_histories_are_feasts_and_not_the_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = frame_of([(0, item, hour, "view") for hour, item in enumerate([0, 1, 2, 3])])
    columns = Interactions.from_frame(events, ITEMS)
    features = OfflineFeatures(tmp_path)
    written = features.write_user_histories

    def write_others(events: pl.DataFrame, cuts: pl.DataFrame, max_length: int) -> int:
        return written(events.with_columns(item_id=pl.lit("i4")), cuts, max_length)

    monkeypatch.setattr(features, "write_user_histories", write_others)
    windows = joined_windows(columns, TrainingSettings(), features)
    batch = sample_batch(
        columns, windows, np.arange(1), TrainingSettings(), np.random.default_rng(0)
    )
    assert batch.items[0, :4].tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("fails", [False, True])
def test_no_history_is_left_once_the_windows_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """Nobody would erase a user from it."""
    columns = Interactions.from_frame(
        frame_of([(0, item, item, "view") for item in range(4)]), ITEMS
    )
    features = OfflineFeatures(tmp_path)
    joined, written = features.histories_at, []

    def histories_at(cuts: pl.DataFrame) -> pl.DataFrame:
        written.extend(pl.read_parquet(file) for file in tmp_path.glob("*.parquet"))
        if fails:
            raise OSError("No space left on device")
        return joined(cuts)

    monkeypatch.setattr(features, "histories_at", histories_at)
    with pytest.raises(OSError, match="No space") if fails else nullcontext():
        joined_windows(columns, TrainingSettings(), features)
    assert [frame["user_id"].to_list() for frame in written] == [["u0"]]
    assert not [*tmp_path.rglob("*.parquet*")]
