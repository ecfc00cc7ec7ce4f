"""`riverrun sample`: write a synthetic shop."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from shlex import quote
from time import perf_counter
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from feature_repo.first_error import FirstError
from riverrun.cli.console import err, next_command, out, say
from riverrun.errors import UserError


class EventFormat(StrEnum):
    """How events are written."""

    parquet = "parquet"
    jsonl = "jsonl"


def sample(
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    items: Annotated[int, typer.Option(metavar="N", help="Articles, 100 to 10M.")] = 1_000,
    users: Annotated[int, typer.Option(metavar="N", help="Customers, 10 to 100M.")] = 1_000,
    events: Annotated[int, typer.Option(metavar="N", help="Events, 1 to 1000M.")] = 50_000,
    days: Annotated[int, typer.Option(metavar="D", help="Days that the events cover.")] = 60,
    seed: Annotated[int, typer.Option(metavar="S", help="Another seed, another shop.")] = 0,
    end: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When the last event happens, as 2026-03-01 or 2026-03-01T12:00:00Z.  "
            "[default: the last midnight, UTC]",
        ),
    ] = None,
    event_format: Annotated[
        EventFormat, typer.Option("--event-format", help="The form of the events.")
    ] = EventFormat.parquet,
) -> None:
    """Write a shop that reads like a real one, to try things on and to load-test with.

    It has 16 departments with four subcategories each, brands, prices and texts; customers
    whose interests drift; sessions that go from view to cart to purchase; trends, seasons, a long
    tail, and articles that arrive while the events go on. The same options, with `--end`, give
    the same bytes.

    **Examples**

    `riverrun sample --out shop`  a small shop, in a second

    `riverrun sample --out shop --items 100000 --users 100000 --events 5000000 --days 90 --seed 7`

    `riverrun sample --out shop --end 2026-03-01`  the same bytes on any day
    """
    from riverrun.sample import SampleSettings, write_sample

    try:
        settings = SampleSettings(
            items=items, users=users, events=events, days=days, seed=seed, end=_moment(end)
        )
    except ValidationError as error:
        first = FirstError.of(error)
        raise UserError(f"--{first.key}: {first.statement}") from None
    started = perf_counter()
    totals = {"items": items, "users": users, "events": events}
    try:
        with Progress(
            TextColumn("{task.description:8}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        ) as bars:
            tasks = {name: bars.add_task(name, total=total) for name, total in totals.items()}
            files = write_sample(
                settings,
                folder,
                event_format.value,
                lambda what, count: bars.advance(tasks[what], count),
            )
    except OSError as error:
        raise UserError(f"--out: cannot write to {folder}: {error.strerror}.") from None
    seconds = perf_counter() - started
    say(
        f"{items:,} items, {users:,} users and {events:,} events of {days} days up to "
        f"{settings.end:%Y-%m-%d %H:%M} UTC in {folder}/, {len(files)} event "
        f"file{'s' if len(files) > 1 else ''}; {seconds:.1f} s, "
        f"{events / seconds:,.0f} events/s",
        out,
    )
    next_command(f"riverrun import shop {quote(str(folder))}", "fill the archive with it")


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"--end must be a time such as 2026-03-01T12:00:00Z. Received: {text!r}."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
