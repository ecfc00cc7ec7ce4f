"""Replays the same period in a frozen shop and in shops that learn more and more of it."""

from riverrun.replay.running import Run, ShopMaker

FROZEN = "frozen"
HISTORY = "+ history"
CO_VISITATION = "+ co-visitation, trends"
FOLD_IN = "+ fold-in"


def replay(run: Run, maker: ShopMaker) -> None:
    """Score four variants, each of which learns more than the one before.

    All of them ask the same sources and order the candidates by the bundle's ranker, where it has
    one. `FROZEN` knows what was known when the period began, and the items that arrive, which are
    no feedback. `HISTORY` also learns the users' histories; `CO_VISITATION` also learns
    co-visitation and trends; `FOLD_IN` also moves embeddings.
    """
    streams = {"fixed": maker.settings.fixed, "moving": maker.settings.immediate}
    with maker.opened(run, streams) as (fixed, moving):
        items = fixed.frozen_items()
        variants = {
            FROZEN: fixed.recommender(items, online=fixed.frozen(run.users)),
            HISTORY: fixed.recommender(items),
            CO_VISITATION: fixed.recommender(),
            FOLD_IN: moving.recommender(),
        }
        run.go((fixed, moving), variants)
