"""What is a filter and what is none, and what its times are."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP
from serving.catalogue import Catalogue
from serving.filters import FilterError, compile_filter
from tests.support.catalogues import NOW, allowed, item


@pytest.mark.parametrize(
    ("sql", "part"),
    [
        ("", "is empty"),
        ("price <", "no SQL expression"),
        ("price < 5; DROP TABLE x", "';' at position 9"),
        ("price < 5 -- always", "no"),
        ("(SELECT 1)", "'SELECT'"),
        ("price IN (SELECT price FROM items)", "'SELECT'"),
        ("secret = 1", "'secret', which is no column"),
        ("Price = 1", "'Price', which is no column"),
        ('"_row" = 1', "no column"),
        ("read_csv('/etc/passwd') = 1", "'read_csv'"),
        ("sum(price) > 3", "'sum'"),
        ("published_at > today()", "'today'"),
        ("items.price > 3", "'items'"),
        ("attributes.nowhere = 1", "which no item has"),
        ("attributes. = 1", "name an attribute"),
        ("price", "must be true or false"),
        ("title = 5", "cannot be evaluated"),
        ("price = 'x'", "cannot be evaluated"),
        ("title ~ 'a'", "'~'"),
        ("title = 'open", '"\'" at position 8'),
        ("title = $1", "'$'"),
        ("price = 1" + " OR price = 1" * 200, "characters"),
        ("(" * 40 + "TRUE" + ")" * 40, "nest"),
        ("NOT " * 450 + "TRUE", "words"),
        ("published_at > '2025-01-01'", "`published_at` is a time, such as DATE"),
        ("title = 'a\0b'", "position 8"),
        ("||".join(["title"] * 190) + " = ''", "'|' at position 5"),
        ("price < 50 available", "'available' at position 11 without an operator"),
        ("price < 50 attributes.colour", "'colour' at position 22 without an operator"),
        ("price < 50 'open'", "without an operator"),
        ("price BETWEEN 1 AND 3 TRUE", "without an operator"),
        ("price < 50 then", "without an operator"),
        ("(price < 50) date", "without an operator"),
        ("(price < 50 available) AND available", "no SQL expression"),
        ('brand = "Norden"', "a text 'Norden'."),
        ('brand = "Jo\'s"', "a text 'Jo''s'."),
        ("brand = Norden", "a text 'Norden'."),
        ("colour = 'red'", "An attribute is attributes.colour,"),
        ("price < 5 AND brand == 'x'", "'==' at position 20"),
    ],
)
def test_what_is_no_filter_is_refused_by_its_part(sql: str, part: str) -> None:
    catalogue = Catalogue()
    catalogue.upsert([item(number) for number in range(3)])
    with pytest.raises(FilterError) as caught:
        catalogue.view().allowed(sql, NOW)
    assert part in str(caught.value)
    assert str(caught.value).startswith("`filter` ")


@pytest.mark.parametrize("sql", ["brand<>='x'", "price   <", "brand in('x'"])
def test_an_error_quotes_what_was_sent_and_nothing_else(sql: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(sql, "")
    assert str(caught.value) == f"`filter` is no SQL expression. Received: {sql!r}."


@pytest.mark.parametrize("call", ["NOW(1)", "NOW('UTC')", "NOW(", "now(price)"])
def test_now_has_no_arguments(call: str) -> None:
    with pytest.raises(FilterError, match=r"must have now\(\) without arguments at position 15"):
        Catalogue().view().allowed(f"published_at > {call}".lower(), NOW)


moments = st.datetimes(
    EARLIEST_TIMESTAMP.replace(tzinfo=None),
    LATEST_TIMESTAMP.replace(tzinfo=None) - timedelta(days=1),
    timezones=st.just(UTC),
)


@given(moments, st.integers(-1439, 1439))
def test_a_timestamp_is_of_utc_or_of_the_offset_that_it_names(
    moment: datetime, minutes: int
) -> None:
    catalogue = Catalogue()
    catalogue.upsert([item(1, published_at=moment)])
    there = str(moment.astimezone(timezone(timedelta(minutes=minutes))))
    utc = str(moment.replace(tzinfo=None))
    written = {utc, f"{utc}Z", there, there.replace(" ", "T"), f"{utc}z".replace(" ", "t")}
    for text in written:
        assert allowed(catalogue, f"published_at = TIMESTAMP '{text}'") == {"i1"}
        assert allowed(catalogue, f"published_at >= timestamp '{text}'") == {"i1"}
        assert not allowed(catalogue, f"published_at < TIMESTAMP '{text}'")


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2026-01-01 08:00:00 CET", "2026-01-01 08:00:00+25:00", "0001-01-01T00:00+14:00"],
)
def test_a_timestamp_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(FilterError, match=r"holds TIMESTAMP '.*' at position 25"):
        compile_filter(f"published_at > TIMESTAMP '{text}'", "")


def test_an_age_is_of_the_minute_that_asks() -> None:
    catalogue, hour = Catalogue(), timedelta(hours=1)
    catalogue.upsert([item(1, published_at=NOW - 47 * hour, available=True)])
    view, sql = catalogue.view(), "published_at > NOW() - INTERVAL '48 hours'"
    assert view.allowed(sql, NOW).tolist() == [True]
    assert view.allowed(sql, NOW + hour / 2).tolist() == [True]
    assert view.allowed(sql, NOW + 2 * hour).tolist() == [False]
    # Wherever the clock that asks is, and as it was if it goes back.
    elsewhere = timezone(timedelta(hours=-7))
    assert view.allowed(sql, (NOW + 2 * hour).astimezone(elsewhere)).tolist() == [False]
    assert view.allowed(sql, NOW).tolist() == [True]
    # All requests of a minute share what was computed for the first.
    assert view.allowed(sql, NOW) is view.allowed(sql, NOW + timedelta(seconds=30))


words = ["price", "title", "tags", "(", ")", "AND", "NOT", "'a'", "1", "=", "<", "IN", ",", "ANY"]
words += ["IS", "NULL", "CASE", "WHEN", "THEN", "END", "LIKE", "-", ".", "attributes", "length"]
words += ["BETWEEN", "DATE", "available", "||", "/", "0", "%", "array_length", "TIMESTAMP"]
words += ["NOW", "NOW()", "INTERVAL", "'2 days'", "published_at"]


@given(st.lists(st.sampled_from(words), max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_gives_a_mask_or_a_filter_error(sql: str) -> None:
    catalogue = Catalogue()
    catalogue.upsert([item(number) for number in range(3)])
    try:
        mask = catalogue.view().allowed(sql, NOW)
    except FilterError:
        return
    assert mask.dtype == np.bool_
    assert mask.shape == (3,)
