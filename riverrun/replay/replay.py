"""Replays the same period in a frozen shop and in shops that learn more and more of it."""

from collections.abc import Callable
from pathlib import Path

from riverrun.replay.questions import Moment, Period, moments
from riverrun.replay.scoring import ALL, NEW_ITEMS, NOVEL, RECALL_AT, Scores
from riverrun.replay.settings import ReplaySettings
from riverrun.replay.shop import ReplayShop, closing, fold_past
from serving.bundle import Bundle
from serving.recommender import Recommender
from serving.requests import MAX_IDS, MAX_LIMIT, RecommendRequest
from serving.text_embedding_cache import TextEmbeddingCache
from streaming.settings import StreamingSettings

FROZEN = "frozen"
HISTORY = "+ history"
CO_VISITATION = "+ co-visitation, trends"
FOLD_IN = "+ fold-in"


def replay(
    period: Period,
    bundle: Bundle,
    settings: ReplaySettings,
    folder: Path,
    texts: TextEmbeddingCache,
    on_moment: Callable[[Moment], None] = lambda _: None,
    scores: Scores | None = None,
) -> Scores:
    """Return the scores of the four variants, each of which learns more than the one before.

    All of them ask the same sources and order the candidates by the bundle's ranker, where it has
    one. `FROZEN` knows what was known when the period began, and the items that arrive, which are
    no feedback. `HISTORY` also learns the users' histories; `CO_VISITATION` also learns
    co-visitation and trends; `FOLD_IN` also moves embeddings.

    bundle: trained before the period. folder: for logs and states. scores: filled as the
    replay goes on, so that an interrupted replay has results too.
    """
    scores = scores or Scores()
    immediate, fixed = settings.immediate, settings.fixed
    past = folder / "past"
    fold_past(past, period.past, immediate, settings.length)

    def shop(name: str, streaming: StreamingSettings) -> ReplayShop:
        return ReplayShop(
            folder / name, past, bundle, period.known_items, streaming, settings.serving, texts,
            start=period.begins, length=settings.length,
        )  # fmt: skip

    fixed_shop, moving_shop = shop("fixed", fixed), shop("moving", immediate)
    with closing(fixed_shop, moving_shop):
        users = period.future["user_id"].unique(maintain_order=True).to_list()
        for each in (fixed_shop, moving_shop):
            each.embed(users)
        items = fixed_shop.frozen_items()
        variants = {
            FROZEN: fixed_shop.recommender(items, online=fixed_shop.frozen(users)),
            HISTORY: fixed_shop.recommender(items),
            CO_VISITATION: fixed_shop.recommender(),
            FOLD_IN: moving_shop.recommender(),
        }
        known = {item.item_id for item in period.known_items}
        asker = Asker(variants, period, known)
        for moment in moments(period):
            for each in (fixed_shop, moving_shop):
                each.turn(moment.at)
            asker.ask(moment, scores)
            for each in (fixed_shop, moving_shop):
                each.learn(moment)
            asker.remember(moment)
            on_moment(moment)
    return scores


class Asker:
    """Puts every question to every variant, and judges the answers."""

    def __init__(self, variants: dict[str, Recommender], period: Period, known: set[str]) -> None:
        self._variants = variants
        self._known = set(known)
        self._new: set[str] = set()
        self._seen: dict[str, set[str]] = {}
        pairs = period.past.select("user_id", "item_id").unique().iter_rows()
        for user_id, item_id in pairs:
            self._seen.setdefault(user_id, set()).add(item_id)

    def ask(self, moment: Moment, scores: Scores) -> None:
        """Ask and judge the questions of `moment`, before anything of it is learned.

        An item that has not arrived cannot be an answer.
        """
        for question in moment.questions:
            answers = set(question.answers) & (self._known | self._new)
            seen = self._seen.get(question.user_id, set())
            novel = answers - seen
            for variant, recommender in self._variants.items():
                if novel:
                    shown = top_items(recommender, question.user_id, seen)
                    scores.judge(variant, NOVEL, moment.at, shown, novel)
                    scores.judge(variant, NEW_ITEMS, moment.at, shown, novel & self._new)
                if answers:
                    shown = top_items(recommender, question.user_id, set())
                    scores.judge(variant, ALL, moment.at, shown, answers)

    def remember(self, moment: Moment) -> None:
        """Remember the items and events of `moment`."""
        self._new |= {item.item_id for item in moment.items}
        for event in moment.events:
            self._seen.setdefault(event.user_id, set()).add(event.item_id)


def top_items(recommender: Recommender, user_id: str, hidden: set[str]) -> list[str]:
    """Return the `RECALL_AT` best items for a user without `hidden`, however many these are."""
    excluded = frozenset(sorted(hidden)[:MAX_IDS])
    limit = RECALL_AT if len(hidden) <= MAX_IDS else MAX_LIMIT
    shown: list[str] = []
    offset = 0
    while len(shown) < RECALL_AT:
        request = RecommendRequest(
            "replay", user_id, limit=limit, offset=offset, exclude_item_ids=excluded
        )
        page = [item.item_id for item in recommender.recommend(request).items]
        shown += [item_id for item_id in page if item_id not in hidden]
        offset += limit
        if len(page) < limit:
            break
    return shown[:RECALL_AT]
