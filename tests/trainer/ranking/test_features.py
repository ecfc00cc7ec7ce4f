"""The features of training are those of serving, and what is learned from them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from structlog.testing import capture_logs

import trainer.ranking.ranker
from feature_repo.co_visitation import Pair, add
from feature_repo.co_visitation import nothing as nobody
from feature_repo.co_visitation import pairs as pairs_of
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.history import HistoryEvent, UserHistory, append
from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from feature_repo.item_statistics import count, nothing
from feature_repo.times import microseconds
from serving.catalogue import Catalogue
from serving.published_bundles import set_current
from serving.ranking.calibrated_fusion import CalibratedFusion
from serving.ranking.feature_names import OF_REQUESTS, feature_names
from serving.ranking.ranker import Ranker
from serving.recommender import Recommender
from serving.reload import open_current
from serving.requests import RecommendRequest
from serving.settings import ServingSettings
from serving.source_names import SOURCES
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource
from tests.support import tiny_training as tiny
from trainer.export import BundleNote, ExportedCatalogue, TrainedRanking, export_bundle
from trainer.interactions import Interactions
from trainer.lesson import Lesson
from trainer.ranking.examples import Examples, future_labels, requests_of
from trainer.ranking.fitted_tables import FittedTables, fit_tables
from trainer.ranking.learning_to_rank import Learned, Newest, learn_to_rank
from trainer.ranking.objectives import objectives_of
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.ranker import (
    blank_ranker,
)
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings
from trainer.tasks import temporal_split
from trainer.train import train
from trainer.trained_model import TrainedModel
from trainer.windows import make_windows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("trained_step_by_step")]

SETTINGS = RankerSettings(ease_regularisation=1.0, transition_distance=3, epochs=3, min_users=5)
SERVING = ServingSettings()
TOGETHER = CoVisitationSettings()
LENGTH = 12
SERVICE = ServiceSettings(SERVING, TOGETHER, LENGTH)


@pytest.fixture(autouse=True, scope="module")
def _few_epochs() -> Iterator[None]:
    """No test here asks how well a ranker has learned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.ranking.ranker, "MOST_EPOCHS", SETTINGS.epochs)
        yield


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    columns = tiny.tiny_interactions()
    hides = np.random.default_rng(0).random(len(columns.item)) < 0.2
    columns = replace(columns, event_types=["hide", "view"], event_type=1 - hides.astype(np.int32))
    # The two-tower reads half of the histories that the service keeps.
    settings = tiny.tiny_settings(epochs=1, history_length=LENGTH // 2)
    texts = tiny.tiny_text_embeddings()
    lesson = Lesson(columns, make_windows(columns, settings), settings, texts)
    return train(lesson, tiny.tiny_text_tower())


@pytest.mark.parametrize("weightless", [[], ["hide"]])
def test_the_service_sees_what_training_saw(
    model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weightless: list[str]
) -> None:
    past = model.interactions
    texts = tiny.tiny_text_embeddings()
    data = fit_tables(past, texts, SETTINGS, weightless)
    path = export_bundle(
        model,
        tmp_path,
        BundleNote(past.end),
        catalogue=ExportedCatalogue(past.items, texts),
        ranking=TrainedRanking(data, blank_ranker(SETTINGS)),
    )
    set_current(tmp_path, path.name)
    catalogue = Catalogue()
    holder = open_current(tmp_path, catalogue, SERVING)
    online, trending = InMemoryOnlineFeatures(), TrendingSource(catalogue.rows, SERVING)
    together = CoVisitationSource(catalogue.rows, SERVING)
    statistics = {item.item_id: nothing(item.item_id) for item in past.items}
    for item, event_type, time in zip(past.item, past.event_type, past.timestamp, strict=True):
        item_id = past.items[item].item_id
        kind = past.event_types[event_type]
        statistics[item_id] = count(statistics[item_id], kind, int(time))
    trending.update([each for each in statistics.values() if each.event_types])
    pairs: dict[str, list[Pair]] = {}
    for user, user_id in enumerate(past.user_ids):
        history = UserHistory(user_id)
        for event in range(*past.first_event[user : user + 2]):
            # As the stream learns: one event after another.
            history = append(history, _event(past, event), LENGTH)
            for pair in pairs_of(history, history.events[-1], TOGETHER):
                pairs.setdefault(pair.item_id, []).append(pair)
        online.push([history])
    together.update([add(nobody(each), made, TOGETHER) for each, made in pairs.items()])
    recommender = Recommender(
        holder, catalogue, online, trending, together, SERVING, clock=lambda: past.end
    )
    seen: list[np.ndarray] = []
    score = Ranker.score
    monkeypatch.setattr(
        Ranker, "score", lambda self, features: seen.append(features) or score(self, features)
    )
    candidates = model.candidate_embeddings()
    queries = model.query_embeddings(np.arange(len(past.user_ids)), candidates)
    shop = PastShop(past, ranking_of(data), candidates, SERVICE)
    said = []
    for user in (0, 7, 23):
        recommender.recommend(RecommendRequest("r", past.user_ids[user]))
        context = shop.context(user, queries[user])
        trained = shop.stage.features(shop.stage.pool(context), SOURCES, context)
        for name, live, past_value in zip(
            feature_names(SOURCES), seen.pop().T, trained.T, strict=True
        ):
            np.testing.assert_allclose(live, past_value, rtol=1e-4, atol=1e-4, err_msg=name)
        said.append(trained)
    values = dict(zip(feature_names(SOURCES), np.concatenate(said).T, strict=True))
    for name in ("co_visitation.score", "ease.score", "text.score", "day_fit", "worth_day"):
        assert np.ptp(values[name]) > 0, name


def test_when_a_user_comes_changes_the_features_of_time_alone(model: TrainedModel) -> None:
    past = model.interactions
    data = fit_tables(past, tiny.tiny_text_embeddings(), SETTINGS)
    end = microseconds(past.end)

    def features(later: timedelta | None) -> np.ndarray:
        moments = None
        if later is not None:
            moments = np.full(
                len(past.user_ids), end + later // timedelta(microseconds=1), np.int64
            )
        ranking = ranking_of(data)
        shop = PastShop(past, ranking, None, SERVICE, moments=moments)
        context = shop.context(3, None)
        return shop.stage.features(shop.stage.pool(context), SOURCES, context)

    now, then = features(None), features(timedelta(hours=9))
    changed = {
        name
        for name, one, other in zip(feature_names(SOURCES), now.T, then.T, strict=True)
        if not np.array_equal(one, other)
    }
    assert changed == {*OF_REQUESTS, "day_fit", "week_fit"}
    np.testing.assert_array_equal(features(timedelta(0)), now)
    np.testing.assert_allclose(features(timedelta(days=7)), now, atol=1e-6)


def test_what_people_do_has_the_features_of_views_where_no_setting_names_it(
    model: TrainedModel,
) -> None:
    columns = model.interactions
    data = fit_tables(columns, tiny.tiny_text_embeddings(), SETTINGS)

    def features(event_type: str) -> np.ndarray:
        past = replace(columns, event_types=[event_type] * len(columns.event_types))
        shop = PastShop(past, ranking_of(data), None, SERVICE)
        context = shop.context(3, None)
        return shop.stage.features(shop.stage.pool(context), SOURCES, context)

    plays = features("play")
    assert np.ptp(plays[:, feature_names(SOURCES).index("worth_day")]) > 0
    np.testing.assert_array_equal(plays, features("view"))


def test_what_has_sold_out_since_is_found_as_it_was(model: TrainedModel) -> None:
    """What is unique is sold once: of today's availability no one could be asked for it."""
    cut = tiny.START + timedelta(hours=8)
    events = tiny.tiny_interactions().frame()
    sold = set(events.filter(pl.col("timestamp") >= cut)["item_id"])
    found = []
    for gone in (set[str](), sold):
        items = [
            item.model_copy(update={"available": item.item_id not in gone})
            for item in tiny.tiny_items()
        ]
        past = Interactions.from_frame(events.filter(pl.col("timestamp") < cut), items)
        data = fit_tables(past, tiny.tiny_text_embeddings(), SETTINGS)
        shop = PastShop(past, ranking_of(data), None, SERVICE)
        future = events.filter(pl.col("timestamp") >= cut)
        objectives = objectives_of(past.event_types, SETTINGS.event_type_weights)
        labels = future_labels(past, future, SETTINGS, objectives)
        users = np.flatnonzero(np.diff(labels.indptr))
        random = np.random.default_rng(0)
        asked = requests_of(shop, labels, users, None, random, objectives=objectives)
        found.append(Examples.joined(list(asked)))
    assert found[1].num_requests > 0
    np.testing.assert_array_equal(found[1].features, found[0].features)
    np.testing.assert_array_equal(found[1].labels, found[0].labels)


CUT = tiny.START + timedelta(hours=8)


def fitted(judged: set[str], events: pl.DataFrame | None = None, **changes: Any) -> Learned:
    events = tiny.tiny_interactions().frame() if events is None else events
    split = temporal_split(events, tiny.tiny_items(), CUT)
    settings = SETTINGS.model_copy(update={"slices": 1, **changes})
    texts = tiny.tiny_text_embeddings()
    newest = Newest(
        np.zeros((len(split.past.user_ids), 4), np.float32),
        np.zeros((len(split.past.items), 4), np.float32),
        judged,
    )
    return learn_to_rank(
        [split] * max(settings.slices, 1),
        newest,
        FittedTables(lambda items: texts[: len(items)]),
        settings,
        SERVICE,
    )


def everybody() -> set[str]:
    return set(tiny.tiny_interactions().user_ids)


def test_who_is_judged_teaches_nothing_of_the_newest_slice_and_too_few_no_ranker() -> None:
    assert fitted(set()).ranker is not None
    untaught = fitted(everybody())
    assert untaught.ranker is None
    assert " users could be asked about the newest slice, and " in untaught.no_ranker
    assert fitted(set(), min_users=1_000).ranker is None
    # What one alone tells cannot be tried on anybody.
    one = fitted(everybody() - {"u003"}, min_users=1)
    assert (one.ranker, one.halves) == (None, ())
    assert one.fusion is not None
    # Slices before the newest never heard the two-tower: alone they teach no ranker.
    assert fitted(everybody(), slices=2).ranker is None


def test_the_fusion_is_calibrated_without_a_ranker_too() -> None:
    with_ranker = fitted(set())
    assert with_ranker.fusion
    assert not with_ranker.halves
    without = fitted(set(), slices=0)
    assert (without.ranker, without.fusion) == (None, with_ranker.fusion)


def test_who_is_judged_teaches_no_fusion_unless_too_few_are_left() -> None:
    """Then each half teaches the one that the other is judged by."""
    events, users = tiny.tiny_interactions().frame(), sorted(everybody())
    judged = set(users[::2])

    def shuffled(user_ids: set[str]) -> pl.DataFrame:
        theirs = (pl.col("timestamp") >= CUT) & pl.col("user_id").is_in(list(user_ids))
        other = pl.when(theirs).then(pl.lit("i3")).otherwise(pl.col("item_id"))
        return events.with_columns(other.alias("item_id"))

    def fusion(events: pl.DataFrame) -> CalibratedFusion | None:
        return fitted(judged, events, slices=0).fusion

    expected = fusion(events)
    assert expected is not None
    assert fusion(shuffled(judged)) == expected
    assert fusion(shuffled(set(users) - judged)) != expected
    learned = fitted(set(users))
    (first, of_first), (others, of_others) = learned.halves
    assert sorted([*first, *others]) == list(range(len(users)))
    assert abs(len(first) - len(others)) <= 1
    (_, again), (_, changed) = fitted(set(users), shuffled({users[u] for u in others})).halves
    assert (again, changed != of_others) == (of_first, True)


def test_a_trial_asks_about_all_candidates_however_few_are_learned_from() -> None:
    tried = []
    for negatives in (0, 1, 3):
        with capture_logs() as logs:
            fitted(set(), negatives=negatives, epochs=1)
        tried += [line for line in logs if line["event"] == "ranker_tried"]
    # Nor does what the fusion learns.
    assert len(tried) == 3
    assert len({(line["requests"], line["ndcg_of_fusion"]) for line in tried}) == 1


def _event(past: Interactions, event: int) -> HistoryEvent:
    return HistoryEvent(
        int(past.timestamp[event]),
        f"{event:06}",
        past.items[past.item[event]].item_id,
        past.event_types[past.event_type[event]],
        0.0,
    )
