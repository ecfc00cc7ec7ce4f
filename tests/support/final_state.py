"""Everything that a stream leaves behind, to be compared with what another one leaves."""

from typing import Any

from feature_repo.archive import Archive
from feature_repo.event_log import ITEM_EMBEDDINGS, EventLog
from feature_repo.history import UserHistory
from feature_repo.online_features import (
    CoVisitation,
    ItemEmbedding,
    ItemStatistics,
    OnlineFeatures,
    UserEmbedding,
)
from feature_repo.schema import Item, User
from streaming.dead_letters import dead_letters
from streaming.stream_state import OpenState
from tests.support.stream import comparable
from tests.support.traffic import ITEMS_IN_SHOP, USERS_IN_SHOP

VIEWS = (UserHistory, UserEmbedding, User, Item, ItemEmbedding, ItemStatistics, CoVisitation)


def final_state(
    log: EventLog, online: OnlineFeatures, state: OpenState, archive: Archive
) -> dict[str, Any]:
    """Return state, online store, newest item changes, archive and refused records."""
    keys = [f"u{n}" for n in range(USERS_IN_SHOP)] + [f"i{n}" for n in range(ITEMS_IN_SHOP)]
    found: dict[str, Any] = {
        "histories": {each.user_id: each for some in state.all_histories() for each in some},
        "statistics": {each.item_id: each for some in state.all_statistics() for each in some},
        "co_visitation": {
            each.item_id: each for some in state.all_co_visitation() for each in some
        },
        "fold_in": _fold_in(state),
        "unpushed": state.count_unpushed(),
        "changelog": _changelog(log),
        "events": archive.events.scan().sort("timestamp", "event_id").collect().rows(),
        "items": archive.items(),
        "users": archive.users(),
        "dead": sorted(letter.record.value or b"" for letter in dead_letters(log)),
    }
    for view in VIEWS:
        records = online.get(view, keys)
        found[view.__name__] = [None if r is None else comparable(r) for r in records]
    return found


def _fold_in(state: OpenState) -> dict[tuple[int, str], Any]:
    """Return the sums of the items' users, to the last bit, by partition and item."""
    items = [f"i{n}" for n in range(ITEMS_IN_SHOP)]
    return {
        (partition, item_id): (sums.bundle_version, sums.timestamp, sums.weight, *sums.vector)
        for partition in state.partitions()
        for item_id, sums in state.load(partition, (), items).fold_in.items()
    }


def _changelog(log: EventLog) -> dict[str | None, bytes | None]:
    consumer = log.consumer(None, [ITEM_EMBEDDINGS])
    newest: dict[str | None, bytes | None] = {}
    while records := consumer.poll(10_000, 0.0):
        newest.update((record.key, record.value) for record in records)
    consumer.close()
    return newest
