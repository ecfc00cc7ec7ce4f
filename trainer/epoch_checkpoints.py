"""The state of a training after its newest epoch, on disk, for an interrupted one to resume from.

<folder>/fingerprint       what the state is of, as `training_fingerprint` says it
<folder>/ckpt-<epochs>.*   weights, optimizer and epochs done, as TensorFlow's `Checkpoint`
<folder>/checkpoint        which of them is the newest
"""

import hashlib
import shutil
from pathlib import Path

import orjson
import tensorflow as tf

from trainer.candidate_tower import CandidateVocabulary
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.two_tower_model import TwoTowerModel


class EpochCheckpoints:
    """Sets a model to the state that a folder keeps, and keeps there the newest one.

    Args:
        folder: made where there is none; emptied where it is of another fingerprint.
        fingerprint: equal only where a training may go on from the state of another.
        model: compiled, with the variables of its optimizer built.

    Raises:
        tf.errors.OpError, IndexError: what is kept is damaged, as TensorFlow finds it.
    """

    def __init__(self, folder: Path, fingerprint: str, model: TwoTowerModel) -> None:
        _remove_others(folder, fingerprint)
        self._epochs_done = tf.Variable(0, dtype=tf.int64)
        # The names are those by which what is on disk is read back.
        checkpoint = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, epochs_done=self._epochs_done
        )
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)
        self._manager.restore_or_initialize()

    @property
    def epochs_done(self) -> int:
        """After how many epochs the state was kept; 0 where none was."""
        return int(self._epochs_done)

    def save(self, epochs_done: int) -> None:
        """Keep the model's state of now, after so many epochs, in place of the one before."""
        self._epochs_done.assign(epochs_done)
        self._manager.save(epochs_done)


def training_fingerprint(
    settings: TrainingSettings,
    interactions: Interactions,
    vocabulary: CandidateVocabulary,
    start_version: str | None,
) -> str:
    """Return a hash of all that must be unchanged for a training to resume from a checkpoint.

    The catalogue may have grown since a training was interrupted: the tables then have other rows.
    And a training that had finished would learn nothing from events that came since.

    start_version: of the bundle that it starts from; None where it begins from nothing.
    """
    names = vocabulary
    parts = [
        settings.model_dump(mode="json"),
        start_version,
        interactions.digest(),
        [names.item_ids, names.categories, names.brands, names.tags, names.price_boundaries],
    ]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def _remove_others(folder: Path, fingerprint: str) -> None:
    """Remove the checkpoints in `folder` if they have another fingerprint, and note this one."""
    file = folder / "fingerprint"
    if not file.exists() or file.read_text() != fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        file.write_text(fingerprint)
