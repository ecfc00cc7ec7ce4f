"""Replays a period and refreshes the model by the clock: what refreshes bring, what streaming."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import polars as pl

from feature_repo.schema import Item
from riverrun.replay.questions import Moment, Period, moments
from riverrun.replay.replay import FROZEN, Asker
from riverrun.replay.scoring import Scores
from riverrun.replay.settings import ReplaySettings
from riverrun.replay.shop import ReplayShop, closing, fold_past
from serving.bundle import Bundle
from serving.bundle_loading import load_bundle
from serving.recommender import Recommender
from serving.text_embedding_cache import TextEmbeddingCache

STREAMING = "streaming"
REFRESHED = "refreshed"
BOTH = "streaming + refreshed"
WARM, COLD = "warm", "cold"


class Trainer(Protocol):
    """Makes a bundle from what was known at a moment."""

    def __call__(self, events: pl.DataFrame, items: Sequence[Item], now: datetime) -> Path:
        """Return the folder of the bundle."""
        ...


@dataclass(slots=True)
class Refreshes:
    """How often a model was renewed, and the seconds that each training took, export included."""

    start: str
    seconds: list[float] = field(default_factory=list)


def replay_refreshed(
    period: Period,
    bundle: Bundle,
    settings: ReplaySettings,
    folder: Path,
    texts: TextEmbeddingCache,
    *,
    every: timedelta,
    trainers: dict[str, Trainer],
    refreshes: dict[str, Refreshes],
    on_moment: Callable[[Moment], None] = lambda _: None,
    scores: Scores | None = None,
) -> Scores:
    """Return the scores of four variants, the refreshed ones for each of `trainers`.

    `FROZEN` knows what was known when the period began, and the items that arrive. `REFRESHED`
    knows what was known at the last refresh, and its model was trained on that. `STREAMING` has
    the first model, and learns histories, co-visitation and trends as events come; `BOTH` does so
    with the refreshed model.

    bundle: trained before the period. every: from one refresh to the next. trainers: by the name
    that is added to their variants. refreshes: filled as the replay goes on, like `scores`.
    """
    scores = scores or Scores()
    streaming = settings.fixed
    past = folder / "past"
    fold_past(past, period.past, streaming, settings.length)
    users = period.future["user_id"].unique(maintain_order=True).to_list()

    def shop(name: str) -> ReplayShop:
        opened = ReplayShop(
            folder / name, past, bundle, period.known_items, streaming, settings.serving, texts,
            start=period.begins, length=settings.length,
        )  # fmt: skip
        opened.embed(users)
        return opened

    def as_of_now(opened: ReplayShop) -> Recommender:
        return opened.recommender(opened.frozen_items(), online=opened.frozen(users))

    first = shop("first")
    renewed = {name: shop(name) for name in trainers}
    with closing(first, *renewed.values()):
        variants = {FROZEN: as_of_now(first)}
        variants |= {f"{REFRESHED}, {name}": as_of_now(each) for name, each in renewed.items()}
        variants[STREAMING] = first.recommender()
        for name, each in renewed.items():
            variants[f"{BOTH}, {name}"] = each.recommender()
            refreshes[name] = Refreshes(name)
        asker = Asker(variants, period, {item.item_id for item in period.known_items})
        items, due = list(period.known_items), period.start + every
        for moment in moments(period):
            if moment.at >= due:
                due += every * ((moment.at - due) // every + 1)
                since = period.future.filter(pl.col("timestamp") < moment.at)
                events = pl.concat([period.past, since])
                for name, each in renewed.items():
                    start = time.monotonic()
                    path = trainers[name](events, items, moment.at)
                    refreshes[name].seconds.append(time.monotonic() - start)
                    each.swap(load_bundle(path), items)
                    each.embed(users)
                    variants[f"{REFRESHED}, {name}"] = as_of_now(each)
            for each in (first, *renewed.values()):
                each.turn(moment.at)
            asker.ask(moment, scores)
            for each in (first, *renewed.values()):
                each.learn(moment)
            asker.remember(moment)
            items += moment.items
            on_moment(moment)
    return scores
