"""What tests of a stream state put into it."""

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.item_statistics import count, nothing
from feature_repo.online_features import ItemStatistics
from streaming.stream_state import (
    OpenState,
)
from streaming.updates import Updates


def commit(
    state: OpenState, partition: int, updates: Updates, positions: dict[str, int] | None = None
) -> str:
    version = state.load(partition, (), ()).version
    return state.commit(partition, version, updates, positions or {})


def history(user_id: str, *timestamps: int) -> UserHistory:
    return UserHistory(
        user_id, tuple(HistoryEvent(time, f"e{time}", "i", "view", 0.5) for time in timestamps)
    )


def statistics(item_id: str, *timestamps: int) -> ItemStatistics:
    made = nothing(item_id)
    for time in timestamps:
        made = count(made, "view", time)
    return made
