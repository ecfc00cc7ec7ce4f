"""What can be set about re-ranking: knobs, caps, and the rules of the business."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Annotated, Literal, get_args

import polars as pl
from pydantic import AfterValidator, Field, model_validator

from feature_repo.schema import Timestamp
from feature_repo.settings_model import SettingsModel
from feature_repo.times import minute_of
from serving.filters import COLUMNS, MAX_LENGTH, compile_filter, now_of
from serving.requests import MAX_LIMIT, CapSize, Share

ListName = Literal["recommend", "similar", "trending"]


def _compiled(sql: str) -> str:
    # What is checked is the same at any moment.
    filter_ = compile_filter(sql, now_of(sql, datetime.now(UTC)))
    # Only the items say of which type an attribute is.
    if not filter_.attributes:
        filter_.evaluate(pl.DataFrame(schema=COLUMNS))
    return sql


def _up_to_the_minute(at: datetime) -> datetime:
    minute = minute_of(at)
    return minute if minute == at else minute + timedelta(minutes=1)


RuleFilter = Annotated[str, Field(min_length=1, max_length=MAX_LENGTH), AfterValidator(_compiled)]
RuleTime = Annotated[Timestamp, AfterValidator(_up_to_the_minute)]
"""Lists go by the rules that hold at the start of their minute: later within it is the next."""


class _Rule(SettingsModel):
    """A rule holds for the items that `filter` is true of, from `valid_from` until `valid_until`.

    filter: as a request has it. The times are RFC 3339, rounded up to whole minutes; each may be
    left out. lists: which it is about.
    """

    filter: RuleFilter
    valid_from: RuleTime | None = None
    valid_until: RuleTime | None = None
    lists: Annotated[tuple[ListName, ...], Field(min_length=1)] = ("recommend",)

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> "_Rule":
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError(
                "`valid_until` must be later than `valid_from`, both rounded up to whole minutes. "
                f"Received: {self.valid_until}."
            )
        return self

    def holds(self, at: datetime) -> bool:
        """Whether the rule is valid at a moment."""
        begun = self.valid_from is None or self.valid_from <= at
        return begun and (self.valid_until is None or at < self.valid_until)

    def overlaps(self, other: "_Rule") -> bool:
        """Whether there is a moment at which both are valid."""
        starts = [rule.valid_from for rule in (self, other) if rule.valid_from]
        return not starts or (self.holds(max(starts)) and other.holds(max(starts)))


class FactorRule(_Rule):
    """Its items rank as if they were `factor` times as probable."""

    factor: float


class BoostRule(FactorRule):
    """A factor that lifts."""

    kind: Literal["boost"]
    factor: Annotated[float, Field(gt=1, le=1e6)]


class BuryRule(FactorRule):
    """A factor that lowers."""

    kind: Literal["bury"]
    factor: Annotated[float, Field(ge=1e-6, lt=1)]


class PinRule(_Rule):
    """The best of its items has this place of every list; 1 is the first."""

    kind: Literal["pin"]
    place: Annotated[int, Field(ge=1, le=MAX_LIMIT)]


class PromoteRule(_Rule):
    """Its items have at least this share of the places, as far as there are so many."""

    kind: Literal["promote"]
    share: Annotated[float, Field(gt=0, le=1)]


Rule = Annotated[BoostRule | BuryRule | PinRule | PromoteRule, Field(discriminator="kind")]


class RerankingSettings(SettingsModel):
    """What a request that does not say otherwise is re-ranked by.

    diversity_method: "dpp", a determinantal point process, which minds all items before together;
        or "mmr", maximal marginal relevance, which minds the nearest of them and is faster.
    diversity, calibration, exploration, category_cap, brand_cap: as in a request.
    cap_window: among how many places in a row caps count.
    uncertain_events: an item of which training saw fewer events is explored too, where a source
        proposes it.
    """

    diversity_method: Literal["mmr", "dpp"] = "dpp"
    diversity: Share = 0.0
    calibration: Share = 0.0
    exploration: Share = 0.0
    category_cap: CapSize | None = None
    brand_cap: CapSize | None = None
    cap_window: Annotated[int, Field(ge=2, le=MAX_LIMIT)] = 20
    uncertain_events: Annotated[int, Field(ge=0)] = 5


def check_rules(rules: Sequence[Rule]) -> None:
    """Raise ValueError for rules that cannot all hold at one time, for any list."""
    for name in get_args(ListName):
        _check_list([rule for rule in rules if name in rule.lists])


def _check_list(rules: Sequence[Rule]) -> None:
    pins = [rule for rule in rules if isinstance(rule, PinRule)]
    for one, other in combinations(pins, 2):
        if one.place == other.place and one.overlaps(other):
            raise ValueError(
                f"`rules` must pin one item to a place at a time. Received: place {one.place} "
                f"for {one.filter!r} and {other.filter!r}."
            )
    shares = [rule for rule in rules if isinstance(rule, PromoteRule)]
    for rule in shares:
        # The sum is greatest when one of them begins.
        begin = rule.valid_from
        together = [
            each for each in shares if (each.holds(begin) if begin else not each.valid_from)
        ]
        total = sum(each.share for each in together)
        if total > 1 + 1e-9:
            raise ValueError(
                "`rules` must promote shares of at most 1 in all at a time. "
                f"Received: {total:g}, {rule.filter!r} among them."
            )
