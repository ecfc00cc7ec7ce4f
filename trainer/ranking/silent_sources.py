"""Which candidate sources have nothing to propose from in a shop."""

from collections.abc import Collection, Sequence

from feature_repo.schema import Item
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.new_arrivals import NewArrivalsSource
from trainer.ranking.service_settings import ServiceSettings

_OF_A_TABLE = {"ease", "text", "transitions"}


def silent_sources(
    items: Sequence[Item], tables: Collection[str], service: ServiceSettings
) -> set[str]:
    """Return the names of the sources that can propose nothing, whatever the history.

    Those of a table that is not among `tables`, the names of what was fitted; `co_visitation` where
    no stream learns it; `new_arrivals` where no item has a `published_at`.
    """
    silent = _OF_A_TABLE.difference(tables)
    if not service.co_visitation.neighbours:
        silent.add(CoVisitationSource.name)
    if all(item.published_at is None for item in items):
        silent.add(NewArrivalsSource.name)
    return silent
