"""Replays a period and refreshes the model by the clock: what refreshes bring, what streaming."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import polars as pl

from feature_repo.schema import Item
from riverrun.replay.questions import Moment
from riverrun.replay.replay import FROZEN
from riverrun.replay.running import Run, ShopMaker
from riverrun.replay.shop import ReplayShop
from serving.bundle_loading import load_bundle
from serving.recommender import Recommender

STREAMING = "streaming"
REFRESHED = "refreshed"
BOTH = "streaming + refreshed"
WARM, COLD = "warm", "cold"


class Trainer(Protocol):
    """Makes a bundle from what was known at a moment."""

    def __call__(self, events: pl.DataFrame, items: Sequence[Item], now: datetime) -> Path:
        """Return the folder of the bundle."""
        ...


def replay_refreshed(
    run: Run, maker: ShopMaker, *, every: timedelta, trainers: Mapping[str, Trainer]
) -> None:
    """Score four variants, the refreshed ones for each of `trainers`.

    `FROZEN` knows what was known when the period began, and the items that arrive. `REFRESHED`
    knows what was known at the last refresh, and its model was trained on that. `STREAMING` has
    the first model, and learns histories, co-visitation and trends as events come; `BOTH` does so
    with the refreshed model.

    every: from one refresh to the next. trainers: by the name that is added to their variants.
    """
    period, users, refreshes = run.period, run.users, run.result.refreshes

    def as_of_now(shop: ReplayShop) -> Recommender:
        return shop.recommender(shop.frozen_items(), online=shop.frozen(users))

    streams = dict.fromkeys(("first", *trainers), maker.settings.fixed)
    with maker.opened(run, streams) as (first, *others):
        renewed = dict(zip(trainers, others, strict=True))
        variants = {FROZEN: as_of_now(first)}
        variants |= {f"{REFRESHED}, {name}": as_of_now(shop) for name, shop in renewed.items()}
        variants[STREAMING] = first.recommender()
        for name, shop in renewed.items():
            variants[f"{BOTH}, {name}"] = shop.recommender()
            refreshes[name] = []
        items, due = list(period.known_items), period.start + every

        def refresh_when_due(moment: Moment) -> None:
            nonlocal due
            if moment.at >= due:
                due += every * ((moment.at - due) // every + 1)
                since = period.future.filter(pl.col("timestamp") < moment.at)
                events = pl.concat([period.past, since])
                # Some users' past ends later, and a refresh learns from nothing after its time.
                now = max(moment.at, period.begins)
                for name, shop in renewed.items():
                    start = time.monotonic()
                    path = trainers[name](events, items, now)
                    refreshes[name].append(time.monotonic() - start)
                    shop.swap(load_bundle(path), items)
                    shop.embed(users)
                    variants[f"{REFRESHED}, {name}"] = as_of_now(shop)
            # After the refresh, which knows what arrived before this moment.
            items.extend(moment.items)

        run.go((first, *others), variants, refresh_when_due)
