"""`riverrun topics` against a real broker."""

import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from kafka.errors import TopicAuthorizationFailedError
from structlog.testing import capture_logs
from typer.testing import CliRunner

from feature_repo.archive import Archive
from feature_repo.event_log import DEAD_LETTERS, EVENTS, ITEM_EMBEDDINGS, USERS, EventLogError
from riverrun.cli import topics
from riverrun.cli.main import app
from riverrun.errors import RunFailedError, UserError
from riverrun.settings import Settings
from riverrun.stream_parts import open_stream
from streaming import kafka_topics
from streaming.kafka_connection import KafkaConnection, parse_kafka_url
from streaming.kafka_settings import KafkaSettings
from streaming.kafka_topics import (
    TOPICS,
    TopicMismatchError,
    create_topics,
    find_topics,
    require_topics,
)
from streaming.settings import StreamingSettings
from tests.support.kafka_server import more_partitions
from tests.support.stream import event, item
from tests.support.waiting import wait_until

SCHEMAS = Path(__file__).parents[2] / "infra" / "schemas"
KAFKA = "RIVERRUN_STREAMING__KAFKA__"


def run(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(app, ["topics", *arguments], env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return " ".join(result.output.split())


@pytest.fixture
def url(kafka_address: str) -> str:
    return f"kafka://{kafka_address}/topics-{uuid.uuid4().hex[:8]}"


def settings(**values: object) -> KafkaSettings:
    return KafkaSettings.model_validate({"replication_factor": 1, **values})


def wait_until_known(connection: KafkaConnection, topic: str) -> None:
    """A broker may have made a topic, and say a moment later that there is none."""
    wait_until(lambda: topic in find_topics(connection), seconds=30)


@pytest.mark.kafka
def test_topics_are_created_once_as_the_settings_say(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "RIVERRUN_LOG_URL": url,
        f"{KAFKA}PARTITIONS": "3",
        f"{KAFKA}EVENTS_RETENTION_DAYS": "2.5",
        "RIVERRUN_STREAMING__TOMBSTONE_DAYS": "4",
    }
    prefix = url.rsplit("/", 1)[1]
    missing = run("list", **environment)
    assert missing.count("│ missing") == len(TOPICS)
    assert "riverrun topics create" in missing
    assert f"created {prefix}.events 3 partitions, 1 replicas" in run("create", **environment)
    again = run("create", **environment)
    assert "created" not in again
    # There is no model yet, nor anything to train one on.
    assert "next: riverrun import items FILE" in again
    found = find_topics(parse_kafka_url(url, settings()))
    assert set(found) == set(TOPICS)
    assert {state.partitions for state in found.values()} == {3}
    assert found[EVENTS].config["retention.ms"] == str(int(2.5 * 86_400_000))
    assert found[ITEM_EMBEDDINGS].config["cleanup.policy"] == "compact"
    assert found[ITEM_EMBEDDINGS].config["delete.retention.ms"] == str(4 * 86_400_000)
    assert "2.5 days" in run("list", **environment)


@pytest.mark.kafka
def test_another_number_of_partitions_is_refused(url: str) -> None:
    create_topics(parse_kafka_url(url, settings(partitions=2)), 1.0)
    with pytest.raises(UserError, match=r"events' has 2 partitions.* is 5.*Set it to 2"):
        run("create", RIVERRUN_LOG_URL=url, **{f"{KAFKA}PARTITIONS": "5"})


@pytest.mark.kafka
def test_a_changelog_that_is_not_compacted_is_refused(url: str) -> None:
    connection = parse_kafka_url(url, settings(partitions=1))
    with connection.admin("test") as admin:
        admin.create_topics({connection.topic(ITEM_EMBEDDINGS): {"num_partitions": 1}})
    wait_until_known(connection, ITEM_EMBEDDINGS)
    with pytest.raises(UserError, match=r"cleanup.policy=compact.*Received: 'delete'"):
        run("create", RIVERRUN_LOG_URL=url, **{f"{KAFKA}PARTITIONS": "1"})
    assert EVENTS not in find_topics(connection)


@pytest.mark.kafka
def test_a_topic_whose_producers_say_the_time_is_refused(url: str) -> None:
    connection = parse_kafka_url(url, settings(partitions=1))
    with connection.admin("test") as admin:
        admin.create_topics({connection.topic(USERS): {"num_partitions": 1}})
    wait_until_known(connection, USERS)
    wanted = "message.timestamp.type=LogAppendTime"
    with pytest.raises(UserError, match=rf"{wanted}.*'CreateTime'.*kafka-configs.sh .*{wanted}"):
        run("create", RIVERRUN_LOG_URL=url, **{f"{KAFKA}PARTITIONS": "1"})


@pytest.mark.kafka
def test_a_topic_that_takes_smaller_messages_than_the_settings_is_refused(url: str) -> None:
    create_topics(parse_kafka_url(url, settings(partitions=1, max_message_bytes=2**20)), 1.0)
    needed = "max.message.bytes of at least 2097152"
    with pytest.raises(UserError, match=rf"events' .*{needed}.*: 1048576\. .*kafka-configs.sh"):
        run(
            "create",
            RIVERRUN_LOG_URL=url,
            **{f"{KAFKA}PARTITIONS": "1", f"{KAFKA}MAX_MESSAGE_BYTES": str(2**21)},
        )


@pytest.mark.kafka
def test_a_start_on_dead_letters_that_take_too_little_is_refused(url: str) -> None:
    chosen = settings(partitions=1)
    connection = parse_kafka_url(url, chosen)
    small = {"num_partitions": 1, "configs": {"max.message.bytes": "1000"}}
    with connection.admin("test") as admin:
        admin.create_topics({connection.topic(DEAD_LETTERS): small})
    wait_until_known(connection, DEAD_LETTERS)
    started = Settings(log_url=url, streaming=StreamingSettings(kafka=chosen))
    wanted = rf"dead-letter' .*max.message.bytes of at least {chosen.largest_request}"
    with ExitStack() as stack, pytest.raises(UserError, match=rf"{wanted}.*: 1000\. .*--alter"):
        open_stream(started, None, stack, None)  # type: ignore[arg-type]


@pytest.mark.kafka
def test_a_start_on_topics_whose_partitions_were_raised_is_refused(url: str) -> None:
    chosen = settings(partitions=2)
    connection = parse_kafka_url(url, chosen)
    create_topics(connection, 1.0)
    require_topics(connection, 1.0)
    more_partitions(connection, EVENTS, 3)
    started = Settings(log_url=url, streaming=StreamingSettings(kafka=chosen))
    wanted = r"equally many partitions\. Received: .*\.events 3, .*\.items 2, .*\.users 2\."
    with ExitStack() as stack, pytest.raises(UserError, match=wanted):
        open_stream(started, None, stack, None)  # type: ignore[arg-type]


def test_brokers_that_do_not_tell_how_their_topics_are_are_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_: object) -> NoReturn:
        raise EventLogError("not allowed") from TopicAuthorizationFailedError()

    monkeypatch.setattr(kafka_topics, "find_topics", refused)
    counts = {EVENTS: 2, USERS: 2}
    monkeypatch.setattr(kafka_topics, "count_partitions", lambda _: counts)
    connection = KafkaConnection(("127.0.0.1:9",))
    with capture_logs() as logs:
        require_topics(connection, 1.0)
    assert [each["event"] for each in logs] == ["topics_not_checked"]
    # The numbers of partitions are no settings.
    counts[USERS] = 3
    with pytest.raises(TopicMismatchError, match="equally many"):
        require_topics(connection, 1.0)


def test_a_broker_that_is_not_there_is_named() -> None:
    nobody = str(KafkaConnection(("127.0.0.1:9",)))
    with pytest.raises(RunFailedError, match=f"{nobody}: cannot list the topics: .*refused"):
        run("list", RIVERRUN_LOG_URL="kafka://127.0.0.1:9")


def test_a_url_without_port_is_refused() -> None:
    with pytest.raises(UserError, match="must be kafka://HOST:PORT"):
        run("list", RIVERRUN_LOG_URL="kafka://broker")


@pytest.mark.parametrize("command", ["create", "list"])
def test_the_embedded_log_needs_none(command: str) -> None:
    assert "needs no topics" in run(command)


def test_the_published_schemas_are_up_to_date(tmp_path: Path) -> None:
    run("schema", "--out", str(tmp_path))
    published = {file.name: file.read_text() for file in SCHEMAS.glob("*.json")}
    assert {file.name: file.read_text() for file in tmp_path.glob("*.json")} == published


def test_what_comes_next_is_a_model_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, archive = Settings(home=tmp_path), Archive(tmp_path / "archive")

    def told() -> str:
        topics._show_what_next(shop)
        return capsys.readouterr().err

    assert "riverrun import items FILE" in told()
    archive.write_items("some", [item(1)])
    assert "riverrun import events FILE" in told()
    archive.events.write("some", [event(1)])
    assert "riverrun train" in told()
