"""What can be set about streaming."""

from typing import Annotated

from pydantic import Field

from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_weights import Weight
from feature_repo.schema import EventType
from feature_repo.settings_model import SettingsModel
from streaming.kafka_settings import KafkaSettings


class FoldInSettings(SettingsModel):
    """How far an item's embedding moves toward the users who act on it.

    prior: how many events an item's text, category, brand, tags and price count for; 0 turns
        fold-in off.
    trained_prior: what each event that training saw of the item adds to that.
    event_type_weights: what an event of a type counts for; other types count 1.
    """

    prior: Annotated[float, Field(ge=0)] = 5.0
    trained_prior: Annotated[float, Field(ge=0)] = 1.0
    event_type_weights: dict[EventType, Weight] = {}


class StreamingSettings(SettingsModel):
    """How events are learned from.

    batch_records: most records of one micro-batch; while the worker is behind, up to eight
        times as many.
    batch_bytes: a micro-batch of so many bytes takes no more records.
    linger_seconds: how long a batch that is not full waits for more records; up to ten times as
        long after one of hundreds.
    statistics_seconds: how often what is learned of items is published: statistics and
        co-visitation to the online store, moved embeddings to the changelog.
    max_future_seconds: an event further ahead of when the log took it is a dead letter.
    event_types: the event types that are accepted; empty accepts every type.
    archive_rows, archive_bytes, archive_seconds: at this size, as the log has it, or age a
        segment is written, and erased users are removed from those before.
    retry_seconds, max_retry_seconds: first and longest pause before a failed step is repeated.
    housekeeping_seconds: how often archived records leave the embedded log, and small files of the
        archive are merged.
    tombstone_days: how long a deleted item stays in the changelog; in a Kafka's, longer than the
        oldest bundle that may be served. An embedded log keeps it as long as an older bundle.
    co_visitation, fold_in: what is learned of items between two trainings; off by default.
    kafka: how to connect to a Kafka and to keep its topics.
    """

    batch_records: Annotated[int, Field(ge=1, le=100_000)] = 500
    batch_bytes: Annotated[int, Field(ge=1, le=2**30)] = 16 * 2**20
    linger_seconds: Annotated[float, Field(ge=0, le=60)] = 0.005
    statistics_seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0
    max_future_seconds: Annotated[float, Field(ge=0)] = 86_400.0
    event_types: tuple[EventType, ...] = ()
    # Off: they cost a worker time for every event, and what they bring to a shop is for
    # `riverrun replay` to show.
    co_visitation: CoVisitationSettings = CoVisitationSettings(neighbours=0)
    fold_in: FoldInSettings = FoldInSettings(prior=0.0)
    archive_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000
    archive_bytes: Annotated[int, Field(ge=1, le=2**32)] = 64 * 2**20
    archive_seconds: Annotated[float, Field(gt=0)] = 60.0
    retry_seconds: Annotated[float, Field(gt=0)] = 0.1
    max_retry_seconds: Annotated[float, Field(gt=0)] = 5.0
    housekeeping_seconds: Annotated[float, Field(gt=0)] = 300.0
    tombstone_days: Annotated[float, Field(gt=0)] = 90.0
    kafka: KafkaSettings = KafkaSettings()
