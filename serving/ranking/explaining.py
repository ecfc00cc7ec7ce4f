"""Why an item is in a list: the history and the features behind it, and a sentence for shops."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.history import HistoryEvent
from serving.catalogue import Catalogue
from serving.item_rows import Rows
from serving.ranking import reasons
from serving.ranking.ranked import Ranked
from serving.ranking.ranking_stage import RankingStage
from serving.requests import Explanation, HistoryShare
from serving.source_names import PINNED, PROMOTED
from serving.sources.candidate_source import Context

SHOWN = 3
"""At most so many items of the history are named, those with the largest shares first."""

OFTEN = 3
"""With so many events of one type on an item or more, the reason says that it is done often."""

Shares = npt.NDArray[np.float32]


class Explainer:
    """Explains places of a list by the sources that proposed them. Safe for many threads."""

    def __init__(self, stage: RankingStage, catalogue: Catalogue) -> None:
        self._stage = stage
        self._catalogue = catalogue

    def explain(self, page: Ranked, context: Context) -> list[tuple[str | None, Explanation]]:
        """Return for each place a sentence, or None, and the numbers behind it.

        context: the one that the list was made from, with the user's events.
        """
        effects = self._stage.effects(context, page.rows)
        ids = self._catalogue.rows.ids_of(page.rows).tolist()
        history = self._history(page, context)
        # The title of an item that has left the catalogue is not known any more.
        named = [
            next((share for share in shares if share.item_id in self._catalogue), None)
            for shares in history
        ]
        titled = {share.item_id for share in named if share}
        acts = _Acts.of(
            context.events, dict(zip(titled, self._catalogue.titles(titled), strict=True))
        )
        columns = zip(page.rows.tolist(), ids, page.sources, named, history, strict=True)
        return [
            (
                self._words(item_id, sources, share, acts),
                Explanation(shares, tuple(effects.get(row, ()))),
            )
            for row, item_id, sources, share, shares in columns
        ]

    def _history(self, page: Ranked, context: Context) -> list[tuple[HistoryShare, ...]]:
        newest = {event.item_id: event.event_type for event in context.events}
        ids = self._catalogue.rows.ids_of(context.acts.rows).tolist()
        return [
            tuple(
                HistoryShare(ids[place], newest[ids[place]], float(column[place]))
                for place in np.argsort(-column, kind="stable")[:SHOWN].tolist()
                if column[place] > 0
            )
            for column in self._shares(page, context).T
        ]

    def _shares(self, page: Ranked, context: Context) -> Shares:
        """Return float32 [len(acts), len(page)], the share of each item of the history.

        A source that scores a row by a sum over the history gives each item its share of the sum;
        these shares are averaged over such sources that proposed the row. Where there is none, and
        the two-tower proposed the row, shares are those of the positive cosines to the history.
        """
        shares = np.zeros((len(context.acts), len(page.rows)), dtype=np.float32)
        for source in self._stage.of_history:
            proposed = np.flatnonzero([source.name in by for by in page.sources])
            if len(proposed):
                found = source.contributions(context, page.rows[proposed])
                shares[:, proposed] += _normalised(np.maximum(found, 0))
        tower = self._stage.two_tower.name
        rest = np.flatnonzero(
            [
                tower in by and not total
                for by, total in zip(page.sources, shares.sum(axis=0), strict=True)
            ]
        )
        if len(rest):
            shares[:, rest] = np.maximum(_cosines(context, page.rows[rest]), 0)
        return _normalised(shares)

    def _words(
        self, item_id: str, sources: Sequence[str], named: HistoryShare | None, acts: "_Acts"
    ) -> str | None:
        if sources[-1] in (PINNED, PROMOTED):
            return reasons.PICKED
        if newest := acts.newest.get(item_id):
            return reasons.again(newest, often=acts.counts[item_id, newest] >= OFTEN)
        if named is not None:
            return f"because {reasons.did(named.event_type, acts.titles[named.item_id])}"
        if "category" in sources and (item := self._catalogue.get(item_id)) and item.categories:
            return reasons.POPULAR_IN.format(item.categories[0])
        return next((reasons.GENERAL[each] for each in sources if each in reasons.GENERAL), None)


@dataclass(frozen=True, slots=True)
class _Acts:
    """What a user last did with each item, how often, and the titles of the items to be named."""

    newest: Mapping[str, str]
    counts: Counter[tuple[str, str]]
    titles: Mapping[str, str]

    @classmethod
    def of(cls, events: Sequence[HistoryEvent], titles: Mapping[str, str]) -> "_Acts":
        acts = [(event.item_id, event.event_type) for event in events]
        return cls(dict(acts), Counter(acts), titles)


def _cosines(context: Context, rows: Rows) -> Shares:
    """Return float32 [len(acts), len(rows)]; 0 where there is no embedding."""
    table, space = context.model.table, context.model.space
    acted, _ = table.embeddings_of_rows(context.acts.rows)
    candidates, _ = table.embeddings_of_rows(rows)
    cosines: Shares = space.tastes(acted) @ space.tastes(candidates).T
    return cosines


def _normalised(shares: Shares) -> Shares:
    totals = shares.sum(axis=0)
    normalised: Shares = np.divide(shares, totals, out=np.zeros_like(shares), where=totals > 0)
    return normalised
