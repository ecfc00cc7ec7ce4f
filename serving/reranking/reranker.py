"""From the candidates of a list, scored, to the rows that are shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import TypeVar

import numpy as np
import structlog

from serving.filters import FilterError
from serving.item_rows import Mask, Rows
from serving.ranking.ranked import ListRanking, Ranked
from serving.requests import ListRequest
from serving.reranking.calibration import CalibrationGain, category_mix
from serving.reranking.caps import Cap, Caps
from serving.reranking.diversity import DeterminantalGain, MarginalRelevance
from serving.reranking.exploration import explored_places, explored_rows
from serving.reranking.greedy import Floats, Term, greedy_order, growing, relevance_of
from serving.reranking.likeness import Likeness
from serving.reranking.placement import AHEAD, Placed, Promotion, place
from serving.reranking.settings import FactorRule, ListName, PinRule, PromoteRule, Rule
from serving.settings import ServingSettings
from serving.source_names import EXPLORED
from serving.sources.candidate_source import Context
from serving.sources.new_arrivals import NewArrivalsSource

KNOBS = {"diversity", "calibration", "exploration", "category_cap", "brand_cap"}
"""What a request may leave to the settings."""

R = TypeVar("R", bound=ListRequest)

Propose = Callable[[Mask, int], Rows]
"""Returns up to so many of the rows that are allowed and in the mask, best first."""


class Reranker:
    """Applies knobs, caps and rules, in three steps.

    1. boost and bury change the scores of the `rerank_size` best candidates;
    2. one greedy pass orders them by relevance, diversity and calibration, under the caps;
    3. from the first place to the last: pins, exploration, promotions, then that order.

    Nothing is shown that the context does not allow. Every step gives a longer list the same
    beginning, so that pages neither repeat nor miss. Safe for many threads.

    new_arrivals: proposes new items to explore. list_name: the list whose rules are applied.
    """

    def __init__(
        self,
        settings: ServingSettings,
        new_arrivals: NewArrivalsSource,
        list_name: ListName = "recommend",
    ) -> None:
        self._defaults = settings.reranking
        self._knobs = settings.reranking.model_dump(include=KNOBS, exclude_none=True).items()
        self._size = settings.rerank_size
        self._rules = tuple(rule for rule in settings.rules if list_name in rule.lists)
        self._new_arrivals = new_arrivals
        # By filter, the kinds of attributes it was refused for: it is tried again for others alone.
        self._refused: dict[str, dict[str, str]] = {}
        self._logger = structlog.get_logger(__name__)

    def completed(self, request: R) -> R:
        """Return the request with what it leaves to the settings."""
        missing = {name: value for name, value in self._knobs if getattr(request, name) is None}
        return replace(request, **missing)

    def rerank(self, ranking: ListRanking, context: Context, request: ListRequest) -> Ranked:
        """Return the list of `ranking`, from its first place to the end of the page."""
        active = self._active(context.minute)
        if not active and request.is_by_score:
            return ranking.rank(context, request.end)

        proposals: list[Ranked] = []

        def propose(mask: Mask, count: int) -> Rows:
            allowed = context.allowed & mask
            found = ranking.rank(replace(context, allowed=allowed, filtered=True), count)
            proposals.append(found)
            return found.rows

        # A row that is pinned to a later place is not there for the places before it.
        needed = request.end + sum(isinstance(rule, PinRule) for rule in active)
        # A fixed number is re-ordered, so that a later page continues an earlier one.
        ranked = ranking.rank(context, max(needed, self._size))
        masks = {rule.filter: self._mask(rule, context) for rule in active}
        head, tail = ranked.rows[: self._size], ranked.rows[self._size :]
        logarithms = ranking.logarithms(ranked.page(0, self._size))
        boosts = _boosts(head, active, masks)
        relevance = relevance_of(logarithms.astype(np.float64), boosts)
        caps = self._caps(head, context, request)
        order = greedy_order(relevance, self._terms(head, context, request, needed), caps, needed)
        pins = _pins(active, masks, propose)
        promotions = [
            Promotion(rule.share, propose(masks[rule.filter], needed), masks[rule.filter])
            for rule in active
            if isinstance(rule, PromoteRule)
        ]
        places = explored_places(request.exploration or 0.0, request.end, request.request_id)
        explored = head[:0]
        if len(places):
            little_known = self._little_known(head, context)
            # The list may hold all of them already but those that are looked at for one place.
            count = needed + AHEAD
            explored = explored_rows(little_known, context.view.hashes, count, request.request_id)
        placed = place(
            chain(map(head.tolist().__getitem__, order), tail.tolist()),
            request.end,
            pins=pins,
            explored_places=places,
            explored_rows=explored,
            promotions=promotions,
            caps=Caps(caps, head),
        )
        return _as_placed(ranked, placed, len(head), proposals)

    def _terms(self, rows: Rows, context: Context, request: ListRequest, count: int) -> list[Term]:
        terms, view = [], context.view
        if request.diversity:
            weights = growing(request.diversity, count)
            terms.append(Term(weights, self._diversity(rows, context, count)))
        if request.calibration:
            history = context.model.table.rows.rows_of(event.item_id for event in context.events)
            history = history[(history >= 0) & (history < len(view.categories))]
            mix = category_mix(view.categories[history])
            terms.append(Term(request.calibration, CalibrationGain(view.categories[rows], mix)))
        return terms

    def _caps(self, rows: Rows, context: Context, request: ListRequest) -> list[Cap]:
        return [
            Cap(groups, rows, most, self._defaults.cap_window)
            for groups, most in (
                (context.view.paths, request.category_cap),
                (context.view.brands, request.brand_cap),
            )
            if most is not None
        ]

    def _diversity(
        self, rows: Rows, context: Context, count: int
    ) -> MarginalRelevance | DeterminantalGain:
        model, categories = context.model, context.view.paths[rows]
        embeddings, _ = model.table.embeddings_of_rows(rows)
        texts = model.ranking.neighbours.get("text") if model.ranking else None
        likeness = Likeness(model.space.tastes(embeddings), rows, texts)
        if self._defaults.diversity_method == "mmr":
            return MarginalRelevance(likeness, categories)
        return DeterminantalGain(likeness, categories, count)

    def _little_known(self, rows: Rows, context: Context) -> Rows:
        """Return new arrivals, where asked, and those of `rows` that training hardly saw."""
        little_known = np.zeros_like(context.allowed)
        if context.sources is None or self._new_arrivals.name in context.sources:
            little_known[self._new_arrivals.arrivals(context)] = True
        seen = context.model.trained_events_of(rows)
        little_known[rows] |= seen < self._defaults.uncertain_events
        return np.flatnonzero(little_known)

    def _active(self, at: datetime) -> tuple[Rule, ...]:
        return tuple(rule for rule in self._rules if rule.holds(at))

    def _mask(self, rule: Rule, context: Context) -> Mask:
        kinds, refused = context.view.attribute_kinds, self._refused.get(rule.filter)
        if refused is not kinds:
            try:
                mask = context.view.allowed(rule.filter, context.at)
            except FilterError as error:
                # No item has the attribute now, or one has made it a text: a list without the rule
                # is better than none.
                if refused is None:
                    self._logger.warning("rule_not_applied", kind=rule.kind, reason=str(error))
                self._refused[rule.filter] = kinds
            else:
                self._refused.pop(rule.filter, None)
                return mask
        return np.zeros_like(context.allowed)


def _boosts(rows: Rows, active: tuple[Rule, ...], masks: Mapping[str, Mask]) -> Floats:
    boosts = np.zeros(len(rows))
    for rule in active:
        if isinstance(rule, FactorRule):
            boosts += np.log(rule.factor) * masks[rule.filter][rows]
    return boosts


def _pins(active: tuple[Rule, ...], masks: Mapping[str, Mask], propose: Propose) -> dict[int, int]:
    pinned = sorted(
        (rule for rule in active if isinstance(rule, PinRule)), key=lambda rule: rule.place
    )
    pins: dict[int, int] = {}
    for rule in pinned:
        # One more than are pinned already: each place has another item.
        for row in propose(masks[rule.filter], len(pins) + 1).tolist():
            if row not in pins.values():
                pins[rule.place - 1] = row
                break
    return pins


def _as_placed(ranked: Ranked, placed: Placed, head: int, proposals: Sequence[Ranked]) -> Ranked:
    """Return the rows in their places, with their scores, and with what gave each its place.

    head: how many of the ranked rows there are whatever the length of the list. What is placed
    from beyond them, and may be ranked in a longer list alone, is described as if it never were:
    as the proposal for its rule describes it, or, explored, as the last of the head.
    """
    rank_of = dict(zip(ranked.rows.tolist(), range(len(ranked.rows)), strict=True))
    ranks = [rank_of.get(row, -1) for row in placed.rows.tolist()]
    scores = np.append(ranked.scores, np.float32(0))[ranks]
    sources = [ranked.sources[rank] if rank >= 0 else () for rank in ranks]
    for number, origin in placed.origins.items():
        if not 0 <= ranks[number] < head:
            if origin == EXPLORED:
                scores[number] = ranked.scores[head - 1] if head else 0
                sources[number] = (NewArrivalsSource.name,)
            else:
                scores[number], sources[number] = _proposed(placed.rows[number], proposals)
        sources[number] = (*sources[number], origin)
    return Ranked(placed.rows, scores, sources)


def _proposed(row: int, proposals: Sequence[Ranked]) -> tuple[float, tuple[str, ...]]:
    """Return the score of a row, and its sources, where it ranks best.

    Further behind, it may be proposed for longer lists alone.
    """
    rank, found = min(
        (int(rank), number)
        for number, each in enumerate(proposals)
        for rank in np.flatnonzero(each.rows == row)
    )
    return float(proposals[found].scores[rank]), proposals[found].sources[rank]
