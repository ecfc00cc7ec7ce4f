"""`riverrun topics`: the topics that a Kafka must have."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from feature_repo.times import DAY_MILLISECONDS
from riverrun.cli.console import next_command, out, say
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import UserError, failed_by
from riverrun.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="The topics of a Kafka and their records. The embedded log needs none.",
)


@app.command()
def create(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Create the topics that are missing: events, items, users, their changelog, dead letters.

    What is there already stays as it is. Partitions, replication, retention and the largest
    message come from `[streaming.kafka]` in the settings.
    """
    from streaming.kafka_connection import parse_kafka_url
    from streaming.kafka_topics import create_topics

    settings = load_settings(settings_file, home=home)
    if _is_embedded(settings):
        return
    with _reported():
        connection = parse_kafka_url(settings.event_log_url, settings.streaming.kafka)
        topics, created = create_topics(connection, settings.streaming.tombstone_days)
    for topic in topics:
        what = "created" if topic.topic in created else "is there"
        out.print(f"{what}  {topic.name}  {topic.partitions} partitions, {topic.replicas} replicas")
    _show_what_next(settings)


@app.command()
def schema(
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
) -> None:
    """Write the JSON Schema of each topic's records, for who produces or reads them."""
    from feature_repo.event_log import DEAD_LETTERS, ITEM_EMBEDDINGS
    from feature_repo.log_records import json_schema
    from serving.item_changelog import ItemChangeRecord
    from streaming.dead_letters import DeadLetterRecord
    from streaming.decode import MODELS

    models = {**MODELS, ITEM_EMBEDDINGS: ItemChangeRecord, DEAD_LETTERS: DeadLetterRecord}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for topic, model in models.items():
            file = folder / f"{topic}.json"
            schema = json.dumps(json_schema(model), indent=2, ensure_ascii=False)
            file.write_text(f"{schema}\n", "utf-8")
            say(str(file), out)
    except OSError as error:
        raise UserError(f"--out: cannot write to {folder}: {error.strerror}.") from None


@app.command("list")
def list_(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """List the topics as they are: partitions, replicas, how long records stay."""
    from streaming.kafka_connection import parse_kafka_url
    from streaming.kafka_topics import TOPICS, find_topics

    settings = load_settings(settings_file, home=home)
    if _is_embedded(settings):
        return
    with _reported():
        connection = parse_kafka_url(settings.event_log_url, settings.streaming.kafka)
        found = find_topics(connection)
    table = Table("topic", "partitions", "replicas", "clean-up", "retention", "largest message")
    for name in TOPICS:
        if (state := found.get(name)) is None:
            table.add_row(connection.topic(name), "missing")
            continue
        table.add_row(
            state.name,
            str(state.partitions),
            str(state.replicas),
            state.config["cleanup.policy"],
            _days(int(state.config["retention.ms"])),
            f"{int(state.config['max.message.bytes']):,} bytes",
        )
    out.print(table)
    if len(found) < len(TOPICS):
        next_command(f"riverrun topics create {settings.options}", "create what is missing")


def _show_what_next(settings: Settings) -> None:
    from riverrun.training_material import missing_kind
    from serving.published_bundles import current_bundle

    if current_bundle(settings.bundles) is not None:
        up = f"riverrun up {settings.options}"
        next_command(up, "answer requests, and learn from these topics")
    elif kind := missing_kind(settings):
        next_command(f"riverrun import {kind} FILE {settings.options}", "a model needs these")
    else:
        next_command(f"riverrun train {settings.options}", "make the first model")


def _is_embedded(settings: Settings) -> bool:
    if settings.embedded_log is None:
        return False
    say(f"{settings.event_log_url} is the embedded log: it needs no topics.")
    next_command(f"riverrun up {settings.options}", "serve the shop and learn from its events")
    return True


def _days(milliseconds: int) -> str:
    return "for ever" if milliseconds < 0 else f"{milliseconds / DAY_MILLISECONDS:g} days"


@contextmanager
def _reported() -> Iterator[None]:
    from feature_repo.event_log import EventLogError
    from streaming.kafka_topics import TopicMismatchError

    try:
        yield
    except (EventLogError, TopicMismatchError, ValueError) as error:
        raise failed_by(error) from None
