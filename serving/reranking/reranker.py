"""From the candidates of a request, scored, to the rows that are shown."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import repeat

import numpy as np
import numpy.typing as npt
import structlog

from serving.filters import FilterError
from serving.item_rows import Mask, Rows
from serving.requests import RecommendRequest
from serving.reranking.calibration import CalibrationGain, category_mix
from serving.reranking.caps import Cap
from serving.reranking.diversity import DeterminantalGain, MarginalRelevance
from serving.reranking.exploration import explored
from serving.reranking.greedy import Floats, Term, greedy_order, growing, relevance_of
from serving.reranking.likeness import Likeness
from serving.reranking.placement import Placed, Promotion, place
from serving.reranking.settings import FactorRule, ListName, PinRule, PromoteRule, Rule
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.sources.new_arrivals import NewArrivalsSource

Propose = Callable[[Mask, int], Rows]
"""The best rows for the request of those that are allowed; so many, as far as there are."""


class Reranker:
    """Applies knobs, caps and rules, in three steps.

    1. boost and bury change the scores of the `rerank_size` best candidates;
    2. one greedy pass orders them by relevance, diversity and calibration, under the caps;
    3. from the first place to the last: pins, exploration, promotions, then that order.

    Nothing is shown that the context does not allow. Every step gives a longer list the same
    beginning, so that pages neither repeat nor miss. Safe for many threads.

    list_name: the list whose rules are applied.
    """

    def __init__(self, settings: ServingSettings, list_name: ListName = "recommend") -> None:
        self._defaults = settings.reranking
        self._size = settings.rerank_size
        self._rules = tuple(rule for rule in settings.rules if list_name in rule.lists)
        self._new_arrivals = NewArrivalsSource(settings)
        self._refused: set[str] = set()
        self._logger = structlog.get_logger(__name__)

    def completed(self, request: RecommendRequest) -> RecommendRequest:
        """Return the request with what it leaves to the settings."""
        names = ("diversity", "calibration", "exploration", "category_cap", "brand_cap")
        missing = [name for name in names if getattr(request, name) is None]
        return replace(request, **{name: getattr(self._defaults, name) for name in missing})

    def num_candidates(self, request: RecommendRequest, at: datetime) -> int:
        """Return how many candidates to rank for a completed request."""
        needed, active = request.offset + request.limit, self._active(at)
        if not active and not _reorders(request) and not request.exploration:
            return needed
        # A fixed number is re-ordered, so that a later page continues an earlier one.
        return max(needed + _num_pins(active), self._size)

    def rerank(
        self,
        rows: Rows,
        scores: npt.NDArray[np.float32],
        context: Context,
        request: RecommendRequest,
        propose: Propose,
    ) -> Placed:
        """Return the list of a completed request, from its first place to the end of its page.

        rows: `num_candidates` allowed ones, distinct, best first, wherever there are so many.
        scores: float32 [n], logarithms of how probable each is, up to a constant.
        """
        count, active = request.offset + request.limit, self._active(context.at)
        if not active and not _reorders(request) and not request.exploration:
            return Placed(rows[:count], {})
        masks = {rule.filter: self._mask(rule, context) for rule in active}
        head, tail = rows[: self._size], rows[self._size :]
        # What is pinned to a later place is missing before it.
        needed = count + _num_pins(active)
        boosts = np.zeros(len(head))
        for rule in active:
            if isinstance(rule, FactorRule):
                boosts += np.log(rule.factor) * masks[rule.filter][head]
        relevance = relevance_of(scores[: self._size].astype(np.float64), boosts)
        order = self._order(head, relevance, context, request, needed)
        pins = self._pins(active, masks, propose)
        promotions = [
            Promotion(rule.share, propose(masks[rule.filter], needed), masks[rule.filter])
            for rule in active
            if isinstance(rule, PromoteRule)
        ]
        share = request.exploration or 0.0
        little_known = self._little_known(head, context) if share else head[:0]
        explored_places, explored_rows = explored(little_known, share, count, request.request_id)
        return place(
            np.concatenate([head[order], tail]),
            count,
            pins=pins,
            explored_places=explored_places,
            explored_rows=explored_rows,
            promotions=promotions,
        )

    def _order(
        self,
        rows: Rows,
        relevance: Floats,
        context: Context,
        request: RecommendRequest,
        count: int,
    ) -> npt.NDArray[np.int64]:
        terms, view = [], context.view
        if request.diversity:
            weights = growing(request.diversity, count)
            terms.append(Term(weights, self._diversity(rows, context, count)))
        if request.calibration:
            history = context.model.table.rows.rows_of(event.item_id for event in context.events)
            history = history[(history >= 0) & (history < len(view.categories))]
            mix = category_mix(view.categories[history])
            terms.append(Term(request.calibration, CalibrationGain(view.categories[rows], mix)))
        caps = [
            Cap(groups[rows], most, self._defaults.cap_window)
            for groups, most in (
                (view.paths, request.category_cap),
                (view.brands, request.brand_cap),
            )
            if most is not None
        ]
        return greedy_order(relevance, terms, caps, count)

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

    def _pins(
        self, active: tuple[Rule, ...], masks: dict[str, Mask], propose: Propose
    ) -> dict[int, int]:
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

    def _little_known(self, rows: Rows, context: Context) -> Rows:
        """Return new arrivals, and those of `rows` that training hardly saw."""
        little_known = np.zeros_like(context.allowed)
        little_known[self._new_arrivals.arrivals(context)] = True
        counts, least = context.model.space.counts, self._defaults.uncertain_events
        ids = context.model.table.rows.ids_of(rows).tolist()
        little_known[rows] |= np.fromiter(map(counts.get, ids, repeat(0)), np.int64) < least
        return np.flatnonzero(little_known)

    def _active(self, at: datetime) -> tuple[Rule, ...]:
        return tuple(rule for rule in self._rules if rule.holds(at))

    def _mask(self, rule: Rule, context: Context) -> Mask:
        try:
            return context.view.allowed(rule.filter)
        except FilterError as error:
            # No item has the attribute now: a list without the rule is better than none.
            if rule.filter not in self._refused:
                self._refused.add(rule.filter)
                self._logger.warning("rule_not_applied", kind=rule.kind, reason=str(error))
            return np.zeros_like(context.allowed)


def _reorders(request: RecommendRequest) -> bool:
    """Whether a completed request wants another order than that of the scores."""
    knobs = (request.diversity, request.calibration, request.category_cap, request.brand_cap)
    return any(knobs)


def _num_pins(rules: tuple[Rule, ...]) -> int:
    return sum(isinstance(rule, PinRule) for rule in rules)
