"""The sample shop that benchmarks run on: made once, kept for the next time."""

from datetime import UTC, datetime
from pathlib import Path

from riverrun.cli.console import err, say
from riverrun.cli.import_session import import_folder
from riverrun.cli.shop_training import train_shop
from riverrun.settings import FILES_IN_HOME, load_settings, with_warm_start

EVENTS_PER_ITEM = 10
DAYS = 60
LIGHTER_ABOVE = 20_000
"""A catalogue of more items is trained on with less of everything."""


def prepare_shop(home: Path, items: int) -> None:
    """Make, import and train on a sample shop of `items` items and as many users.

    It trains for one epoch; for a large catalogue also with few negatives, the beginnings of texts,
    and a ranker that learns from one slice of time: benchmarks measure speed, not quality.
    """
    from riverrun.sample import SampleSettings, write_sample

    if (home / "bundles" / "CURRENT").exists():
        return
    say(f"making a shop of {items:,} items in {home}; kept for the next time")
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    sample = SampleSettings(
        items=items,
        users=items,
        events=items * EVENTS_PER_ITEM,
        days=DAYS,
        seed=1,
        end=end,
    )
    write_sample(sample, home / "sample")
    settings = load_settings(home=home, **FILES_IN_HOME)
    import_folder(home / "sample", settings)
    training = settings.training.model_copy(update={"epochs": 1})
    if items > LIGHTER_ABOVE:
        update = {
            "text": training.text.model_copy(update={"max_tokens": 16}),
            "ranking": training.ranking.model_copy(update={"slices": 1}),
            "queries_per_step": 256,
            "num_sampled_negatives": 512,
        }
        training = training.model_copy(update=update)
    train_shop(settings.model_copy(update={"training": training}))


def prepare_versions(home: Path, items: int) -> list[str]:
    """Return two published versions of the shop's model; the second is trained if it is missing."""
    from serving.published_bundles import published_versions

    prepare_shop(home, items)
    settings = load_settings(home=home, **FILES_IN_HOME)
    if len(published_versions(settings.bundles)) < 2:
        err.print("training a second model; kept for the next time")
        settings = with_warm_start(settings, enabled=False)
        update = {"epochs": 1, "seed": 1}
        training = settings.training.model_copy(update=update)
        train_shop(settings.model_copy(update={"training": training}))
    return published_versions(settings.bundles)[-2:]
