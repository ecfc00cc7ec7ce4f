"""Runs a refresh with a shop's settings and archive."""

from contextlib import closing
from datetime import UTC, datetime

import polars as pl
from polars.exceptions import ComputeError
from safetensors import SafetensorError
from tensorflow.errors import OpError

from feature_repo.archive import Archive
from feature_repo.event_log import EventLogError
from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from riverrun import __version__
from riverrun.errors import RunFailedError, UserError, kind_of
from riverrun.opening import open_log
from riverrun.readable_archive import readable
from riverrun.settings import Settings
from serving.bundle import read_manifest
from serving.text_embedding_cache import TextEmbeddingCache
from streaming.latest_items import latest_items
from trainer.interactions import EVENT_COLUMNS
from trainer.listener import Listener
from trainer.refresh.bundle_versions import readable_current
from trainer.refresh.gate_settings import GateSettings
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.refresh import RefreshOutcome, refresh
from trainer.refresh.resuming import RefreshCheckpoint
from trainer.refresh.runs_file import LOG_AWAY
from trainer.refresh.steps import TrainingSteps
from trainer.training_input_error import TrainingInputError


def refresh_from_archive(
    settings: Settings,
    checkpoint: RefreshCheckpoint,
    listener: Listener,
    gates: GateSettings | None = None,
) -> RefreshOutcome:
    """Train on all that `settings.home` has archived, and serve it if it passes the gates.

    Raises `UserError` where there is nothing to learn from, or a setting or a file is wrong, and
    `RunFailedError` where the cause may pass.
    """
    archive = Archive(settings.archive)
    try:
        with closing(TextEmbeddingCache(settings.text_embeddings)) as cache:
            # Read now too, so that a log that cannot be read is reported before hours of training.
            items, events = _items(settings, archive), _events(archive)
            features = OfflineFeatures(settings.features)
            # A training that was killed has left these; no other one runs now.
            features.remove_user_histories()
            inputs = RefreshInputs(
                items=items,
                settings=settings.training,
                bundles=settings.bundles,
                current=readable_current(settings.bundles),
                features=features,
                text_cache=cache,
                now=datetime.now(UTC),
                service=settings.service_settings,
                gates=gates,
                latest=lambda: _items(settings, archive),
                made_by=f"riverrun {__version__}",
            )
            steps = TrainingSteps(inputs, listener)
            outcome = refresh(events, inputs, steps, checkpoint)
            if not outcome.refusals:
                model = read_manifest(outcome.bundle).text_model
                cache.keep_only(model, (item.text for item in items))
            return outcome
    except TrainingInputError as error:
        raise UserError(f"{settings.archive}: {error}") from error
    except EventLogError as error:
        raise RunFailedError(f"{settings.home}: {LOG_AWAY}: {error}") from error
    except OSError as error:
        raise kind_of(error)(f"{settings.home}: {error}") from error
    except (ValueError, OpError, SafetensorError, ComputeError) as error:
        # A full disk: each library that writes a bundle has its own error, TensorFlow's of lines.
        raise RunFailedError(f"{settings.home}: {' '.join(str(error).split())}") from error


def _items(settings: Settings, archive: Archive) -> list[Item]:
    """Return the catalogue as of now. Raises `EventLogError` where the log cannot be read."""
    file = settings.embedded_log
    with readable(archive):
        if file is not None and not file.exists():
            return archive.items()  # Nothing was sent yet; reading must not create the log.
        with closing(open_log(settings)) as log:
            return latest_items(archive, log, settings.streaming)


def _events(archive: Archive) -> pl.DataFrame:
    with readable(archive):
        return archive.events.scan().select(EVENT_COLUMNS).collect()
