"""What can be set about the gates of a refresh."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class GateSettings(BaseModel):
    """When a candidate is refused. A metric is named `task/metric`, as in `all/ndcg@10`.

    The tasks are `novel` and `all` of a slice of time that is held out, `leave-one-out` of last
    events; what was not asked decides nothing.

    max_loss: how much a metric may be below the current bundle's, as a share of it.
    min_gain: how much it must be above the current bundle's, as a share of it.
    min_value: what it must reach in any case, with or without a current bundle.
    beats: a baseline, such as `popularity`, that must not be better in a metric of `max_loss`.
    min_users: a slice with fewer users is too small to decide by: these gates are then open.
    min_index_recall: of the candidate's index against exact search, at 10.
    max_latency_ms: of one encoded query, the median; 0 sets no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_loss: dict[str, Share] = {"all/ndcg@10": 0.1, "leave-one-out/ndcg@10": 0.1}
    min_gain: dict[str, Annotated[float, Field(ge=0)]] = {}
    min_value: dict[str, float] = {}
    beats: tuple[str, ...] = ()
    min_users: Annotated[int, Field(ge=0)] = 100
    min_index_recall: Share = 0.9
    max_latency_ms: Annotated[float, Field(ge=0)] = 0.0
