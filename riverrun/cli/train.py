"""`riverrun train`: from the archive to a bundle that serves."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from riverrun.cli.console import err, next_command, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import UserError
from riverrun.settings import Settings, load_settings


def train(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what an interrupted training has reached.")
    ] = False,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Train on everything imported or received so far, and serve the result.

    A training that is interrupted goes on where it stopped when it is run again. A running
    `riverrun up` notices the new bundle and swaps it in between two requests.
    """
    settings = load_settings(settings_file, home=home)
    train_shop(settings, fresh=fresh)
    next_command(f"riverrun up --home {settings.home}", "serves it and learns from events")


def train_shop(settings: Settings, *, fresh: bool = False) -> None:
    """Train on the archive of `settings.home`, publish, and print how the model compares."""
    import shutil

    from feature_repo.archive import Archive
    from feature_repo.offline_features import OfflineFeatures
    from riverrun.cli.evaluate import metrics_table
    from riverrun.cli.training_progress import refresh_progress
    from serving.text_embedding_cache import TextEmbeddingCache
    from trainer.refresh import refresh

    archive = Archive(settings.archive)
    cache = TextEmbeddingCache(settings.text_embeddings)
    checkpoints = settings.home / "training"
    if fresh:
        shutil.rmtree(checkpoints, ignore_errors=True)
    with refresh_progress() as listener:
        try:
            done = refresh(
                archive.scan_events().collect(),
                archive.items(),
                settings.training,
                settings.bundles,
                cache,
                datetime.now(UTC),
                features=OfflineFeatures(settings.features),
                checkpoints=checkpoints,
                listener=listener,
            )
        except ValueError as error:
            raise UserError(f"{settings.archive}: {error}") from error
        finally:
            cache.close()
    shutil.rmtree(checkpoints, ignore_errors=True)
    for task in dict.fromkeys(row.task for row in done.rows):
        out.print(metrics_table(task, [row for row in done.rows if row.task == task]))
    err.print(f"bundle {done.bundle.name}: {done.epochs} epochs, in {done.bundle}")
