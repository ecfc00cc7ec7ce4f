"""The topics a Kafka must have: what is wanted, what is there, and making the missing ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType
from kafka.errors import (
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from feature_repo.event_log import (
    CO_PARTITIONED,
    DEAD_LETTERS,
    EVENTS,
    ITEM_EMBEDDINGS,
    ITEMS,
    USERS,
    EventLogError,
)
from feature_repo.schema import LATEST_TIMESTAMP
from feature_repo.times import DAY_MILLISECONDS, microseconds
from streaming.kafka_connection import KafkaConnection

TOPICS = (*CO_PARTITIONED, ITEM_EMBEDDINGS, DEAD_LETTERS)
TIMESTAMP_TYPE, APPEND_TIME = "message.timestamp.type", "LogAppendTime"
"""Set for `CO_PARTITIONED`: a record's moment is the broker's, not its producer's (ADR 0013)."""

LATEST_MILLISECONDS = microseconds(LATEST_TIMESTAMP) // 1_000
"""A record's timestamp of this or later was set by a producer whose clock is wrong."""

_OTHER_UNIT = 10**14
"""A record's timestamp of this or more is in micro- or nanoseconds: else it is of the year 5138."""

MAX_BYTES = "max.message.bytes"


class TopicMismatchError(Exception):
    """A topic is there already, and cannot be used as it is. The message says what to do."""


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as the settings want it. `config` are Kafka's own topic settings."""

    topic: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is on the broker, which calls it `name`."""

    topic: str
    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


def in_milliseconds(timestamp: int) -> int:
    """Return a record's timestamp in milliseconds, in whichever unit its producer counts.

    An erasure in microseconds would else reach all that its user is ever going to do.
    """
    while timestamp >= _OTHER_UNIT:
        timestamp //= 1_000
    return timestamp


def plan_topics(connection: KafkaConnection, tombstone_days: float) -> list[TopicPlan]:
    """Return every topic as the settings want it.

    tombstone_days: how long a deleted item stays in the compacted changelog.
    """
    settings = connection.settings
    retention_days = {
        EVENTS: settings.events_retention_days,
        ITEMS: settings.items_retention_days,
        USERS: settings.users_retention_days,
        DEAD_LETTERS: settings.dead_letters_retention_days,
    }
    plans = []
    for topic in TOPICS:
        # A letter is larger than its record, and a change larger than its item.
        derived = topic not in CO_PARTITIONED
        largest = settings.largest_request if derived else settings.max_message_bytes
        config = {MAX_BYTES: str(largest)}
        if not derived:
            config[TIMESTAMP_TYPE] = APPEND_TIME
        if topic == ITEM_EMBEDDINGS:
            config["cleanup.policy"] = "compact"
            config["delete.retention.ms"] = str(int(tombstone_days * DAY_MILLISECONDS))
        else:
            config["cleanup.policy"] = "delete"
            config["retention.ms"] = str(int(retention_days[topic] * DAY_MILLISECONDS))
        plans.append(TopicPlan(topic, settings.partitions, config))
    return plans


def find_topics(connection: KafkaConnection) -> dict[str, TopicState]:
    """Return the topics that are there, by our name. Raises `EventLogError`."""
    names = {connection.topic(topic): topic for topic in TOPICS}
    with connection.admin("cannot list the topics") as admin:
        described = [_found(each) for each in admin.describe_topics(list(names))]
        found = [each for each in described if each is not None]
        resources = [ConfigResource(ConfigResourceType.TOPIC, each["name"]) for each in found]
        configs = _configs(admin, resources) if resources else {}
    return {
        names[each["name"]]: TopicState(
            names[each["name"]],
            each["name"],
            len(each["partitions"]),
            min(len(partition["replica_nodes"]) for partition in each["partitions"]),
            configs[each["name"]],
        )
        for each in found
    }


def count_partitions(connection: KafkaConnection) -> dict[str, int]:
    """Return by our name how many partitions each of `CO_PARTITIONED` has that is there.

    Raises `EventLogError`.
    """
    names = {connection.topic(topic): topic for topic in CO_PARTITIONED}
    with connection.admin("cannot list the topics") as admin:
        described = [_found(each) for each in admin.describe_topics(list(names))]
    return {names[each["name"]]: len(each["partitions"]) for each in described if each is not None}


def check_topics(plans: list[TopicPlan], found: Mapping[str, TopicState]) -> None:
    """Raise `TopicMismatchError` where a topic that is there cannot serve as it is planned."""
    for plan in plans:
        state = found.get(plan.topic)
        if state is None:
            continue
        if plan.topic in CO_PARTITIONED and state.partitions != plan.partitions:
            raise TopicMismatchError(
                f"topic {state.name!r} has {state.partitions} partitions, but the setting "
                f"streaming.kafka.partitions is {plan.partitions}, and events, items and users "
                f"need equally many. Set it to {state.partitions}, or use another topic prefix."
            )
        timestamps = state.config[TIMESTAMP_TYPE]
        if plan.topic in CO_PARTITIONED and timestamps != APPEND_TIME:
            setting = f"{TIMESTAMP_TYPE}={APPEND_TIME}"
            raise TopicMismatchError(
                f"topic {state.name!r} must have {setting}, or a producer's clock decides which "
                f"events an erasure reaches. Received: {timestamps!r}. To change it: "
                f"kafka-configs.sh --alter --topic {state.name} --add-config {setting}"
            )
        _check_config(plan, state)


def _check_config(plan: TopicPlan, state: TopicState) -> None:
    """Raise `TopicMismatchError` where the settings would stop the stream, or lose items."""
    largest, needed = state.config[MAX_BYTES], plan.config[MAX_BYTES]
    if int(largest) < int(needed):
        raise TopicMismatchError(
            f"topic {state.name!r} must have {MAX_BYTES} of at least {needed}, or what the "
            f"setting streaming.kafka.max_message_bytes allows stops the stream. Received: "
            f"{largest}. To change it: kafka-configs.sh --alter --topic {state.name} "
            f"--add-config {MAX_BYTES}={needed}"
        )
    policy = state.config["cleanup.policy"]
    if plan.topic == ITEM_EMBEDDINGS and policy != plan.config["cleanup.policy"]:
        raise TopicMismatchError(
            f"topic {state.name!r} must have cleanup.policy=compact, or items are forgotten. "
            f"Received: {policy!r}."
        )


def require_topics(connection: KafkaConnection, tombstone_days: float) -> None:
    """Raise `TopicMismatchError` where a topic that is there would stop the stream, or lose items.

    Checks less than `check_topics` does before topics are used: the number of partitions and the
    timestamp type were decided then. Where this user may not read the topics' settings, only the
    numbers of partitions are checked, against one another, and a warning is logged. Raises
    `EventLogError` where the brokers do not answer.
    """
    try:
        _check_counts(connection, count_partitions(connection))
        found = find_topics(connection)
    except EventLogError as error:
        if not isinstance(error.__cause__, TopicAuthorizationFailedError):
            raise
        structlog.get_logger(__name__).warning("topics_not_checked", error=str(error))
        return
    for plan in plan_topics(connection, tombstone_days):
        if plan.topic in found:
            _check_config(plan, found[plan.topic])


def _check_counts(connection: KafkaConnection, counts: Mapping[str, int]) -> None:
    """Raise `TopicMismatchError` where one worker could not own a partition number of all."""
    if len(set(counts.values())) > 1:
        received = ", ".join(f"{connection.topic(topic)} {n}" for topic, n in counts.items())
        raise TopicMismatchError(
            f"events, items and users must have equally many partitions. Received: {received}. A "
            "raised number leaves a key's older records in another partition, and cannot be "
            "lowered: use another topic prefix, and `riverrun rebuild`."
        )


def create_topics(
    connection: KafkaConnection, tombstone_days: float
) -> tuple[list[TopicState], list[str]]:
    """Create the topics that are missing; return all of them, and which ones were created.

    Raises:
        TopicMismatchError: one that is there cannot be used; then nothing was created.
        EventLogError: the brokers do not answer, or refuse.
    """
    plans = plan_topics(connection, tombstone_days)
    found = find_topics(connection)
    check_topics(plans, found)
    missing = [plan for plan in plans if plan.topic not in found]
    if missing:
        wanted = {
            connection.topic(plan.topic): {
                "num_partitions": plan.partitions,
                "replication_factor": connection.settings.replication_factor or -1,
                "configs": dict(plan.config),
            }
            for plan in missing
        }
        with connection.admin("cannot create the topics") as admin:
            created = admin.create_topics(wanted, raise_errors=False)
            for topic in created["topics"]:
                _refuse(connection, topic["name"], topic["error_code"], topic["error_message"])
            admin.wait_for_topics(list(wanted))
        found = find_topics(connection)
        # Somebody else may have created one in the meantime, with other settings.
        check_topics(plans, found)
    return [found[topic] for topic in TOPICS], [plan.topic for plan in missing]


def _refuse(connection: KafkaConnection, name: str, code: int, message: str | None) -> None:
    if code and for_code(code) is not TopicAlreadyExistsError:
        reason = message or for_code(code).__name__
        raise EventLogError(f"{connection}: topic {name!r} cannot be created: {reason}")


def _found(described: dict[str, Any]) -> dict[str, Any] | None:
    code = described["error_code"]
    if code == UnknownTopicOrPartitionError.errno:
        return None
    if code:
        raise for_code(code)(described["name"])
    return described


def _configs(admin: Any, resources: list[ConfigResource]) -> dict[str, dict[str, str]]:
    answer = admin.describe_configs(resources, config_filter=ConfigFilterType.ALL)
    return {
        name: {key: config["value"] for key, config in configs.items()}
        for name, configs in answer["topic"].items()
    }
