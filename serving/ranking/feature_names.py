"""The names of the features that candidates are ranked by."""

from collections.abc import Sequence

from serving.signals.item_signals import POPULARITY_DAYS

OF_A_SOURCE = ("score", "relative", "rank")
"""The score as the source gives it, less the best one where it is a logarithm (`LOGARITHMIC`); the
score scaled to 0..1 over the candidates; log(1 + rank) among them, where ties share the best."""

OF_ITEMS = (
    "worth_hour",
    "worth_day",
    "worth_week",
    *(f"popularity_{days}_days" for days in POPULARITY_DAYS),
    "trend",
    "repeat_share",
    "repeat_days",
    "age",
    "has_age",
    "price",
    "day_fit",
    "week_fit",
)
"""Logarithms of 1 + the counts, days and prices; `trend` is the log ratio of the month's popularity
to a month's share of the year's. `day_fit` and `week_fit` say how much more than other items this
one is acted on at the time of day and of the week of the request, see `item_signals.RHYTHMS`."""

OF_REQUESTS = ("day_sin", "day_cos", "week_sin", "week_cos")
"""Where in its day and in its week, both of UTC, the moment of the request is, on a circle."""

OF_USERS = ("num_events", "num_items", "items_per_moment", "repeats")
"""Logarithms of 1 + the counts; `repeats` is, of the items that the user took
(`LiveRanking.taking`), the share with several visits."""

OF_PAIRS = (
    "acted",
    "times",
    "days_since",
    "days_between",
    "due",
    "category_share",
    "brand_share",
    "price_difference",
)
"""Of the user with the item: whether, how often, and how long ago the user acted on it; how many
days lie between two visits that took it (`LiveRanking.taking`, `user_acts.VISIT`), in logarithms;
`due`, the log ratio of the time since the last of these visits to the item's usual time between
two, where it has one."""

LOGARITHMIC = frozenset({"two_tower"})
"""Sources whose scores are logarithms up to a constant."""


def feature_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns of `ranking_features`."""
    of_sources = [f"{source}.{name}" for source in sources for name in OF_A_SOURCE]
    return (*of_sources, *OF_ITEMS, *OF_REQUESTS, *OF_USERS, *OF_PAIRS)
