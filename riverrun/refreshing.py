"""A shop's settings and archive, put into a refresh."""

from datetime import UTC, datetime

from polars.exceptions import ComputeError
from safetensors import SafetensorError
from tensorflow.errors import OpError

from feature_repo.archive import Archive
from feature_repo.offline_features import OfflineFeatures
from riverrun.errors import UserError
from riverrun.settings import Settings
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.bundle_versions import readable_current
from trainer.gate_settings import GateSettings
from trainer.listener import Listener
from trainer.refresh import RefreshOutcome, refresh
from trainer.refresh_inputs import RefreshInputs
from trainer.refresh_steps import TrainingSteps
from trainer.resuming import RefreshCheckpoint


def refresh_from_archive(
    settings: Settings,
    checkpoint: RefreshCheckpoint,
    listener: Listener,
    gates: GateSettings | None = None,
) -> RefreshOutcome:
    """Train on all that `settings.home` has archived, and serve it if it passes the gates.

    Raises `UserError` where there is nothing to learn from.
    """
    archive = Archive(settings.archive)
    cache = TextEmbeddingCache(settings.text_embeddings)
    try:
        inputs = RefreshInputs(
            archive.items(),
            settings.training,
            settings.bundles,
            readable_current(settings.bundles),
            OfflineFeatures(settings.features),
            cache,
            datetime.now(UTC),
            settings.service_settings,
            gates,
        )
        steps = TrainingSteps(inputs, listener)
        return refresh(archive.scan_events().collect(), inputs, steps, checkpoint)
    except ValueError as error:
        raise UserError(f"{settings.archive}: {error}") from error
    except (OSError, OpError, SafetensorError, ComputeError) as error:
        # A full disk: of what writes a bundle, each says it in its own way.
        raise UserError(f"{settings.home}: {error}") from error
    finally:
        cache.close()
