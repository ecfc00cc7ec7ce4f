"""What a ranker shall find: each type of event is an objective of its own."""

from collections.abc import Iterable, Mapping

from feature_repo.event_weights import UNNAMED_WEIGHT
from serving.ranking.ranker import OTHERS

ANY: Mapping[str, float] = {OTHERS: 1.0}
"""One objective, whatever the type of the event."""


def objectives_of(
    event_types: Iterable[str], event_type_weights: Mapping[str, float]
) -> Mapping[str, float]:
    """Return what each objective is worth, more than 0.

    An objective is a type of event that occurs and has a weight above 0; types without a weight of
    their own are one together, `OTHERS`.
    """
    found = {objective_of(each, event_type_weights) for each in event_types}
    weights = {each: event_type_weights.get(each, UNNAMED_WEIGHT) for each in sorted(found)}
    return {each: weight for each, weight in weights.items() if weight} or ANY


def objective_of(event_type: str, event_type_weights: Mapping[str, float]) -> str:
    """Return the objective that an event of this type is one of, if it counts."""
    return event_type if event_type in event_type_weights else OTHERS
