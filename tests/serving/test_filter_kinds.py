"""A filter compares texts with texts, numbers with numbers, and so on; or it is refused."""

from datetime import UTC, datetime
from itertools import product

import pytest

from feature_repo.schema import Item
from serving.catalogue import Catalogue
from serving.filters import FilterError, compile_filter

NOW = datetime(2026, 1, 15, tzinfo=UTC)
VALUES = {
    "text": ("title", "'a'", "lower(brand)", "attributes.colour"),
    "number": ("price", "5", "length(title)", "attributes.weight", "price - 2.5"),
    "truth": ("available", "TRUE", "starts_with(title, 'a')", "attributes.new", "(price < 3)"),
    "time": ("published_at", "NOW()", "published_at + INTERVAL '2 days'"),
    "interval": ("INTERVAL '2 days'", "(NOW() - published_at)"),
}
OPERATORS = ("=", "<>", "<", "<=", ">", ">=")


def catalogue() -> Catalogue:
    catalogue = Catalogue()
    item = Item(
        item_id="i1",
        title="a",
        price=25.0,
        published_at=NOW,
        attributes={"colour": "red", "weight": 2.0, "new": True},
    )
    catalogue.upsert([item])
    return catalogue


@pytest.mark.parametrize(("one", "other"), list(product(VALUES, VALUES)))
def test_what_is_compared_is_of_one_kind(one: str, other: str) -> None:
    view = catalogue().view()
    for left, operator, right in product(VALUES[one], OPERATORS, VALUES[other]):
        if {left, right} == {"'a'", "5"}:
            continue  # Polars reads one literal as it reads the other; no item is asked.
        for sql in (
            f"{left} {operator} {right}",
            f"NOT ({left} {operator} {right}) OR available",
            f"{left} BETWEEN {left} AND {right}",
            f"{left} IN ({left}, {right})",
            f"CASE {left} WHEN {right} THEN TRUE ELSE FALSE END",
        ):
            if one == other:
                view.allowed(sql, NOW)
            else:
                with pytest.raises(FilterError, match="cannot be evaluated"):
                    view.allowed(sql, NOW)


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, each) for kind in VALUES for each in VALUES[kind]]
)
def test_not_is_of_what_is_true_or_false(kind: str, value: str) -> None:
    view = catalogue().view()
    if kind == "truth":
        assert view.allowed(f"NOT {value}", NOW) != view.allowed(value, NOW)
    else:
        with pytest.raises(FilterError, match="cannot be evaluated"):
            view.allowed(f"NOT {value}", NOW)


@pytest.mark.parametrize("value", [each for values in VALUES.values() for each in values])
def test_null_stands_beside_any_kind(value: str) -> None:
    view = catalogue().view()
    assert not view.allowed(f"{value} = NULL", NOW).any()
    assert view.allowed(f"coalesce({value}, NULL) IS NOT NULL", NOW).all()


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (
            "20 < price < 30",
            "what a comparison gives is compared with a number. Join comparisons by AND, as in "
            "price > 20 AND price < 30. `price` is a number.",
        ),
        (
            "published_at > 5",
            "a time is compared with a number. `published_at` is a time, such as DATE '2026-01-01',"
            " TIMESTAMP '2026-01-01 08:00:00' or NOW() - INTERVAL '2 days'.",
        ),
        ("NOT price", "NOT stands before a number. `price` is a number."),
        (
            "attributes.new = 'true' AND price > 3",
            "true or false is compared with a text. `price` is a number. "
            "`attributes.new` is true or false.",
        ),
    ],
)
def test_a_refusal_says_what_the_columns_are(sql: str, reason: str) -> None:
    with pytest.raises(FilterError) as caught:
        catalogue().view().allowed(sql, NOW)
    assert caught.value.reason == f"cannot be evaluated: {reason}"


@pytest.mark.parametrize(
    "sql",
    [
        "available" + " BETWEEN FALSE AND TRUE" * 80,
        "(" * 15 + "available" + " BETWEEN FALSE AND TRUE)" * 15,
        "CASE " * 30 + "price" + " WHEN 1 THEN 2 WHEN 3 THEN 4 END" * 30 + " = 2",
        "(price IN (price" + ", 1" * 90 + ")) IN (available" + ", TRUE" * 90 + ")",
    ],
)
def test_what_polars_would_repeat_without_end_is_refused(sql: str) -> None:
    """Each level doubles what is evaluated: a hundred words would never be answered."""
    with pytest.raises(FilterError, match="repeats too much"):
        compile_filter(sql, "")


@pytest.mark.parametrize(
    "sql",
    [
        "price > 1" + " AND price > 1" * 99,
        "price BETWEEN 1 AND 30" + " AND price BETWEEN 1 AND 30" * 65,
        "price IN (price" + ", 1" * 190 + ")",
        "CASE price" + " WHEN 1 THEN FALSE" * 90 + " ELSE TRUE END",
        "price" + " + 1" * 190 + " > 3",
        "available" + " = TRUE" * 190,
    ],
)
def test_a_filter_as_long_as_filters_may_be_is_evaluated(sql: str) -> None:
    assert catalogue().view().allowed(sql, NOW).all()
