"""How text becomes numbers, times and switches."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from riverrun.importing.mapping import NumberSource, TextSource, TimeSource
from riverrun.importing.text import normalise, normalised
from riverrun.importing.values import number, switch, text, time


def read_number(value: str, decimal: str = "auto") -> float | None:
    frame = pl.DataFrame({"x": [value]})
    source = NumberSource(column="x", decimal=decimal)  # type: ignore[arg-type]
    found: float | None = frame.select(number(source, frame.schema)).item()
    return found


def read_time(value: object, form: str = "auto", timezone: str = "UTC") -> datetime | None:
    frame = pl.DataFrame({"x": [value]})
    source = TimeSource(column="x", format=form, timezone=timezone)
    found: datetime | None = frame.select(time(source, frame.schema)).item()
    return found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1.234,50", 1234.5),
        ("1,234.50", 1234.5),
        ("1.234.567,8", 1234567.8),
        ("1,234,567", 1234567.0),
        ("1.234.567", 1234567.0),
        ("1,234", 1234.0),
        ("1.234", 1.234),
        ("0,500", 0.5),
        ("-0,125 EUR", -0.125),
        ("0,500,000", None),
        ("10,500", 10500.0),
        ("12,5", 12.5),
        ("12.50", 12.5),
        ("€ 12,00", 12.0),
        ("12,- €", 12.0),
        ("USD 1 234.50", 1234.5),
        ("1\u202f234,50\u00a0EUR", 1234.5),
        ("1'234.50", 1234.5),
        ("-3", -3.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("0", 0.0),
    ],
)
def test_prices_are_read_as_they_are_meant(written: str, meant: float | None) -> None:
    assert read_number(written) == meant


@pytest.mark.parametrize(
    "written", ["", "abc", "1.2.3,4,5", "NaN", "inf", "1-2", "--", "€", "1e999"]
)
def test_what_is_no_number_is_none(written: str) -> None:
    assert read_number(written) is None


def test_a_decimal_sign_that_is_set_decides() -> None:
    assert read_number("1.234", ",") == 1234.0
    assert read_number("1,234", ",") == 1.234
    assert read_number("1,234", ".") == 1234.0


@pytest.mark.parametrize(
    ("written", "decimal", "meant"),
    [
        ("12.50", ",", None),
        ("12.5", ",", None),
        ("0.500", ",", None),
        ("1.2345", ",", None),
        ("1234.567", ",", None),
        ("1.234,5", ",", 1234.5),
        ("1.234.567", ",", 1234567.0),
        ("1234,5", ",", 1234.5),
        (",5", ",", 0.5),
        ("-1,5e3 kg", ",", -1500.0),
        ("12,50", ".", None),
        ("1,234.5", ".", 1234.5),
        ("12,34,567.5", ".", 1234567.5),
        ("€ 1.234,-", "auto", 1234.0),
        ("1,234.-", "auto", 1234.0),
        ("12,-", ".", 12.0),
        ("12.-", ",", 12.0),
        ("1.234,–", ",", 1234.0),
        (",-", "auto", None),
    ],
)
def test_the_other_sign_only_separates_thousands(
    written: str, decimal: str, meant: float | None
) -> None:
    assert read_number(written, decimal) == meant


@given(
    value=st.floats(0, 1e9).map(lambda value: round(value, 2)), signs=st.sampled_from([",.", ".,"])
)
def test_no_number_is_read_as_another_by_a_wrong_decimal_sign(value: float, signs: str) -> None:
    """A point before two digits separates no thousands, so it is the decimal sign, or an error."""
    right, wrong = signs
    written = f"{value:.2f}".replace(".", right)
    assert read_number(written, right) == value
    assert read_number(written, wrong) is None


@given(value=st.floats(0, 1e9).map(lambda value: round(value, 2)))
def test_numbers_survive_both_ways_of_writing_them(value: float) -> None:
    english = f"{value:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert read_number(english) == read_number(german) == read_number(str(value)) == value


MOMENT = datetime(2026, 3, 1, 17, 30, 15, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-01T17:30:15.250Z",
        "2026-03-01 17:30:15.25",
        "2026-03-01T18:30:15.250+01:00",
        "2026-03-01T12:30:15.25-0500",
        "2026-03-01 17:30:15.25+00",
        "2026-03-01 12:30:15.25-05",
        "2026-03-01 23:00:15.25+05:30",
        "2026-03-01 17:30:15.25 UTC",
        "2026-03-01 18:30:15.25 +0100",
        "1772386215.25",
        "1772386215250",
        "1772386215250000",
        "1772386215250000000",
        MOMENT,
        1772386215250,
    ],
)
def test_times_are_read_as_they_are_meant(written: object) -> None:
    assert read_time(written) == MOMENT


def test_dates_and_minutes_are_times_too() -> None:
    assert read_time("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    assert read_time("2026-03-01 17:30") == datetime(2026, 3, 1, 17, 30, tzinfo=UTC)
    assert read_time("01/03/26", "%d/%m/%y") == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("2026-03-01 17", "%Y-%m-%d %H"),
        ("2026-03-01 05 PM", "%Y-%m-%d %I %p"),
        ("2026-03-01 17:00", "%F %k:%M"),
        ("03/01/26 17:00", "%D %R"),
        ("3/1/2026 17:00", "%-m/%-d/%Y %-H:%M"),
        ("03/01/2026 17:0", "%m/%d/%Y %H:%-M"),
        ("3/1/2026 5:00 PM", "%-m/%-d/%Y %-I:%-M %p"),
        ("2026-03-01 17", "%Y-%m-%d %-H"),
        ("2026-03-01 17:00", "%Y-%m-%d %_H:%_M"),
        ("2026-03-01 18+0100", "%Y-%m-%d %H%z"),
    ],
)
def test_an_hour_needs_no_minute(written: str, form: str) -> None:
    assert read_time(written, form) == datetime(2026, 3, 1, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("2026-03-01 17:30:15.250000", "%Y-%m-%d %H:%M:%S.%f"),
        ("2026-03-01 17:30:15.25", "%Y-%m-%d %H:%M:%S.%f"),
        ("2026-03-01 17:30:15,250", "%Y-%m-%d %H:%M:%S,%3f"),
        ("2026-03-01T17:30:15.25Z", "%Y-%m-%dT%H:%M:%S.%f%z"),
        ("2026-03-01T18:30:15.25+01:00", "%Y-%m-%dT%H:%M:%S.%f%z"),
        ("01.03.2026 12:30:15.25 -0500", "%d.%m.%Y %H:%M:%S.%f %z"),
    ],
)
def test_a_format_is_read_as_strftime_writes_it(written: str, form: str) -> None:
    assert read_time(written, form) == MOMENT


@given(
    moment=st.datetimes(datetime(1991, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001
    form=st.sampled_from(
        ["%Y-%m-%d %H:%M:%S.%f", "%d/%m/%Y %I:%M:%S.%f %p", "%B %d, %Y %H.%M.%S.%f", "%Y%j %T.%f"]
    ),
)
def test_any_moment_survives_a_format(moment: datetime, form: str) -> None:
    assert read_time(moment.strftime(form), form) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("form", "way_on"),
    [
        ("%s", "the format s"),
        ("%Y-%m-%d %r", "%I:%M:%S %p"),
        ("%+", "auto"),
        ("%Y-%m-%d %H:%M:%S %Z", "`timezone`"),
        ("%Y-%m-%d %H:%M:%S,%f", "%3f"),
    ],
)
def test_a_code_that_would_be_read_wrongly_is_refused(form: str, way_on: str) -> None:
    with pytest.raises(ValidationError) as raised:
        TimeSource(column="x", format=("auto", form))
    assert way_on in str(raised.value)
    assert TimeSource(column="x", format="%Y-%m-%d %%Z").formats == ("%Y-%m-%d %%Z",)


@pytest.mark.parametrize("written", ["", "soon", "2026-13-01", "2026-02-30T10:00:00Z", "99:99"])
def test_what_is_no_time_is_none(written: str) -> None:
    assert read_time(written) is None


def test_times_without_an_offset_are_in_the_timezone() -> None:
    assert read_time("2026-07-01 12:00", timezone="Europe/Berlin") == datetime(
        2026, 7, 1, 10, tzinfo=UTC
    )
    twice = read_time("2025-10-26 02:30", timezone="Europe/Berlin")
    assert twice == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert read_time("2025-03-30 02:30", timezone="Europe/Berlin") is None


@given(
    moment=st.datetimes(datetime(1991, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001
    offset=st.integers(-12, 12),
)
def test_any_moment_survives_iso_and_epoch(moment: datetime, offset: int) -> None:
    moment = moment.replace(tzinfo=UTC)
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert read_time(moment.isoformat()) == moment
    assert read_time(str(micros), "us") == moment
    local = (moment + timedelta(hours=offset)).replace(tzinfo=None)
    sign = "-" if offset < 0 else "+"
    assert read_time(f"{local.isoformat()}{sign}{abs(offset):02}:00") == moment


@given(st.text())
def test_text_is_normalised_alike_by_column_and_by_value(value: str) -> None:
    column = (
        pl.DataFrame({"x": [value]}, schema={"x": pl.String}).select(normalised(pl.col("x"))).item()
    )
    assert column == normalise(value)
    assert normalise(column) == column


def test_values_are_replaced_and_others_kept_unless_there_is_a_default() -> None:
    frame = pl.DataFrame({"x": ["pv", "buy", ""]})
    source = TextSource(column="x", values={"pv": "view"})
    assert frame.select(text(source, frame.schema)).to_series().to_list() == ["view", "buy", None]
    source = TextSource(column="x", values={"pv": "view"}, default="other")
    found = frame.select(text(source, frame.schema)).to_series().to_list()
    assert found == ["view", "other", "other"]


def read_switch(value: str | None) -> bool | None:
    frame = pl.DataFrame({"x": [value]}, schema={"x": pl.String})
    found: bool | None = frame.select(switch(pl.col("x"))).item()
    return found


def test_switches() -> None:
    words = ["Yes", "0", "In Stock", "false", "perhaps", "-1", "17", None]
    expected = [True, False, True, False, None, None, None, None]
    assert [read_switch(word) for word in words] == expected


AVAILABLE = [("In", "Stock"), ("Pre", "Order"), ("Back", "Order"), ("Made", "To", "Order")]
UNAVAILABLE = [("Out", "Of", "Stock"), ("Sold", "Out"), ("Not", "Available"), ("Discontinued",)]


@pytest.mark.parametrize("words", AVAILABLE + UNAVAILABLE)
def test_the_words_of_schema_org_and_merchant_feeds_are_switches(words: tuple[str, ...]) -> None:
    name = "".join(words)
    spellings = [sign.join(words) for sign in (" ", "_", "-", "")]
    spellings += [each.lower() for each in spellings] + [each.upper() for each in spellings]
    spellings += [f"{scheme}://schema.org/{name}" for scheme in ("http", "https")]
    assert {read_switch(each) for each in spellings} == {words in AVAILABLE}
