"""The catalogue against a dictionary, and filters against Python."""

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import Item
from serving.catalogue import Catalogue
from serving.catalogue_columns import CatalogueColumns
from serving.catalogue_levels import CACHED_ATTRIBUTES
from serving.filters import FilterError
from tests.support.catalogues import NOW, allowed, item
from tests.support.items import items_of

FILTERS: dict[str, Callable[[Item], bool]] = {
    "published_at > now() - INTERVAL '60 days' AND published_at < NOW ()": lambda i: (
        i.published_at is not None and NOW - timedelta(days=60) < i.published_at < NOW
    ),
    "title <> 'now'": lambda i: i.title != "now",
    "price < 20": lambda i: i.price is not None and i.price < 20,
    "NOT price < 20": lambda i: i.price is not None and not i.price < 20,
    "price IS NULL": lambda i: i.price is None,
    "price BETWEEN 5 AND 10 OR brand = 'O''Neill'": lambda i: (
        (i.price is not None and 5 <= i.price <= 10) or i.brand == "O'Neill"
    ),
    "'boots' = ANY(categories)": lambda i: "boots" in i.categories,
    "array_contains(tags, 'sale')": lambda i: "sale" in i.tags,
    "array_length(tags) > 0": lambda i: len(i.tags) > 0,
    "lower(title) LIKE 'item 1%'": lambda i: i.title.lower().startswith("item 1"),
    "title IN ('Item 3', 'Item 4')": lambda i: i.title in ("Item 3", "Item 4"),
    "published_at >= DATE '2025-06-01'": lambda i: (
        i.published_at is not None and i.published_at >= datetime(2025, 6, 1, tzinfo=UTC)
    ),
    "attributes.colour = 'red'": lambda i: i.attributes.get("colour") == "red",
    'attributes."weight" * 2 >= 10 - -1': lambda i: float(i.attributes["weight"]) * 2 >= 11,
    "attributes.new": lambda i: bool(i.attributes.get("new")),
    "available AND item_id <> 'i3'": lambda i: i.item_id != "i3",
    "TRUE": lambda i: True,
    "1 = 2": lambda i: False,
}


@pytest.mark.parametrize("sql", FILTERS)
def test_a_filter_allows_what_python_allows(sql: str) -> None:
    catalogue, items = Catalogue(), [item(number) for number in range(100)]
    catalogue.upsert(items)
    expected = {i.item_id for i in items if i.available and FILTERS[sql](i)}
    assert allowed(catalogue, sql) == expected


numbers = st.lists(st.integers(0, 40), min_size=1, max_size=30)
changes = st.lists(st.tuples(st.sampled_from(["upsert", "delete"]), numbers, st.integers(0, 3)))


@given(changes=changes)
def test_any_changes_leave_what_a_dictionary_holds(
    changes: list[tuple[str, list[int], int]],
) -> None:
    catalogue, oracle = Catalogue(), {}
    catalogue.upsert([item(number) for number in range(200, 300)])
    oracle.update({f"i{number}": item(number) for number in range(200, 300)})
    for action, ids, generation in changes:
        if action == "upsert":
            items = [item(number, price=float(number * generation)) for number in ids]
            catalogue.upsert(items)
            oracle.update({i.item_id: i for i in items})
        else:
            catalogue.delete([f"i{number}" for number in ids])
            for number in ids:
                oracle.pop(f"i{number}", None)
        expected = {i.item_id for i in oracle.values() if i.available and (i.price or 0) > 30}
        assert allowed(catalogue, "price > 30") == expected
    assert len(catalogue) == len(oracle)
    assert {i.item_id: i for i in items_of(catalogue)} == oracle
    assert all(catalogue.get(key) == value for key, value in oracle.items())
    assert catalogue.get("nothing") is None


@given(changes=changes)
def test_tables_hold_little_more_than_the_items(
    changes: list[tuple[str, list[int], int]],
) -> None:
    catalogue = Catalogue()
    catalogue.upsert([item(number) for number in range(200, 300)])
    for action, ids, generation in changes:
        if action == "upsert":
            catalogue.upsert([item(number, price=float(generation)) for number in ids])
        else:
            catalogue.delete([f"i{number}" for number in (*ids, *(200 + each for each in ids))])
        listed = catalogue.view().listed
        for level in catalogue.view().levels:
            assert 2 * np.count_nonzero(listed[level.rows]) >= len(level.rows)
            assert level.frame["_row"].to_list() == level.rows.tolist()
    catalogue.delete([f"i{number}" for number in range(300)])
    assert sum(level.frame.height for level in catalogue.view().levels) == 0
    catalogue.upsert([item(7)])
    assert allowed(catalogue, "price = 7 OR TRUE") == {"i7"}
    assert sum(level.frame.height for level in catalogue.view().levels) == 1


def test_what_is_gone_leaves_the_tables_when_they_are_merged() -> None:
    catalogue = Catalogue()
    catalogue.upsert([item(number) for number in range(50)])
    catalogue.delete([f"i{number}" for number in range(20)])
    catalogue.upsert([item(100), item(3)])
    assert sum(level.frame.height for level in catalogue.view().levels) == len(catalogue)


def test_a_view_does_not_change() -> None:
    catalogue = Catalogue()
    catalogue.upsert([item(1), item(3)])
    view, columns = catalogue.view(), [each.name for each in fields(CatalogueColumns)]
    before = {name: getattr(view, name).tolist() for name in columns}
    catalogue.upsert([item(2), item(3, brand="other", categories=("lamps",), price=1.0)])
    catalogue.delete(["i1"])
    assert {name: getattr(view, name).tolist() for name in columns} == before
    assert view.available.tolist() == [True, True]
    assert allowed(catalogue, None) == {"i2", "i3"}


def test_a_snapshot_does_not_override_changes() -> None:
    catalogue = Catalogue()
    catalogue.load_snapshot([item(1), item(2), item(3), item(4)])
    catalogue.upsert([item(1, title="changed")])
    catalogue.delete(["i2"])
    version = catalogue.view().version
    catalogue.load_snapshot([item(1), item(2), item(3, title="newer"), item(5)])
    titles = {i.item_id: i.title for i in items_of(catalogue)}
    assert titles == {"i1": "changed", "i3": "newer", "i5": "Item 5"}
    assert catalogue.changed_since(version) == ([], [])
    upserted, deleted = catalogue.changed_since(0)
    assert [i.title for i in upserted] == ["changed"]
    assert deleted == ["i2"]


def test_a_deletion_counts_for_an_item_that_only_a_later_snapshot_holds() -> None:
    """A new replica reads of it nothing but the deletion, and a bundle may be older than that."""
    catalogue = Catalogue()
    catalogue.load_snapshot([item(1)])
    version = catalogue.view().version
    catalogue.delete(["i2"])
    catalogue.load_snapshot([item(1), item(2)])
    assert allowed(catalogue, None) == {"i1"}
    assert catalogue.changed_since(version) == ([], ["i2"])
    catalogue.upsert([item(2)])
    assert allowed(catalogue, None) == {"i1", "i2"}


def test_what_a_snapshot_says_again_keeps_its_tables() -> None:
    catalogue, snapshot = Catalogue(), [item(number) for number in range(200)]
    catalogue.load_snapshot(snapshot)
    levels = catalogue.view().levels
    catalogue.load_snapshot(snapshot)
    assert catalogue.view().levels == levels
    snapshot[3] = item(3, price=1000.0)
    catalogue.load_snapshot(snapshot)
    assert catalogue.view().levels[: len(levels)] == levels
    assert allowed(catalogue, "price > 900") == {"i3"}


@pytest.mark.parametrize("unknown", ["9" * 400, "1e400", "[" * 99 + "]" * 99])
def test_an_item_changes_and_goes_whatever_its_unknown_fields_hold(unknown: str) -> None:
    odd = Item.model_validate_json(f'{{"item_id":"odd","attributes":{{"a":1}},"x":{unknown}}}')
    for change in ("upsert", "delete", "snapshot"):
        catalogue = Catalogue()
        catalogue.load_snapshot([item(1), odd])
        if change == "upsert":
            catalogue.upsert([Item(item_id="odd", price=3.0)])
            assert allowed(catalogue, "price = 3") == {"odd"}
        elif change == "delete":
            catalogue.delete(["odd"])
        else:
            catalogue.load_snapshot([item(1)])
        assert ("odd" in catalogue) is (change == "upsert")
        assert allowed(catalogue, None) == {each.item_id for each in items_of(catalogue)}
        with pytest.raises(FilterError, match="no item has"):
            allowed(catalogue, "attributes.a = 1")


def test_an_attribute_of_two_kinds_is_text() -> None:
    catalogue = Catalogue()
    catalogue.upsert([item(1, attributes={"size": 40.0}), item(2, attributes={"size": "XL"})])
    assert allowed(catalogue, "attributes.size = 'XL'") == {"i2"}
    assert allowed(catalogue, "attributes.size = '40'") == {"i1"}


# What a filter can name: no quotation mark, and no NUL.
names = st.text(st.characters(exclude_characters='"\0', exclude_categories=("Cs",)), min_size=1)
values = st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()


@given(
    names | st.sampled_from(["\\", "a\\", "a\\b", "\\n", "\t", "a\nb", "^a$", "*"]), values, values
)
def test_an_attribute_of_any_name_has_its_value(
    name: str, value: str | float | bool, other: str | float | bool
) -> None:
    catalogue = Catalogue()
    catalogue.upsert([item(1, attributes={name: value, f"{name}.": other})])
    catalogue.upsert([item(2, attributes={})])
    literal = repr(value)
    if isinstance(value, str):
        literal = "'" + value.replace("'", "''") + "'"
    if "\0" not in literal:
        assert allowed(catalogue, f'attributes."{name}" = {literal}') == {"i1"}
    assert allowed(catalogue, f'attributes."{name}" IS NOT NULL') == {"i1"}


def test_a_table_keeps_the_columns_of_few_attributes() -> None:
    catalogue, number = Catalogue(), 2 * CACHED_ATTRIBUTES
    catalogue.upsert([item(each, attributes={f"a{each}": "yes"}) for each in range(number)])
    for each in range(number):
        expected = {f"i{each}"} if each % 11 else set()
        assert allowed(catalogue, f"attributes.a{each} = 'yes'") == expected
    # One filter may name more of them.
    any_of_them = " OR ".join(f"attributes.a{each} = 'yes'" for each in range(12, 78))
    assert len(allowed(catalogue, any_of_them)) == 66 - 6
    assert all(len(each.columns) <= CACHED_ATTRIBUTES for each in catalogue.view().levels)


sizes = st.sampled_from([None, 1.0, 3.0, "L", "3", True])
resizings = st.lists(
    st.tuples(st.sampled_from(["upsert", "delete", "snapshot"]), st.integers(0, 5), sizes),
    max_size=12,
)


def sized(number: int, size: str | float | bool | None) -> Item:
    return item(number, attributes={} if size is None else {"size": size})


def answer(catalogue: Catalogue, sql: str) -> set[str] | str:
    try:
        return allowed(catalogue, sql)
    except FilterError as error:
        return str(error)


@given(changes=resizings)
def test_an_attribute_is_of_the_kind_of_the_items_that_are_there(
    changes: list[tuple[str, int, str | float | bool | None]],
) -> None:
    catalogue = Catalogue()
    catalogue.load_snapshot([sized(number, float(number)) for number in range(100, 180)])
    for action, number, size in changes:
        if action == "delete":
            catalogue.delete([f"i{number}"])
        elif action == "upsert":
            catalogue.upsert([sized(number, size)])
        else:
            catalogue.load_snapshot([sized(number, size)])
        fresh = Catalogue()
        fresh.upsert(items_of(catalogue))
        for sql in ("attributes.size > 2", "attributes.size = 'L'", "attributes.size"):
            assert answer(catalogue, sql) == answer(fresh, sql)


def test_a_mistyped_value_holds_a_filter_up_only_while_it_is_there() -> None:
    catalogue = Catalogue()
    catalogue.upsert([sized(1, 5.0), sized(2, 2.0)])
    for mend in (lambda: catalogue.upsert([sized(3, 1.0)]), lambda: catalogue.delete(["i3"])):
        assert allowed(catalogue, "attributes.size > 3") == {"i1"}
        catalogue.upsert([sized(3, "L")])
        with pytest.raises(FilterError, match="cannot be evaluated"):
            allowed(catalogue, "attributes.size > 3")
        mend()
    assert allowed(catalogue, "attributes.size > 3") == {"i1"}


labels = st.text(max_size=3)


@given(st.lists(st.tuples(st.lists(labels.filter(bool), max_size=3), labels), max_size=20))
def test_items_share_a_number_where_they_share_a_category_or_brand(
    kinds: list[tuple[list[str], str]],
) -> None:
    catalogue = Catalogue()
    items = [
        item(number, categories=tuple(categories), brand=brand)
        for number, (categories, brand) in enumerate(kinds)
    ]
    # A change of an item changes its numbers.
    catalogue.upsert([each.model_copy(update={"brand": "old"}) for each in items])
    catalogue.upsert(items)
    view = catalogue.view()
    for one, first in enumerate(items):
        assert (view.brands[one] == 0) == (not first.brand)
        assert (view.paths[one] == 0) == (view.categories[one] == 0) == (not first.categories)
        for other, second in enumerate(items):
            assert (view.brands[one] == view.brands[other]) == (first.brand == second.brand)
            assert (view.paths[one] == view.paths[other]) == (first.categories == second.categories)
            assert (view.categories[one] == view.categories[other]) == (
                first.categories[:1] == second.categories[:1]
            )
