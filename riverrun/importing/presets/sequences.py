"""Sequences as S3-Rec prepared them: a line is a user, then the user's items oldest to newest.

The published files carry order without time, so time is made up: the n-th event of every user
is at 2014-01-01 plus n days. It preserves each user's order, which is all that the leave-last-out
protocol of the papers reads; figures that need real time (recent popularity) mean nothing here.
Item attributes come from `<name>_item2attributes.json[.gz]` beside the file, as tags.
"""

from datetime import UTC, datetime
from pathlib import Path

import orjson
import polars as pl

from feature_repo.schema import MAX_IDENTIFIER, MAX_LABEL, MAX_TAGS, Item, content_id
from riverrun.errors import UserError
from riverrun.importing.frames import event_frame
from riverrun.importing.presets.data import PresetData, read_bytes, read_text
from riverrun.importing.report import ImportReport

START = datetime(2014, 1, 1, tzinfo=UTC)


def load(path: Path, report: ImportReport) -> PresetData:
    """Read `<name>.txt[.gz]`, or the only such file of a folder."""
    path = _sequence_file(path)
    users: list[str] = []
    items: list[str] = []
    positions: list[int] = []
    for number, line in enumerate(read_text(path, report).splitlines(), start=1):
        user, *sequence = line.split() or [""]
        if not user:
            continue
        if not sequence:
            report.read += 1
            report.reject_one(str(path), number, "line has no items", line)
            continue
        if not all(map(_is_identifier, [user, *sequence])):
            report.read += 1
            report.reject_one(str(path), number, "line has what is no id", line)
            continue
        users += [user] * len(sequence)
        items += sequence
        positions += range(len(sequence))
    if not users:
        raise UserError(f"{path}: no line reads `user item item ...`.")
    report.read += len(users)
    report.accepted += len(users)
    ids = [
        content_id("sequences", u, i, str(n))
        for u, i, n in zip(users, items, positions, strict=True)
    ]
    events = pl.DataFrame(
        {"event_id": ids, "user_id": users, "item_id": items, "position": positions}
    ).select(
        "event_id",
        "user_id",
        "item_id",
        event_type=pl.lit("purchase"),
        timestamp=pl.lit(START) + pl.duration(days="position"),
    )
    catalogue = _items(path, list(dict.fromkeys(items)), report)
    report.derived["items"] += len(catalogue)
    return PresetData(
        items=catalogue, events=event_frame(events).sort("timestamp", "event_id"), report=report
    )


def _is_identifier(text: str) -> bool:
    return len(text) <= MAX_IDENTIFIER and text.isprintable()


def _sequence_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(f for pattern in ("*.txt", "*.txt.gz") for f in path.glob(pattern))
    if len(found) != 1:
        names = ", ".join(f.name for f in found) or "none"
        raise UserError(f"{path}: name the sequence file: the folder has {names} ending .txt[.gz].")
    return found[0]


def _items(path: Path, item_ids: list[str], report: ImportReport) -> list[Item]:
    name = path.name.removesuffix(".gz").removesuffix(".txt")
    attributes: dict[str, list[int | str]] = {}
    for suffix in ("json", "json.gz"):
        file = path.with_name(f"{name}_item2attributes.{suffix}")
        if file.is_file():
            try:
                attributes = orjson.loads(read_bytes(file))
            except orjson.JSONDecodeError as error:
                raise UserError(f"{file}: is not JSON: {error}.") from None
            if not isinstance(attributes, dict) or not all(
                isinstance(values, list) for values in attributes.values()
            ):
                raise UserError(f"{file}: must be an object of lists, by item.")
    missing = sum(item_id not in attributes for item_id in item_ids)
    if attributes:
        report.repair("item without attributes", missing)
    return [
        Item(
            item_id=item_id,
            tags=tuple(
                f"attribute-{value}"[:MAX_LABEL] for value in attributes.get(item_id, [])[:MAX_TAGS]
            ),
        )
        for item_id in item_ids
    ]
