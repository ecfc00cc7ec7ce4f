"""Hypothesis strategies of everything that an online store holds."""

from datetime import UTC

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import (
    CoVisitation,
    FeatureRecord,
    ItemEmbedding,
    ItemStatistics,
    UserEmbedding,
)
from feature_repo.schema import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, Item, User

INT64 = st.integers(-(2**63), 2**63 - 1)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
_WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=10
)
IDENTIFIERS = st.lists(_WORDS, min_size=1, max_size=2).map(" ".join)
EVENT_TYPES = st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True)
LABELS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
TIMESTAMPS = st.datetimes(
    EARLIEST_TIMESTAMP.replace(tzinfo=None),
    LATEST_TIMESTAMP.replace(tzinfo=None, year=2099),
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(fold=0))
ATTRIBUTES = st.dictionaries(TEXTS, st.one_of(TEXTS, DOUBLES, st.booleans()), max_size=4)
VECTORS = hnp.arrays(
    np.float32,
    st.integers(0, 16),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)

HISTORY_EVENTS = st.builds(HistoryEvent, INT64, IDENTIFIERS, IDENTIFIERS, EVENT_TYPES, DOUBLES)
HISTORIES = st.builds(UserHistory, IDENTIFIERS, st.lists(HISTORY_EVENTS, max_size=5).map(tuple))
USERS = st.builds(User, user_id=IDENTIFIERS, attributes=ATTRIBUTES)
ITEMS = st.builds(
    Item,
    item_id=IDENTIFIERS,
    title=TEXTS,
    description=TEXTS,
    categories=st.lists(LABELS, max_size=3).map(tuple),
    brand=TEXTS,
    price=st.none() | st.floats(0, 1e12),
    tags=st.lists(LABELS, max_size=3).map(tuple),
    attributes=ATTRIBUTES,
    available=st.booleans(),
    published_at=st.none() | TIMESTAMPS,
)
USER_EMBEDDINGS = st.builds(
    UserEmbedding, IDENTIFIERS, VECTORS, TEXTS, INT64, st.lists(IDENTIFIERS, max_size=3).map(tuple)
)
ITEM_EMBEDDINGS = st.builds(ItemEmbedding, IDENTIFIERS, VECTORS, TEXTS)


@st.composite
def _statistics(draw: st.DrawFn) -> ItemStatistics:
    types = tuple(draw(st.lists(EVENT_TYPES, max_size=4)))
    counts = st.tuples(*[DOUBLES] * len(types))
    return ItemStatistics(
        draw(IDENTIFIERS), draw(INT64), types, draw(counts), draw(counts), draw(counts)
    )


@st.composite
def _co_visitations(draw: st.DrawFn) -> CoVisitation:
    neighbours = tuple(draw(st.lists(IDENTIFIERS, max_size=4)))
    weights = st.tuples(*[DOUBLES] * len(neighbours))
    return CoVisitation(draw(IDENTIFIERS), draw(INT64), neighbours, draw(weights))


RECORDS: st.SearchStrategy[FeatureRecord] = st.one_of(
    HISTORIES, USERS, ITEMS, USER_EMBEDDINGS, ITEM_EMBEDDINGS, _statistics(), _co_visitations()
)


def comparable(record: FeatureRecord | None) -> object:
    """Return something that is equal exactly for records that are equal to the last bit."""
    if isinstance(record, UserEmbedding | ItemEmbedding):
        fields = {name: getattr(record, name) for name in record.__slots__}
        return {**fields, "vector": (record.vector.dtype, record.vector.tobytes())}
    # -0.0 == 0.0, but they are printed differently.
    return repr(record)
