"""What benchmarks ask with: a trained shop's embeddings, queries and histories."""

from pathlib import Path
from typing import TYPE_CHECKING

from riverrun.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from feature_repo.history import UserHistory


def trained_embeddings(
    home: Path, users: int, seed: int
) -> "tuple[list[str], npt.NDArray[np.float32], npt.NDArray[np.float32]]":
    """Return the bundle's candidate ids and embeddings, and the queries of drawn users.

    The embeddings are float32 [num_items, dimension] and [num_users, dimension].
    """
    from serving.bundle_loading import load_bundle
    from serving.exact_index import ExactIndex
    from serving.published_bundles import current_bundle
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

    events = Archive(home / "archive").events.scan().sort("timestamp", "event_id").collect()
    known = events["user_id"].unique().sort().to_list()
    drawn = np.random.default_rng(seed).choice(len(known), min(users, len(known)), replace=False)
    histories = {known[row]: list[HistoryEvent]() for row in drawn}
    columns = ("user_id", "timestamp", "event_id", "item_id", "event_type")
    for user_id, timestamp, event_id, item_id, event_type in events.select(columns).iter_rows():
        if user_id in histories:
            event = HistoryEvent(microseconds(timestamp), event_id, item_id, event_type, 0.0)
            histories[user_id].append(event)
    return [UserHistory(user_id, tuple(history)) for user_id, history in histories.items()]
