"""UCI Online Retail (Chen, Sain, Guo 2012): order lines of a gift shop.

Kept are lines with a customer that are no cancellation, have Quantity > 0 and UnitPrice > 0,
and a StockCode that begins with five digits (the others are postage, fees and samples): 396,337
of 541,909. Identical lines of one invoice are then one purchase.
"""

from pathlib import Path

import polars as pl

from feature_repo.schema import MAX_TITLE, Item, User, content_id
from riverrun.errors import UserError
from riverrun.importing.frames import event_frame
from riverrun.importing.identifiers import identifier_reason
from riverrun.importing.presets.data import PresetData, read_text
from riverrun.importing.report import LINE, REASON, ImportReport
from riverrun.importing.text import normalised

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
TIME_FORMATS = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M")  # this file's, and the UCI spreadsheet's


def load(path: Path, report: ImportReport) -> PresetData:
    """Read `online_retail.csv[.gz]`."""
    lines = _parsed(_read(path, report))
    report.read += lines.height
    rejected = lines.filter(pl.col(REASON).is_not_null())
    report.reject(str(path), rejected.select(LINE, REASON, *COLUMNS))
    clean = lines.filter(pl.col(REASON).is_null())
    report.repair(
        "CustomerID written as a float", int(clean["CustomerID"].str.ends_with(".0").sum())
    )
    report.derived["order lines kept, before identical ones are merged"] = clean.height
    distinct = clean.unique(subset=COLUMNS, keep="first", maintain_order=True)
    report.skip("identical order line", clean.height - distinct.height)
    report.accepted += distinct.height
    items = _items(distinct)
    report.derived["items"] += len(items)
    users = _users(distinct)
    report.derived["users"] += len(users)
    return PresetData(items=items, events=_events(distinct), users=users, report=report)


def _read(path: Path, report: ImportReport) -> pl.DataFrame:
    try:
        lines = pl.read_csv(read_text(path, report).encode(), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path}: cannot be read as CSV: {str(error).splitlines()[0]}") from None
    missing = [name for name in COLUMNS if name not in lines.columns]
    if missing:
        raise UserError(
            f"{path}: no column {', '.join(missing)}, which online-retail has. "
            f"Columns of the file: {', '.join(lines.columns)}."
        )
    return lines.select(COLUMNS).with_row_index(LINE, offset=2)


def _parsed(lines: pl.DataFrame) -> pl.DataFrame:
    lines = lines.with_columns(
        quantity=pl.col("Quantity").cast(pl.Int64, strict=False),
        price=pl.col("UnitPrice").cast(pl.Float64, strict=False),
        timestamp=pl.coalesce(
            pl.col("InvoiceDate").str.to_datetime(form, time_unit="us", strict=False)
            for form in TIME_FORMATS
        ).dt.replace_time_zone("UTC"),
        user_id=pl.col("CustomerID").str.strip_chars().str.replace(r"\.0$", ""),
        item_id=pl.col("StockCode").str.strip_chars(),
        title=normalised(pl.col("Description")).str.slice(0, MAX_TITLE),
    )
    return lines.with_columns(
        pl.when(pl.col("InvoiceNo").fill_null("").str.starts_with("C"))
        .then(pl.lit("cancellation"))
        .when(pl.col("user_id").fill_null("") == "")
        .then(pl.lit("no CustomerID"))
        .when(pl.col("timestamp").is_null())
        .then(pl.lit("InvoiceDate is unreadable"))
        .when((pl.col("quantity") > 0).fill_null(False).not_())
        .then(pl.lit("Quantity is not positive"))
        .when(((pl.col("price") > 0) & pl.col("price").is_finite()).fill_null(False).not_())
        .then(pl.lit("UnitPrice is not positive"))
        .when(pl.col("item_id").str.contains(r"^\d{5}").fill_null(False).not_())
        .then(pl.lit("StockCode is no article"))
        .otherwise(pl.coalesce(identifier_reason("user_id"), identifier_reason("item_id")))
        .alias(REASON)
    )


def _events(lines: pl.DataFrame) -> pl.DataFrame:
    ids = [
        content_id("online-retail", *(value or "" for value in row))
        for row in lines.select(COLUMNS).iter_rows()
    ]
    events = lines.select(
        "user_id",
        "timestamp",
        "item_id",
        event_id=pl.Series(ids),
        event_type=pl.lit("purchase"),
        value=(pl.col("quantity") * pl.col("price")).round(2),
        context=pl.struct(invoice="InvoiceNo", quantity="quantity").struct.json_encode(),
    )
    return event_frame(events).sort("timestamp", "event_id")


def _items(lines: pl.DataFrame) -> list[Item]:
    titles = (
        lines.filter(pl.col("title").fill_null("") != "")
        .group_by("item_id", "title")
        .len()
        # The commonest description names the article; on a tie the first in the alphabet.
        .sort("item_id", "len", "title", descending=[False, True, False])
        .unique("item_id", keep="first", maintain_order=True)
    )
    articles = (
        lines.group_by("item_id")
        .agg(price=pl.col("price").median(), published_at=pl.col("timestamp").min())
        .join(titles, on="item_id", how="left")
        .sort("item_id")
    )
    return [
        Item(
            item_id=row["item_id"],
            title=row["title"] or "",
            price=round(row["price"], 2),
            published_at=row["published_at"],
        )
        for row in articles.iter_rows(named=True)
    ]


def _users(lines: pl.DataFrame) -> list[User]:
    countries = (
        lines.sort("timestamp", LINE)
        .group_by("user_id")
        .agg(pl.col("Country").last())
        .sort("user_id")
    )
    return [
        User(user_id=user, attributes={"country": country} if country else {})
        for user, country in countries.iter_rows()
    ]
