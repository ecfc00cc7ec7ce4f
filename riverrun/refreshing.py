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
from trainer.gate_settings import GateSettings
from trainer.listener import Listener
from trainer.refresh import RefreshOutcome, refresh
from trainer.resuming import Notes


def refresh_from_archive(
    settings: Settings,
    listener: Listener,
    *,
    gates: GateSettings | None = None,
    notes: Notes | None = None,
) -> RefreshOutcome:
    """Train on all that `settings.home` has archived, and serve it if it passes the gates.

    What an interrupted training has reached is taken up from `settings.checkpoints`, which whoever
    calls removes once it is written down what came of it.

    Raises `UserError` where there is nothing to learn from.
    """
    archive = Archive(settings.archive)
    cache = TextEmbeddingCache(settings.text_embeddings)
    try:
        return refresh(
            archive.scan_events().collect(),
            archive.items(),
            settings.training,
            settings.bundles,
            cache,
            datetime.now(UTC),
            features=OfflineFeatures(settings.features),
            checkpoints=settings.checkpoints,
            listener=listener,
            gates=gates,
            service=settings.service_settings,
            notes=notes,
        )
    except ValueError as error:
        raise UserError(f"{settings.archive}: {error}") from error
    except (OSError, OpError, SafetensorError, ComputeError) as error:
        # A full disk: of what writes a bundle, each says it in its own way.
        raise UserError(f"{settings.home}: {error}") from error
    finally:
        cache.close()
