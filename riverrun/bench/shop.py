"""The sample shop that benchmarks run on: made once, kept for the next time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from riverrun.cli.console import err
from riverrun.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from feature_repo.history import UserHistory

EVENTS_PER_ITEM = 10
DAYS = 60
LARGE = 20_000


def prepare_shop(home: Path, items: int) -> None:
    """Make, import and train on a sample shop of `items` items and as many users.

    It trains for one epoch; for a large catalogue also with few negatives, the beginnings of texts,
    and a ranker that learns from one slice of time: benchmarks measure speed, not quality.
    """
    from riverrun.cli.import_ import shop as import_shop
    from riverrun.cli.train import train_shop
    from riverrun.sample import SampleSettings, write_sample
    from riverrun.settings import FILES_IN_HOME, load_settings

    if (home / "bundles" / "CURRENT").exists():
        return
    err.print(f"making a shop of {items:,} items in {home}; kept for the next time")
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    sample = SampleSettings(
        items=items,
        users=items,
        events=items * EVENTS_PER_ITEM,
        days=DAYS,
        seed=1,
        end=end,
    )
    write_sample(sample, home / "sample")
    import_shop(home / "sample", home=home)
    settings = load_settings(home=home, **FILES_IN_HOME)
    training = settings.training.model_copy(update={"epochs": 1})
    if items > LARGE:
        update = {
            "text": training.text.model_copy(update={"max_tokens": 16}),
            "ranking": training.ranking.model_copy(update={"slices": 1}),
            "queries_per_step": 256,
            "num_sampled_negatives": 512,
        }
        training = training.model_copy(update=update)
    train_shop(settings.model_copy(update={"training": training}))


def prepare_versions(home: Path, items: int) -> list[str]:
    """Return two published versions of the shop's model; the second is trained if it is missing."""
    from riverrun.cli.train import train_shop
    from riverrun.settings import FILES_IN_HOME, load_settings, with_warm_start
    from serving.bundle import published_versions

    prepare_shop(home, items)
    settings = load_settings(home=home, **FILES_IN_HOME)
    if len(published_versions(settings.bundles)) < 2:
        err.print("training a second model; kept for the next time")
        settings = with_warm_start(settings, enabled=False)
        update = {"epochs": 1, "seed": 1}
        training = settings.training.model_copy(update=update)
        train_shop(settings.model_copy(update={"training": training}))
    return published_versions(settings.bundles)[-2:]


def trained_embeddings(
    home: Path, users: int, seed: int
) -> "tuple[list[str], npt.NDArray[np.float32], npt.NDArray[np.float32]]":
    """Return the bundle's candidate ids and embeddings, and the queries of drawn users.

    The embeddings are float32 [num_items, dimension] and [num_users, dimension].
    """
    from serving.bundle import current_bundle
    from serving.bundle_loading import load_bundle
    from serving.exact_index import ExactIndex
    from serving.saved_model_encoder import SavedModelEncoder
    from serving.text_embedding_cache import TextEmbeddingCache

    path = current_bundle(home / "bundles")
    if path is None:
        raise UserError(f"{home} serves no bundle: remove the folder to have it made anew.")
    bundle = load_bundle(path)
    table = ExactIndex(bundle.manifest.dimension)
    table.upsert(bundle.candidate_ids, bundle.candidate_embeddings)
    encoder = SavedModelEncoder(bundle, table.embeddings_of, TextEmbeddingCache())
    queries = encoder.encode_queries(drawn_histories(home, users, seed))
    return list(bundle.candidate_ids), bundle.candidate_embeddings, queries


def drawn_histories(home: Path, users: int, seed: int) -> "list[UserHistory]":
    """Return the histories of drawn users."""
    import numpy as np

    from feature_repo.archive import Archive
    from feature_repo.history import HistoryEvent, UserHistory
    from feature_repo.times import microseconds

    events = Archive(home / "archive").scan_events().sort("timestamp", "event_id").collect()
    known = events["user_id"].unique().sort().to_list()
    drawn = np.random.default_rng(seed).choice(len(known), min(users, len(known)), replace=False)
    histories = {known[row]: list[HistoryEvent]() for row in drawn}
    columns = ("user_id", "timestamp", "event_id", "item_id", "event_type")
    for user_id, timestamp, event_id, item_id, event_type in events.select(columns).iter_rows():
        if user_id in histories:
            event = HistoryEvent(microseconds(timestamp), event_id, item_id, event_type, 0.0)
            histories[user_id].append(event)
    return [UserHistory(user_id, tuple(history)) for user_id, history in histories.items()]
