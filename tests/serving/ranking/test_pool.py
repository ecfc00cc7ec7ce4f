"""A pool unites what sources propose, and knows who proposed what."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.candidates import Candidates
from serving.exact_index import ExactIndex
from serving.item_rows import ItemRows, Rows
from serving.ranking.ranking_stage import Pool

ITEMS = [f"i{row}" for row in range(12)]
EMBEDDED = ITEMS[:9]

proposals_ = st.dictionaries(
    st.sampled_from(["ease", "text", "category", "trending"]),
    st.lists(st.integers(0, len(ITEMS) - 1), unique=True),
)


def context() -> Any:
    table = ExactIndex(2, ItemRows(ITEMS))
    table.upsert(EMBEDDED, np.ones((len(EMBEDDED), 2), np.float32))
    return SimpleNamespace(model=SimpleNamespace(table=table))


def proposed(rows: list[int]) -> Candidates:
    def score_of(asked: Rows) -> np.ndarray:
        return (asked * 10).astype(np.float32)

    found = np.array(rows, dtype=np.int64)
    return Candidates(found, score_of(found), score_of)


@given(proposals_)
def test_a_pool_holds_each_proposed_row_once_with_all_who_proposed_it(
    rows_of: dict[str, list[int]],
) -> None:
    proposals = {name: proposed(rows) for name, rows in rows_of.items()}
    pool = Pool.of(proposals, context())
    # What has no embedding yet cannot be compared.
    expected = sorted({row for rows in rows_of.values() for row in rows if row < len(EMBEDDED)})
    assert pool.rows.tolist() == expected
    places = np.arange(len(expected))[::-1]
    assert pool.proposers(places) == [
        tuple(name for name, rows in rows_of.items() if expected[place] in rows)
        for place in places.tolist()
    ]
    assert all(scores.tolist() == [row * 10 for row in expected] for scores in pool.scores.values())
