"""A refresh that goes on has the items that it began with, whatever became of them since."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import Item
from tests.support.records import ITEMS
from trainer.refresh.as_begun import items_as_begun

CATALOGUES = st.lists(ITEMS, unique_by=lambda item: item.item_id, max_size=5)


@given(CATALOGUES, CATALOGUES, st.data())
def test_items_are_those_of_the_beginning(
    began: list[Item], others: list[Item], data: st.DataObject
) -> None:
    stay = [item for item in began if data.draw(st.booleans())]
    with tempfile.TemporaryDirectory() as folder:
        assert items_as_begun(began, Path(folder)) == began
        for now in ([*others, *stay], []):
            again = items_as_begun(now, Path(folder))
            assert again == began
            # A catalogue of millions is not in memory twice.
            assert {id(item) for item in again} >= {id(item) for item in stay if now}
