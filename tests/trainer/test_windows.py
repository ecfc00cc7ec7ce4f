"""No label may be of the past, nor of the moment that its position sees."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import Item
from feature_repo.times import DAY
from tests.support.few_events import frame
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.windows import has_labels, label_shares, make_windows, sample_batch

START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = [Item(item_id=f"i{number}") for number in range(5)]

# (user, item, hour): few users and hours, so that baskets and long histories are common.
HISTORIES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 400)), min_size=1, max_size=40
)
SETTINGS = st.builds(
    TrainingSettings,
    history_length=st.integers(2, 8),
    horizon_days=st.sampled_from([0.0, 1.0, 5.0]),
    positions_per_window=st.integers(1, 8),
    labels_per_position=st.integers(1, 4),
)


def interactions_of(history: list[tuple[int, int, int]]) -> Interactions:
    return Interactions.from_frame(frame(history), ITEMS)


@given(HISTORIES, SETTINGS)
def test_labels_are_strictly_later_and_within_the_horizon_or_the_next_moment(
    history: list[tuple[int, int, int]], settings: TrainingSettings
) -> None:
    columns = interactions_of(history)
    windows = make_windows(columns, settings)
    for cut, start, end in zip(windows.cut, windows.label_start, windows.label_end, strict=True):
        assert start < end
        assert (columns.user[start:end] == columns.user[cut]).all()
        assert (columns.timestamp[start:end] > columns.timestamp[cut]).all()
        latest = max(columns.timestamp[cut] + settings.horizon_days * DAY, columns.timestamp[start])
        assert (columns.timestamp[start:end] <= latest).all()
        # And none that is within the horizon is left out.
        later = (columns.user == columns.user[cut]) & (columns.timestamp > columns.timestamp[cut])
        assert np.count_nonzero(later & (columns.timestamp <= latest)) == end - start


@given(HISTORIES, SETTINGS)
def test_every_moment_but_a_users_last_is_cut_once(
    history: list[tuple[int, int, int]], settings: TrainingSettings
) -> None:
    columns = interactions_of(history)
    windows = make_windows(columns, settings)
    moments = {(user, hour) for user, _, hour in history}
    users = {user for user, _ in moments}
    assert len(windows.cut) == len(moments) - len(users)
    assert len(set(windows.cut.tolist())) == len(windows.cut)
    assert has_labels(columns, settings) == (len(windows) > 0)
    weightless = settings.model_copy(update={"event_type_weights": {"view": 0.0}})
    assert not has_labels(columns, weightless)


@given(HISTORIES, SETTINGS)
def test_a_position_lies_in_its_window_and_a_label_was_acted_on(
    history: list[tuple[int, int, int]], settings: TrainingSettings
) -> None:
    columns = interactions_of(history)
    windows = make_windows(columns, settings)
    chosen = np.arange(len(windows))
    batch = sample_batch(columns, windows, chosen, settings, np.random.default_rng(0))
    longest = (windows.end - windows.start).max(initial=0)
    assert batch.items.shape == (len(windows), longest)
    assert longest <= settings.history_length
    for window in chosen:
        user = columns.user[windows.start[window]]
        start, end = columns.first_event[user : user + 2]
        labelled = batch.weights[window].any(axis=1)
        # The columns show the window's events, shifted by one, and nothing behind them.
        shown = slice(windows.start[window], windows.end[window])
        for found, of in (
            (batch.items, columns.item + 1),
            (batch.event_types, columns.event_type + 1),
            (batch.timestamps, columns.timestamp),
        ):
            padding = [0] * (longest - (windows.end - windows.start)[window])
            assert found[window].tolist() == [*of[shown].tolist(), *padding]
        seen = batch.timestamps[window][batch.positions[window]]
        assert (seen[labelled] > 0).all()
        for column in np.flatnonzero(labelled):
            labels = batch.labels[window, column][batch.weights[window, column] > 0]
            later = columns.timestamp[start:end] > seen[column]
            assert set(labels) <= set(columns.item[start:end][later])


@given(HISTORIES, SETTINGS, st.sampled_from([0.0, 0.5, 0.99]))
def test_a_search_finds_its_first_label_alone(
    history: list[tuple[int, int, int]], settings: TrainingSettings, share: float
) -> None:
    columns = interactions_of(history)
    settings = settings.model_copy(update={"query_share": share})
    windows = make_windows(columns, settings)
    chosen = np.arange(len(windows))
    batch = sample_batch(columns, windows, chosen, settings, np.random.default_rng(0))
    searched = batch.searched > 0
    assert share or not searched.any()
    np.testing.assert_array_equal(batch.searched[searched] - 1, batch.labels[searched][:, 0])
    assert (batch.weights[searched][:, 0] > 0).all()
    assert not batch.weights[searched][:, 1:].any()


def test_event_types_weigh_and_weight_0_is_no_label() -> None:
    frame = pl.DataFrame(
        {
            "event_id": ["a", "b", "c"],
            "user_id": ["u"] * 3,
            "item_id": ["i0", "i1", "i2"],
            "event_type": ["view", "purchase", "view"],
            "timestamp": [START, START + timedelta(days=1), START + timedelta(days=2)],
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    columns = Interactions.from_frame(frame, ITEMS)
    settings = TrainingSettings(
        horizon_days=0.0, recency_days=1e6, event_type_weights={"purchase": 3.0, "view": 0.0}
    )
    windows = make_windows(columns, settings)
    batch = sample_batch(columns, windows, np.arange(1), settings, np.random.default_rng(0))
    weights = dict(zip(batch.labels[0, :2, 0], batch.weights[0, :2, 0], strict=True))
    assert weights[2] == 0.0
    assert np.isclose(weights[1], 3.0, atol=1e-4)


@given(HISTORIES, SETTINGS, st.integers(0, 400), st.sampled_from([0.0, 0.5, 1.0]))
def test_whatever_is_a_label_has_a_share_and_what_cannot_be_has_none(
    history: list[tuple[int, int, int]], settings: TrainingSettings, since: int, weight: float
) -> None:
    """Of half of the items all events are views."""
    events = frame(history).with_columns(
        event_type=pl.when(pl.col("item_id") <= "i2").then(pl.lit("view")).otherwise(pl.lit("cart"))
    )
    columns = Interactions.from_frame(events, ITEMS)
    settings = settings.model_copy(update={"event_type_weights": {"view": weight}})
    moment = START + timedelta(hours=since)
    windows = make_windows(columns, settings, moment)
    shares = label_shares(columns, windows, settings)
    may_be_drawn = np.zeros(len(columns.item), np.bool_)
    for start, end in zip(windows.label_start, windows.label_end, strict=True):
        may_be_drawn[start:end] = True
    counted = columns.item[may_be_drawn]
    counted = counted[(weight > 0) | (counted > 2)]
    expected = np.bincount(counted, minlength=len(ITEMS))
    np.testing.assert_allclose(shares, expected / max(1, len(counted)), rtol=1e-6)
    if len(windows):
        batch = sample_batch(
            columns, windows, np.arange(len(windows)), settings, np.random.default_rng(0)
        )
        assert (shares[batch.labels[batch.weights > 0]] > 0).all()


@given(HISTORIES, SETTINGS, st.sampled_from([0.5, 1.0, 3.0]))
def test_what_a_type_weighs_does_not_change_how_often_it_is_a_label(
    history: list[tuple[int, int, int]], settings: TrainingSettings, weight: float
) -> None:
    columns = interactions_of(history)
    windows = make_windows(columns, settings)
    shares = label_shares(columns, windows, settings)
    weighed = settings.model_copy(update={"event_type_weights": {"view": weight}})
    np.testing.assert_array_equal(label_shares(columns, windows, weighed), shares)


def test_what_is_done_once_and_never_again_counts_as_no_label() -> None:
    """Whoever comes once, from an advertisement, teaches nothing of what is popular."""
    once = [(user, 0, user % 10) for user in range(10, 90)]
    columns = interactions_of([*once, (0, 1, 1), (0, 2, 1), (0, 3, 2), (0, 4, 3)])
    settings = TrainingSettings()
    shares = label_shares(columns, make_windows(columns, settings), settings)
    np.testing.assert_array_equal(shares, np.array([0, 0, 0, 1, 1]) / 2)


def test_events_with_one_id_are_one_event_and_unknown_items_are_none() -> None:
    frame = pl.DataFrame(
        {
            "event_id": ["a", "a", "b"],
            "user_id": ["u"] * 3,
            "item_id": ["i0", "i0", "unheard-of"],
            "event_type": ["view"] * 3,
            "timestamp": [START] * 3,
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    assert len(Interactions.from_frame(frame, ITEMS).item) == 1
