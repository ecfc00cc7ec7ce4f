"""What can be set about serving."""

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from feature_repo.event_weights import EVENT_WEIGHTS
from feature_repo.settings_model import SettingsModel
from serving.ranking.settings import RankingSettings
from serving.reranking.settings import RerankingSettings, Rule, check_rules

REMOTE_LIST_THREADS = 4


class HttpSettings(SettingsModel):
    """Where the HTTP API listens.

    list_threads: how many requests for lists are worked on at a time; others wait. Unset, it is
        one where features are read from files: lists are made under Python's lock, and more
        threads would only take it from each other. It is four where a server is asked for them:
        while one waits for its answer, another is worked on.
    list_queue: how many of them may wait; more are answered 503, with `Retry-After`.
    predict_threads: how many calls of TensorFlow Serving's `:predict` are worked on at a time;
        those of a moment share a call of the model. predict_queue: how many others may wait;
        more are answered 503, with `Retry-After`.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    list_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    list_queue: Annotated[int, Field(ge=0, le=65_536)] = 256
    predict_threads: Annotated[int, Field(ge=1, le=1024)] = 64
    predict_queue: Annotated[int, Field(ge=0, le=65_536)] = 256

    def list_threads_over(self, *, remote: bool) -> int:
        """Return `list_threads`, or what suits an online store that is a server, or is none."""
        if self.list_threads is None:
            return REMOTE_LIST_THREADS if remote else 1
        return self.list_threads


class GrpcSettings(SettingsModel):
    """Where TensorFlow Serving's gRPC API listens; port 0 turns it off.

    threads: how many calls are answered at a time; others wait.
    queue: how many of them may wait; more are answered RESOURCE_EXHAUSTED.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    threads: Annotated[int, Field(ge=1, le=1024)] = 64
    queue: Annotated[int, Field(ge=0, le=65_536)] = 256


class BatchingSettings(SettingsModel):
    """How concurrent encodes share a call of the model.

    max_rows: a batch is not made larger; 1 runs every call on its own.
    max_delay_ms: how long the first of a batch waits for others. With 0 a batch is what came
    while the one before it ran, and a caller who is alone never waits.
    """

    max_rows: Annotated[int, Field(ge=1, le=4096)] = 64
    max_delay_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0


class TensorFlowServingSettings(SettingsModel):
    """TensorFlow Serving's API.

    model_name: what its clients call the model.
    max_message_bytes: the largest request, over REST and gRPC, and over REST the bytes of all that
    are in hand and larger than 64 KiB; more are answered 503, with `Retry-After`. max_rows: of one
    call; with histories of more than 128 events fewer, by the square of how many times that they
    have.
    """

    model_config = ConfigDict(protected_namespaces=())

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] = "riverrun"
    max_message_bytes: Annotated[int, Field(ge=1024, le=2**31 - 1)] = 128 * 2**20
    max_rows: Annotated[int, Field(ge=1, le=65_536)] = 1_024


class ServingSettings(SettingsModel):
    """How candidates are found, and what is made of them.

    exact_below: catalogues smaller than this are searched exactly, others by ScaNN.
    pool_size: candidates taken from the index before filters and re-ranking; for `similar`, which
        orders them by cosine, four times as many.
    rerank_size: how many of the best candidates re-ranking puts in another order.
    exact_share: a filter that allows a smaller share of the catalogue is scored exactly.
    trending_weights: what one event of a type counts for in `trending`, `popular` and `category`,
        and in what the ranker reads of the last hour, day and week; other types count 1, and 0
        leaves a type out.
    trending_window: over which span trending counts: "hour", "day" or "week".
    trending_lift: 0 to 1, the power of (events within the window / events that the next longer
        window lets expect) by which a count is multiplied; "week" has none. 0 orders by counts
        alone, which on UCI Online Retail was best.
    popular_window: the same of what a stranger gets, without a lift.
    ranking: which sources propose candidates, and how they become one list.
    buy_again_days: an event on an item counts less by e for every so many days before the newest.
    co_visitation_events: so many of the newest events count. co_visitation_days: one counts
        less by e for every so many days before the newest.
    new_arrival_days: how long an item counts as new; one that old scores a third as much as one of
        today in the source `new_arrivals`.
    recall_seconds: how often the index is compared with exact search on recent queries; 0 never.
    reload_seconds: how often `CURRENT` is looked at; 0 turns it off.
    attributed_places: events that name a list by its `request_id` are counted for the sources of
        their place while the list is among those with the newest so many places; a list counts for
        20 more than it has.
    reranking: what requests are re-ranked by where they do not say. rules: of the business.
    batching: of encodes that are asked for at the same time.
    tensorflow_serving: its API on the same model.
    """

    exact_below: Annotated[int, Field(ge=0)] = 20_000
    pool_size: Annotated[int, Field(ge=10, le=10_000)] = 200
    rerank_size: Annotated[int, Field(ge=1, le=2_000)] = 150
    exact_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    trending_weights: dict[str, float] = EVENT_WEIGHTS
    trending_window: Annotated[str, Field(pattern="^(hour|day|week)$")] = "day"
    popular_window: Annotated[str, Field(pattern="^(hour|day|week)$")] = "week"
    trending_lift: Annotated[float, Field(ge=0, le=1)] = 0.0
    ranking: RankingSettings = RankingSettings()
    buy_again_days: Annotated[float, Field(gt=0)] = 90.0
    co_visitation_events: Annotated[int, Field(ge=1, le=1_000)] = 64
    co_visitation_days: Annotated[float, Field(gt=0)] = 30.0
    new_arrival_days: Annotated[float, Field(gt=0, le=36_500)] = 14.0
    recall_seconds: Annotated[float, Field(ge=0)] = 60.0
    reload_seconds: Annotated[float, Field(ge=0)] = 1.0
    attributed_places: Annotated[int, Field(ge=0, le=100_000_000)] = 1_000_000
    reranking: RerankingSettings = RerankingSettings()
    rules: Annotated[tuple[Rule, ...], Field(max_length=100)] = ()
    batching: BatchingSettings = BatchingSettings()
    tensorflow_serving: TensorFlowServingSettings = TensorFlowServingSettings()

    @model_validator(mode="after")
    def _have_rules_that_can_hold(self) -> "ServingSettings":
        check_rules(self.rules)
        return self
