"""What happens in a slice is not in what the ranker reads of it, as it learns."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
import pytest

from serving.ranking.feature_names import feature_names
from serving.ranking.settings import RankingSettings
from serving.settings import ServingSettings
from serving.source_names import SOURCES
from tests.support import tiny_training as tiny
from trainer.held_out_splits import held_out_splits
from trainer.ranking import learning_to_rank
from trainer.ranking.examples import Examples, requests_of
from trainer.ranking.fitted_tables import FittedTables
from trainer.ranking.learning_to_rank import Newest, learn_to_rank
from trainer.ranking.past_shop import PastShop
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings
from trainer.settings import TrainingSettings
from trainer.tasks import Split

SLICES = 3
SERVICE = ServiceSettings()
SETTINGS = RankerSettings(
    ease_regularisation=1.0, transition_distance=3, min_users=5, slices=SLICES
)
HOLDOUTS = [
    # Of eleven hours: each user acts every hour, so at least twice in a slice.
    tiny.tiny_settings(holdout_share=0.2),
    # The last event of each user, the last but one, and so on, whenever they were.
    tiny.tiny_settings(holdout="last_events"),
]
of_each_holdout = pytest.mark.parametrize("training", HOLDOUTS, ids=lambda each: each.holdout)


@dataclass(frozen=True)
class Asked:
    """A slice as it is learned from.

    users: those who teach. features: of all users, as they would be asked. labels: of all users.
    """

    users: list[int]
    features: list[np.ndarray]
    labels: np.ndarray
    examples: Examples


def splits_of(events: pl.DataFrame, training: TrainingSettings) -> list[Split]:
    return list(islice(held_out_splits(events, tiny.tiny_items(), training), SLICES))


def learned(
    events: pl.DataFrame,
    training: TrainingSettings,
    judged: Collection[str] = (),
    service: ServiceSettings = SERVICE,
) -> list[Asked]:
    """Return what `learn_to_rank` asks, the newest slice first."""
    splits, texts, asked = splits_of(events, training), tiny.tiny_text_embeddings(), list[Asked]()

    def listening(
        shop: PastShop, labels: Any, users: Any, queries: Any, *rest: Any
    ) -> Iterator[Examples]:
        features = []
        for user in range(labels.shape[0]):
            context = shop.context(user, None if queries is None else queries[user])
            features.append(shop.stage.features(shop.stage.pool(context), SOURCES, context))
        requests = list(requests_of(shop, labels, users, queries, *rest))
        examples = Examples.joined(requests)
        asked.append(Asked(users.tolist(), features, labels.toarray(), examples))
        return iter(requests)

    past, random = splits[0].past, np.random.default_rng(0)
    newest = Newest(
        random.normal(size=(len(past.user_ids), 4)).astype(np.float32),
        random.normal(size=(len(past.items), 4)).astype(np.float32),
        judged,
    )
    tables = FittedTables(lambda items: texts[[int(item.item_id[1:]) for item in items]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_to_rank, "requests_of", listening)
        # What is learned from is the question, not what is learned.
        patch.setattr(learning_to_rank, "TRIED_BELOW", 0)
        patch.setattr(learning_to_rank, "train_ranker", lambda examples, *settings: None)
        learn_to_rank(splits, newest, tables, SETTINGS, service)
    assert len(asked) == SLICES
    return asked


def other_items(events: pl.DataFrame, changed: pl.Expr) -> pl.DataFrame:
    """Return the events, the changed ones on other items."""
    number = pl.col("item_id").str.slice(1).cast(pl.Int64)
    other = pl.format("i{}", (number + 7) % tiny.NUM_ITEMS)
    return events.with_columns(
        pl.when(changed).then(other).otherwise(pl.col("item_id")).alias("item_id")
    )


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


@of_each_holdout
@pytest.mark.parametrize("number", range(SLICES))
def test_nothing_of_the_slice_is_in_the_features(number: int, training: TrainingSettings) -> None:
    """Whatever happens in a slice changes its labels, and the features of later ones alone."""
    events = tiny.tiny_interactions().frame()
    future = splits_of(events, training)[number].future
    slice_ = pl.col("event_id").is_in(future["event_id"].implode())
    before = learned(events, training)
    after = learned(other_items(events, slice_), training)
    for each, (was, now) in enumerate(zip(before, after, strict=True)):
        assert same(was.features, now.features) == (each >= number), each
        assert np.array_equal(was.labels, now.labels) == (each != number), each


@of_each_holdout
def test_who_is_judged_teaches_nothing_of_the_newest_slice(training: TrainingSettings) -> None:
    """What they did before it is asked of them as of the others."""
    events = tiny.tiny_interactions().frame()
    split = splits_of(events, training)[0]
    users = split.past.user_ids
    judged = users[::2]
    newest = pl.col("event_id").is_in(split.future["event_id"].implode())
    theirs = pl.col("user_id").is_in(judged)
    taught = learned(events, training, judged)
    again = learned(other_items(events, newest & theirs), training, judged)
    others = learned(other_items(events, newest & ~theirs), training, judged)
    for number, (was, now) in enumerate(zip(taught, again, strict=True)):
        np.testing.assert_array_equal(was.examples.features, now.examples.features)
        np.testing.assert_array_equal(was.examples.labels, now.examples.labels)
        assert was.users == [user for user in range(len(users)) if number or user % 2]
    assert not np.array_equal(taught[0].labels, again[0].labels)
    assert not np.array_equal(taught[0].examples.labels, others[0].examples.labels)


@of_each_holdout
def test_a_source_that_is_off_teaches_nothing(training: TrainingSettings) -> None:
    events = tiny.tiny_interactions().frame()
    columns = [name.startswith("ease.") for name in feature_names(SOURCES)]
    ranking = RankingSettings(sources=tuple(each for each in SOURCES if each != "ease"))
    service = ServiceSettings(ServingSettings(ranking=ranking))
    without = learned(events, training, service=service)
    for on, off in zip(learned(events, training), without, strict=True):
        assert on.examples.features[:, columns].any()
        assert len(off.examples.features)
        assert not off.examples.features[:, columns].any()
