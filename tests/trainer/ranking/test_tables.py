"""Tables and signals against plain loops."""

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from feature_repo.schema import Item
from feature_repo.times import DAY, HOUR
from serving.ranking.feature_names import feature_names
from serving.signals.item_signals import SIGNALS
from serving.source_names import SOURCES
from serving.user_acts import UserActs
from trainer.baselines import item_knn
from trainer.baselines.ease import item_weights
from trainer.baselines.item_knn import Cosines
from trainer.baselines.user_item import largest_weights
from trainer.interactions import Interactions
from trainer.ranking import tables
from trainer.ranking.fitted_tables import fit_tables
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings
from trainer.ranking.tables import ease_table, item_signals, text_table, transitions_table
from trainer.training_input_error import TrainingInputError

START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = [Item(item_id=f"i{number}") for number in range(8)]


def interactions(seed: int = 0, events: int = 120) -> Interactions:
    random = np.random.default_rng(seed)
    rows = [
        {
            "event_id": f"e{number}",
            "user_id": f"u{random.integers(10)}",
            # i7 is never acted on.
            "item_id": f"i{random.integers(7)}",
            "event_type": "purchase",
            "timestamp": START + timedelta(days=int(random.integers(60))),
        }
        for number in range(events)
    ]
    names = dict.fromkeys(("event_id", "user_id", "item_id", "event_type"), pl.String())
    frame = pl.DataFrame(rows, schema={**names, "timestamp": pl.Datetime("us", "UTC")})
    return Interactions.from_frame(frame, ITEMS)


def dense(table: object, num_items: int = len(ITEMS)) -> np.ndarray:
    matrix = np.zeros((num_items, num_items), np.float32)
    for item in range(num_items):
        part = slice(table.starts[item], table.starts[item + 1])  # type: ignore[attr-defined]
        matrix[item, table.neighbours[part]] = table.weights[part]  # type: ignore[attr-defined]
    return matrix


def test_ease_keeps_the_largest_weights() -> None:
    past, settings = interactions(), RankerSettings(neighbours=3, ease_regularisation=5.0)
    ages = (past.timestamp.max() - past.timestamp) / (settings.ease_days * DAY)
    user_item = largest_weights(past, np.exp(-ages).astype(np.float32))[:, :7]
    weights = item_weights(user_item, 5.0)
    kept = dense(ease_table(past, settings))
    assert (np.count_nonzero(kept, axis=1) == [*[3] * 7, 0]).all()
    for item in range(7):
        np.testing.assert_allclose(np.sort(kept[item])[-3:], np.sort(weights[item])[-3:], rtol=1e-5)


def test_ease_says_that_no_retry_helps_where_its_regularisation_is_too_small() -> None:
    one = interactions().frame()
    # Of items that the same people act on, no regularisation makes a singular matrix.
    twins = pl.concat(
        [
            one.with_columns(item_id=pl.lit(item), event_id=pl.col("event_id") + item)
            for item in ("i0", "i1")
        ]
    )
    settings = RankerSettings(ease_regularisation=1e-12)
    with pytest.raises(TrainingInputError, match="`regularisation` of EASE is too small"):
        ease_table(Interactions.from_frame(twins, ITEMS), settings)


def test_ease_of_a_part_leaves_the_rest_without_neighbours() -> None:
    past = interactions()
    popular = np.sort(np.argsort(-np.bincount(past.item, minlength=8), kind="stable")[:4])
    kept = dense(ease_table(past, RankerSettings(ease_items=4)))
    rest = np.setdiff1d(np.arange(8), popular)
    assert kept[popular][:, popular].any()
    assert not kept[rest].any()
    assert not kept[:, rest].any()


@pytest.mark.parametrize("ease_items", [0, 100])
def test_nothing_that_happened_gives_empty_tables(ease_items: int) -> None:
    past = interactions(events=0)
    table = ease_table(past, RankerSettings(ease_items=ease_items))
    assert table.starts.tolist() == [0] * 9
    assert not item_signals(past).any()


def test_texts_are_near_by_cosine_and_never_to_themselves() -> None:
    vectors = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    kept = dense(text_table(vectors, RankerSettings(text_neighbours=2)))
    for item in range(8):
        others = np.delete(cosines[item], item)
        assert kept[item, item] == 0
        found = np.sort(kept[item][kept[item] != 0])
        np.testing.assert_allclose(found, np.sort(others)[-2:], rtol=1e-5)


def test_scann_finds_nearly_the_same_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    topics = random.normal(size=(20, 16))
    vectors = topics[random.integers(20, size=600)] + 0.5 * random.normal(size=(600, 16))
    vectors = vectors.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = vectors[3]  # a twin
    settings = RankerSettings(text_neighbours=5)
    exact = dense(text_table(vectors, settings), 600)
    monkeypatch.setattr(tables, "EXACT_ITEMS", 500)
    found = dense(text_table(vectors, settings), 600)
    assert not np.diag(found).any()
    assert found[3, 7] == pytest.approx(1.0, abs=1e-4)
    assert np.mean((found != 0)[exact != 0]) > 0.8


def test_transitions_are_what_follows_by_distance_and_the_cosines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past = interactions()
    expected = np.zeros((8, 8))
    for user in range(len(past.user_ids)):
        items = past.item[slice(*past.first_event[user : user + 2])].tolist()
        for place, item in enumerate(items):
            for distance, other in enumerate(items[place + 1 : place + 4], start=1):
                expected[item, other] += 1 / distance
    expected /= np.maximum(np.bincount(past.item, minlength=8), 1)[:, None]
    expected += 0.5 * Cosines(past).of(np.arange(8)).toarray()
    settings = RankerSettings(transition_distance=3, transition_cosine_weight=0.5)
    np.testing.assert_allclose(dense(transitions_table(past, settings)), expected, rtol=1e-5)
    # Of more than it may keep, the largest; and however many rows are made at a time.
    monkeypatch.setattr(item_knn, "COSINES_AT_A_TIME", 10)
    np.testing.assert_allclose(dense(transitions_table(past, settings)), expected, rtol=1e-5)
    few = transitions_table(past, settings.model_copy(update={"neighbours": 2}))
    assert np.diff(few.starts).tolist() == [2] * 7 + [0]
    for row, largest in zip(dense(few), np.sort(expected, axis=1)[:, -2:], strict=True):
        np.testing.assert_allclose(np.sort(row)[-2:], largest, rtol=1e-5)


def test_transitions_of_many_items_take_as_much_as_there_is_of_them() -> None:
    """A row of floats for each of them would take 20 GB, and one batch of rows .8."""
    count = 50_000
    items = [Item(item_id=f"i{number}") for number in range(count)]
    events = pl.DataFrame(
        {
            "event_id": [f"e{number}" for number in range(count)],
            "user_id": [f"u{number // 5}" for number in range(count)],
            "item_id": [item.item_id for item in items],
            "event_type": "purchase",
            "timestamp": pl.datetime_range(
                START, interval="1s", end=START + timedelta(seconds=count - 1),
                time_unit="us", eager=True,
            ),
        }
    )  # fmt: skip
    past = Interactions.from_frame(events, items)
    tracemalloc.start()
    try:
        table = transitions_table(past, RankerSettings(transition_distance=3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.diff(table.starts).max() == 5
    assert peak < 100e6


def test_signals_count_users_and_returns() -> None:
    past = interactions()
    signals = dict(zip(SIGNALS, item_signals(past).T, strict=True))
    newest = past.timestamp.max()
    for item in range(8):
        mine = past.item == item
        of = {user: sorted(set(past.timestamp[mine & (past.user == user)])) for user in range(10)}
        of = {user: times for user, times in of.items() if times}
        recent = {user for user, times in of.items() if times[-1] > newest - 30 * DAY}
        assert signals["popularity_30_days"][item] == len(recent)
        assert signals["popularity_365_days"][item] == len(of)
        returned = [times for times in of.values() if len(times) > 1]
        share = len(returned) / max(len(of), 1)
        assert signals["repeat_share"][item] == pytest.approx(share)
        gaps = sorted(gap / DAY for times in returned for gap in np.diff(times))
        usual = gaps[len(gaps) // 2] if gaps else 0.0
        assert signals["repeat_days"][item] == pytest.approx(usual)


FUNNEL = ("view", "cart", "purchase")


def funnels(days: int, times: int, types: tuple[str, ...]) -> Interactions:
    """Ten users come to i0 so often, `days` apart; each act follows the one before by a minute."""
    names = "event_id", "user_id", "item_id", "event_type"
    acts = [
        (f"u{user}", START + timedelta(days=visit * days, hours=user, minutes=step), event_type)
        for user in range(10)
        for visit in range(times)
        for step, event_type in enumerate(types)
    ]
    rows = [(str(n), user, "i0", kind, at) for n, (user, at, kind) in enumerate(acts)]
    schema = {**dict.fromkeys(names, pl.String()), "timestamp": pl.Datetime("us", "UTC")}
    return Interactions.from_frame(pl.DataFrame(rows, schema, orient="row"), ITEMS)


def test_a_view_and_the_purchase_that_follows_are_no_return() -> None:
    """Where views and carts are sent, people come back as where purchases alone are."""
    columns = [SIGNALS.index(name) for name in ("repeat_share", "repeat_days")]
    for times, expected in ((1, (0, 0)), (4, (1, 30))):
        bought = item_signals(funnels(30, times, FUNNEL[-1:]))[0, columns]
        np.testing.assert_allclose(bought, expected)
        acted = item_signals(funnels(30, times, FUNNEL))[0, columns]
        np.testing.assert_allclose(acted, expected, rtol=1e-3)


def test_nor_does_it_change_when_a_user_is_expected_back() -> None:
    names = ["repeats", "days_between", "due", "repeat_days", "repeat_share"]
    columns = [feature_names(SOURCES).index(name) for name in names]
    found = []
    for types in (FUNNEL, FUNNEL[-1:]):
        past = funnels(30, 4, types)
        data = fit_tables(past, None, RankerSettings())
        shop = PastShop(past, ranking_of(data), None, ServiceSettings())
        context = shop.context(0, None)
        found.append(shop.stage.features(shop.stage.pool(context), SOURCES, context)[0, columns])
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)
    assert found[1][1] == pytest.approx(np.log1p(30))


def test_who_has_come_back_is_the_same_in_a_table_and_in_a_history() -> None:
    past, random = interactions(), np.random.default_rng(1)
    hours = random.integers(0, 40, len(past.timestamp))
    past = replace(past, timestamp=past.timestamp + hours * HOUR)
    share = item_signals(past)[:, SIGNALS.index("repeat_share")]
    users, returned = np.zeros(len(ITEMS)), np.zeros(len(ITEMS))
    for user in range(len(past.user_ids)):
        own = slice(*past.first_event[user : user + 2])
        acts = UserActs.of_columns(past.item[own].astype(np.int64), past.timestamp[own])
        users[acts.rows] += 1
        returned[acts.rows] += acts.visits > 1
    assert 0 < returned.sum() < users.sum()
    np.testing.assert_allclose(share, returned / np.maximum(users, 1), rtol=1e-6)


OF_RETURNS = [SIGNALS.index(name) for name in ("repeat_share", "repeat_days")]


def bought_and_viewed() -> tuple[Interactions, Interactions]:
    """Ten users buy i0 every 30 days; and the same who view it, and i1, every third day too."""
    bought = funnels(30, 4, ("purchase",)).frame()
    viewed = pl.concat(
        [
            funnels(3, 32, ("view",))
            .frame()
            .with_columns(
                item_id=pl.lit(item),
                event_id=item + pl.col("event_id"),
                # A minute later, so that no view has the moment of a purchase.
                timestamp=pl.col("timestamp") + pl.duration(minutes=1),
            )
            for item in ("i0", "i1")
        ]
    )
    both = Interactions.from_frame(pl.concat([bought, viewed]), ITEMS)
    return Interactions.from_frame(bought, ITEMS), both


def test_views_do_not_change_when_what_is_bought_is_bought_again() -> None:
    bought, both = bought_and_viewed()
    of_both = fit_tables(both, None, RankerSettings())
    expected = item_signals(bought)[:, OF_RETURNS]
    np.testing.assert_allclose(expected[0], [1, 30])
    np.testing.assert_array_equal(of_both.signals[:, OF_RETURNS], expected)
    assert of_both.taking == ("purchase",)
    # By a setting, what else takes an item; and no type takes less than all where none occurs.
    every = fit_tables(both, None, RankerSettings(taking_types=("view",)))
    np.testing.assert_allclose(every.signals[:2, OF_RETURNS], [[1, 3]] * 2)


def test_events_without_weight_leave_no_trace_in_tables_and_signals() -> None:
    bought, both = bought_and_viewed()
    settings = RankerSettings(transition_distance=3)
    expected = fit_tables(bought, None, settings)
    counted = fit_tables(both, None, settings, {"view"})
    assert (counted.weightless, expected.weightless) == (("view",), ())
    nothing = fit_tables(both, None, settings, {"view", "purchase"})
    for found, wanted in (
        (counted, expected),
        (nothing, fit_tables(interactions(events=0), None, settings)),
    ):
        np.testing.assert_array_equal(found.signals, wanted.signals)
        assert found.tables.keys() == wanted.tables.keys()
        for name, table in found.tables.items():
            for column in ("starts", "neighbours", "weights"):
                received = getattr(table, column)
                np.testing.assert_array_equal(received, getattr(wanted.tables[name], column))


@pytest.mark.parametrize("event_type", ["purchase", "view", "play"])
def test_of_one_type_every_event_counts(event_type: str) -> None:
    past = replace(interactions(), event_types=[event_type])
    data = fit_tables(past, None, RankerSettings())
    assert data.taking == (("purchase",) if event_type == "purchase" else ())
    np.testing.assert_array_equal(data.signals, item_signals(past))
    every = PastShop(past, ranking_of(replace(data, taking=())), None, ServiceSettings())
    shop = PastShop(past, ranking_of(data), None, ServiceSettings())
    for user in range(len(past.user_ids)):
        one, other = every.context(user, None), shop.context(user, None)
        np.testing.assert_array_equal(
            every.stage.features(every.stage.pool(one), SOURCES, one),
            shop.stage.features(shop.stage.pool(other), SOURCES, other),
        )


def test_what_is_due_is_due_from_the_purchase_on_and_what_was_but_viewed_never() -> None:
    _, both = bought_and_viewed()
    shop = PastShop(
        both,
        ranking_of(fit_tables(both, None, RankerSettings())),
        None,
        ServiceSettings(),
    )
    context = shop.context(0, None)
    pool = shop.stage.pool(context)
    names = feature_names(SOURCES)
    features = shop.stage.features(pool, SOURCES, context)
    by_name = dict(zip(names, features.T, strict=True))
    assert pool.rows.tolist() == [0, 1]
    # Bought last on day 90, and viewed last on day 93.
    np.testing.assert_allclose(by_name["due"], [np.log(4 / 31), 0], atol=1e-3)
    np.testing.assert_allclose(np.expm1(by_name["days_since"]), 0, atol=1e-3)
    np.testing.assert_allclose(np.expm1(by_name["days_between"]), [30, 0], rtol=1e-3)
    np.testing.assert_allclose(by_name["repeats"], 1)
    # u0 comes nine hours before the newest of all events.
    since = 3 + 9 / 24
    counts = context.acts.counts
    np.testing.assert_allclose(
        pool.scores["buy_again"],
        [counts[0] * (1 - 0.5 * np.exp(-(since + 1) / 30)), counts[1]],
        rtol=1e-3,
    )
