"""Runs shops through a period: asks every variant before each moment, then learns the moment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from riverrun.replay.questions import Moment, Period, moments
from riverrun.replay.scoring import ALL, NEW_ITEMS, NOVEL, RECALL_AT, Scores
from riverrun.replay.settings import ReplaySettings
from riverrun.replay.shop import ReplayShop, fold_past
from serving.bundle import Bundle
from serving.recommender import Recommender
from serving.requests import MAX_IDS, MAX_LIMIT, RecommendRequest
from serving.text_embedding_cache import TextEmbeddingCache
from streaming.settings import StreamingSettings


@dataclass(slots=True)
class ReplayResult:
    """What a replay has found, the part until it was interrupted if it was.

    refreshes: by how each began, from the model before or from nothing, the seconds that each
    training took, export included.
    """

    scores: Scores = field(default_factory=Scores)
    refreshes: dict[str, list[float]] = field(default_factory=dict)
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One replay of a period.

    result: filled as the replay goes on, so that there is one of an interrupted replay too.
    on_moment: called when a moment was asked about and learned.
    """

    period: Period
    result: ReplayResult = field(default_factory=ReplayResult)
    on_moment: Callable[[Moment], None] = lambda _: None

    @property
    def users(self) -> list[str]:
        """The users of the period, in the order of their first event."""
        users: list[str] = self.period.future["user_id"].unique(maintain_order=True).to_list()
        return users

    def go(
        self,
        shops: Sequence[ReplayShop],
        variants: Mapping[str, Recommender],
        before: Callable[[Moment], None] = lambda _: None,
    ) -> None:
        """Ask the variants before each moment, and let the shops learn it.

        variants: over `shops`, by name. before: called with each moment before the clocks of the
        shops turn to it; it may replace recommenders in `variants`.
        """
        asker = Asker(variants, self.period)
        for moment in moments(self.period):
            before(moment)
            for shop in shops:
                shop.turn(moment.at)
            asker.ask(moment, self.result.scores)
            for shop in shops:
                shop.learn(moment)
            asker.remember(moment)
            self.on_moment(moment)


@dataclass(frozen=True, slots=True)
class ShopMaker:
    """Makes the shops of a replay.

    bundle: what they serve at first, trained before the period. folder: for logs and states.
    """

    bundle: Bundle
    settings: ReplaySettings
    folder: Path
    texts: TextEmbeddingCache

    @contextmanager
    def opened(
        self, run: Run, streams: Mapping[str, StreamingSettings]
    ) -> Iterator[list[ReplayShop]]:
        """Give a shop for each of `streams`, which are by name; close them when the block is left.

        They know the past, and the users of the period have embeddings.
        """
        period, past = run.period, self.folder / "past"
        # What is kept of a past is the same with and without fold-in.
        fold_past(past, period.past, self.settings.immediate, self.settings.length)
        with ExitStack() as stack:
            shops = []
            for name, streaming in streams.items():
                shop = ReplayShop(
                    self.folder / name, past, self.bundle, period.known_items, streaming,
                    self.settings.serving, self.texts,
                    start=period.begins, length=self.settings.length,
                )  # fmt: skip
                shops.append(stack.enter_context(closing(shop)))
                shop.embed(run.users)
            yield shops


class Asker:
    """Puts every question to every variant, and judges the answers."""

    def __init__(self, variants: Mapping[str, Recommender], period: Period) -> None:
        self._variants = variants
        self._known = {item.item_id for item in period.known_items}
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
