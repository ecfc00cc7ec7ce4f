"""The sample shop that benchmarks run on: made once, kept for the next time."""

from datetime import UTC, datetime
from pathlib import Path

from riverrun.cli.console import err

EVENTS_PER_ITEM = 10
DAYS = 60


def prepare_shop(home: Path, items: int) -> None:
    """Make, import and train on a sample shop of `items` items and as many users.

    One short training: benchmarks measure a model's speed, not its quality.
    """
    from riverrun.cli.import_ import shop as import_shop
    from riverrun.cli.train import train_shop
    from riverrun.sample import SampleSettings, write_sample
    from riverrun.settings import load_settings

    if (home / "bundles" / "CURRENT").exists():
        return
    err.print(f"making a shop of {items:,} items in {home}; kept for the next time")
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
    import_shop(home / "sample", home=home)
    settings = load_settings(home=home)
    training = settings.training.model_copy(update={"epochs": 1, "holdout_share": 0.0})
    train_shop(settings.model_copy(update={"training": training}))
