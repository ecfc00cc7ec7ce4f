"""What a model knows of the rows of the catalogue."""

from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder
from serving.exact_index import ExactIndex
from serving.live_model import LiveModel

NO_ENCODER = cast(Encoder, object())
ids = st.integers(0, 9).map(lambda number: f"i{number}")


@given(st.lists(ids, unique=True), st.dictionaries(ids, st.integers(1, 9)), st.lists(ids))
def test_events_that_training_saw_are_those_of_the_item(
    listed: list[str], counts: dict[str, int], later: list[str]
) -> None:
    table = ExactIndex(1)
    table.rows.add(listed)
    model = LiveModel(CandidateSpace("v1", 1, 1.0, counts), NO_ENCODER, table, table)
    known = {item_id: count for item_id, count in counts.items() if item_id in listed}
    rows = np.append(table.rows.add(listed), table.rows.add(later))
    expected = [known.get(item_id, 0) for item_id in (*listed, *later)]
    assert model.trained_events_of(rows).tolist() == expected


@given(st.lists(ids, unique=True), st.lists(ids, unique=True), st.lists(ids))
def test_an_embedding_is_had_by_whom_it_was_given_and_not_taken(
    given_to: list[str], taken_from: list[str], asked: list[str]
) -> None:
    table = ExactIndex(1)
    # Known to the catalogue, and to it alone.
    table.rows.add(["i0", "i9"])
    table.upsert(given_to, np.ones((len(given_to), 1), np.float32))
    table.delete(taken_from)
    model = LiveModel(CandidateSpace("v1", 1, 1.0, {}), NO_ENCODER, table, table)
    expected = [item_id in given_to and item_id not in taken_from for item_id in asked]
    assert model.table.has_embeddings(asked).tolist() == expected
    assert model.table.embeddings_of(asked)[1].tolist() == expected
    assert model.knows_any(asked) == any(expected)
