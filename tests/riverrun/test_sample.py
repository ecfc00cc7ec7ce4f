"""The sample shop: the same bytes from the same seed, exact sizes, and tastes to be learned."""

import gzip
import hashlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from feature_repo.schema import Event, Item, User
from feature_repo.times import DAY, microseconds
from riverrun.cli.main import app
from riverrun.errors import UserError
from riverrun.sample import SampleSettings, iter_events, iter_items, make_catalogue, write_sample
from riverrun.sample.catalogue import SUBCATEGORIES
from riverrun.sample.vocabulary import STYLES

END = datetime(2026, 3, 1, tzinfo=UTC)
SHOP = SampleSettings(items=1_000, users=1_000, events=50_000, days=60, seed=3, end=END)


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return pl.concat(iter_events(SHOP))


@pytest.fixture(scope="module")
def items() -> dict[str, Item]:
    return {item.item_id: item for item in iter_items(make_catalogue(SHOP))}


def places(events: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Return where in the catalogue the item of each event is."""
    return events["item_id"].str.strip_prefix("p").cast(pl.Int64).to_numpy()


@pytest.mark.parametrize("event_format", ["parquet", "jsonl"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, event_format: str) -> None:
    def digest(folder: Path, seed: int) -> dict[str, str]:
        shop = SHOP.model_copy(update={"seed": seed, "events": 2_000})
        write_sample(shop, folder, event_format)  # type: ignore[arg-type]
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}

    assert digest(tmp_path / "a", 1) == digest(tmp_path / "b", 1)
    assert not set(digest(tmp_path / "a", 2).values()) & set(digest(tmp_path / "b", 1).values())


@pytest.mark.parametrize(
    "name", ["events-2024.csv", "events-2025.parquet", "items.jsonl.gz", "users.csv", "events-old/"]
)
@pytest.mark.parametrize("is_sample", [False, True])
def test_files_of_others_are_left_alone(tmp_path: Path, name: str, is_sample: bool) -> None:
    shop = SHOP.model_copy(update={"events": 100})
    if is_sample:
        write_sample(shop, tmp_path)
    if name.endswith("/"):
        (tmp_path / name).mkdir()
    elif not (tmp_path / name).exists():
        (tmp_path / name).write_text("precious")
    before = {file: file.is_file() and file.read_bytes() for file in tmp_path.iterdir()}
    if is_sample and name == "items.jsonl.gz":
        write_sample(shop, tmp_path)
    else:
        with pytest.raises(UserError, match=f"holds {name.rstrip('/')}, which no sample"):
            write_sample(shop, tmp_path)
    assert before == {file: file.is_file() and file.read_bytes() for file in tmp_path.iterdir()}


def test_a_sample_takes_the_place_of_one_that_was_interrupted(tmp_path: Path) -> None:
    def interrupt(what: str, _count: int) -> None:
        if what == "events":
            raise KeyboardInterrupt

    shop = SHOP.model_copy(update={"events": 100})
    with pytest.raises(KeyboardInterrupt):
        write_sample(shop, tmp_path, progress=interrupt)
    write_sample(shop, tmp_path)
    files = write_sample(shop, tmp_path, "jsonl")
    assert sorted(tmp_path.iterdir()) == sorted(
        [
            *files,
            *(tmp_path / f"{name}.jsonl.gz" for name in ("items", "users")),
            tmp_path / "sample.json",
        ]
    )


def test_files_hold_valid_records(tmp_path: Path) -> None:
    (events,) = write_sample(SHOP, tmp_path, "jsonl")
    with gzip.open(tmp_path / "items.jsonl.gz") as stream:
        assert len([Item.model_validate(orjson.loads(line)) for line in stream]) == SHOP.items
    with gzip.open(tmp_path / "users.jsonl.gz") as stream:
        assert len([User.model_validate(orjson.loads(line)) for line in stream]) == SHOP.users
    with gzip.open(events) as stream:
        records = [orjson.loads(line) for line in stream]
    assert len(records) == SHOP.events
    for record in records[:500]:
        Event.model_validate({k: v for k, v in record.items() if v is not None})


@settings(max_examples=25)
@given(
    items=st.integers(100, 2_000),
    users=st.integers(10, 500),
    events=st.integers(1, 3_000),
    days=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size_is_met_exactly(items: int, users: int, events: int, days: int, seed: int) -> None:
    shop = SampleSettings(items=items, users=users, events=events, days=days, seed=seed, end=END)
    frame = pl.concat(iter_events(shop))
    assert frame.height == events
    assert frame["event_id"].n_unique() == events
    assert frame["timestamp"].is_sorted()
    assert shop.start <= frame["timestamp"][0]
    assert frame["timestamp"][-1] < END
    catalogue = make_catalogue(shop)
    assert len(catalogue) == items
    assert set(frame["item_id"]) <= {item.item_id for item in iter_items(catalogue)}


def test_nobody_acts_on_an_item_before_it_is_published(
    events: pl.DataFrame, items: dict[str, Item]
) -> None:
    first = events.group_by("item_id").agg(pl.col("timestamp").min())
    for item_id, moment in first.iter_rows():
        published_at = items[item_id].published_at
        assert published_at is not None
        assert published_at <= moment
    assert sum(item.published_at > SHOP.start for item in items.values() if item.published_at) > 200


def test_sessions_narrow_from_view_to_cart_to_purchase(events: pl.DataFrame) -> None:
    counts = Counter(events["event_type"].to_list())
    assert counts["view"] > 3 * counts["cart"] > 3 * counts["purchase"] > 0
    bought = events.filter(event_type="purchase").select("user_id", "item_id").unique()
    carted = events.filter(event_type="cart").select("user_id", "item_id").unique()
    assert bought.join(carted, on=["user_id", "item_id"], how="anti").is_empty()
    assert (events.filter(event_type="purchase")["value"] > 0).all()


def test_the_catalogue_reads_like_a_shop(items: dict[str, Item]) -> None:
    assert len({item.title for item in items.values()}) > 0.99 * len(items)
    assert len({item.categories[0] for item in items.values()}) >= 12
    assert len({item.categories for item in items.values()}) >= 48
    assert all(item.description and item.brand and item.price for item in items.values())


def test_popularity_has_a_long_tail(events: pl.DataFrame) -> None:
    counts = np.sort(events["item_id"].value_counts()["count"].to_numpy())[::-1]
    assert counts[: len(counts) // 10].sum() > 0.25 * counts.sum()


def test_what_is_in_fashion_is_looked_at_most_around_its_peak(events: pl.DataFrame) -> None:
    catalogue = make_catalogue(SHOP)
    start, end = microseconds(SHOP.start), microseconds(SHOP.end)
    peak, since = catalogue.trend_peak, catalogue.published_at
    # On sale, and within the window, for so many days before and after.
    days = 15
    whole = (np.maximum(since, start) < peak - days * DAY) & (peak + days * DAY < end)
    item = places(events)
    since_peak = (events["timestamp"].dt.epoch("us").to_numpy() - peak[item]) / DAY

    def by_time(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Return the number of events in each fifth of the days around the peak."""
        return np.histogram(since_peak[chosen[item]], np.linspace(-days, days, 6))[0]

    in_fashion = by_time(whole & (catalogue.trend_height > 2))
    assert in_fashion.argmax() == 2
    assert in_fashion[2] > 1.5 * in_fashion[[0, 4]].mean()
    others = by_time(whole & (catalogue.trend_height == 0))
    assert others.max() < 1.3 * others.min()


def test_seasons_come_and_go() -> None:
    """What has its season now has more of the events than it has half a year from it."""
    year = SHOP.model_copy(update={"days": 365, "events": 40_000})
    events, catalogue = pl.concat(iter_events(year)), make_catalogue(year)
    item = places(events)
    peaks = np.array([subcategory.peak for _, subcategory in SUBCATEGORIES])
    peak = peaks[catalogue.cell // len(STYLES)][item]
    away = (events["timestamp"].dt.month().to_numpy() - peak) % 12

    def events_in(*months_from_peak: int) -> int:
        return int(np.isin(away[peak > 0], months_from_peak).sum())

    assert events_in(11, 0, 1) > 1.1 * events_in(5, 6, 7) > 0


def test_tastes_drift(events: pl.DataFrame, items: dict[str, Item]) -> None:
    """What users look at overlaps more with the weeks before than with the first weeks."""
    category = {item_id: " > ".join(item.categories) for item_id, item in items.items()}
    frame = events.with_columns(
        category=pl.col("item_id").replace_strict(category),
        week=(pl.col("timestamp") - SHOP.start).dt.total_days() // 12,
    )
    seen: dict[tuple[str, int], set[str]] = {}
    for user, week, categories in (
        frame.group_by("user_id", "week").agg(pl.col("category").unique()).iter_rows()
    ):
        seen[user, week] = set(categories)

    def overlap(one: int, other: int) -> float:
        shares = [
            len(seen[user, one] & seen[user, other]) / len(seen[user, one])
            for user in frame["user_id"].unique()
            if (user, one) in seen and (user, other) in seen
        ]
        return float(np.mean(shares))

    assert overlap(4, 3) > overlap(4, 0) > 0


def test_tastes_can_be_learned(events: pl.DataFrame, items: dict[str, Item]) -> None:
    """Of what users act on anew in the last days, item-kNN finds more than popularity does, and
    the categories and styles of what they acted on before find more than that."""
    users = {user: row for row, user in enumerate(events["user_id"].unique().sort())}
    columns = {item_id: column for column, item_id in enumerate(items)}
    cut = SHOP.end.timestamp() - 6 * 86_400
    train = np.zeros((len(users), len(columns)), dtype=np.float32)
    test = np.zeros_like(train)
    for user, item, moment in events.select("user_id", "item_id", "timestamp").iter_rows():
        (train if moment.timestamp() < cut else test)[users[user], columns[item]] = 1.0
    test[train > 0] = 0.0
    norm = np.sqrt(train.sum(axis=0)) + 1e-9
    similarity = (train.T @ train) / norm / norm[:, None]
    np.fill_diagonal(similarity, 0.0)
    popularity = train.sum(axis=0)

    def shares(labels: list[object]) -> npt.NDArray[np.float32]:
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        member = np.eye(len(numbers), dtype=np.float32)[[numbers[label] for label in labels]]
        return (train @ member / (train.sum(axis=1, keepdims=True) + 1e-9) + 0.02) @ member.T

    category = shares([item.categories for item in items.values()])
    style = shares([item.tags[0] for item in items.values()])

    def hits(scores: npt.NDArray[np.float32]) -> float:
        scores = np.where(train > 0, -np.inf, scores)
        top = np.argsort(-scores, axis=1)[:, :20]
        judged = test.sum(axis=1) > 0
        return float(np.take_along_axis(test, top, axis=1).sum(axis=1)[judged].mean())

    by_popularity = hits(np.broadcast_to(popularity, train.shape))
    by_neighbours = hits(train @ similarity)
    assert by_neighbours > 1.15 * by_popularity
    assert hits(category * style * popularity**0.7) > 1.1 * by_neighbours


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--items", "5", "Input should be greater than or equal to 100. Received: 5."),
        (
            "--end",
            "0001-01-01",
            "must lie between 1990-01-01 and 2100-01-01. Received: 0001-01-01T00:00:00+00:00.",
        ),
    ],
)
def test_an_option_out_of_bounds_is_told_once(
    option: str, value: str, reason: str, tmp_path: Path
) -> None:
    command = ["sample", "--out", str(tmp_path / "shop"), option, value]
    refused = CliRunner().invoke(app, command).exception
    assert isinstance(refused, UserError)
    assert str(refused) == f"{option}: {reason}"
