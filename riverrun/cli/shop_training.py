"""Trains a shop, and shows how that goes."""

from riverrun.cli.console import err, say
from riverrun.cli.metrics_tables import print_tables
from riverrun.cli.workers import trained_together
from riverrun.errors import RunFailedError
from riverrun.settings import Settings


def train_shop(settings: Settings, *, fresh: bool = False) -> None:
    """Train on the archive of `settings.home`, publish, and print how the model compares."""
    from riverrun.cli.training_progress import refresh_progress
    from riverrun.refreshing import refresh_from_archive
    from trainer.refresh.lock import RefreshRunning
    from trainer.refresh.running import run_training

    try:
        with trained_together(settings), refresh_progress() as listener:
            done = run_training(
                settings.bundles,
                settings.checkpoints,
                lambda checkpoint: refresh_from_archive(settings, checkpoint, listener),
                fresh=fresh,
            )
    except RefreshRunning as error:
        raise RunFailedError(str(error)) from error
    print_tables(done.rows)
    if done.no_ranker:
        err.print(done.no_ranker, soft_wrap=True)
    made = f"bundle {done.bundle.name}: {done.epochs} epochs, {done.start}; in {done.bundle}"
    say(made)
