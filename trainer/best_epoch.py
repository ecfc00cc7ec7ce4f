"""The epoch whose two-tower predicts the held-out events best."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import orjson

from feature_repo.whole_file import replacing
from trainer import metrics
from trainer.baselines import EmbeddingScorer
from trainer.epoch_checkpoints import warn_of_damage
from trainer.evaluate import EvaluationRow, answer, evaluate, ndcgs
from trainer.held_out import HeldOut
from trainer.material import Material
from trainer.ranking.learning_to_rank import Newest
from trainer.scorers import TWO_TOWER
from trainer.tasks import Split
from trainer.train import Progress, TrainingHooks
from trainer.trained_model import TrainedModel

Embeddings = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

_DAMAGED = (BadZipFile, EOFError, KeyError, RuntimeError, TypeError, ValueError)
"""As which NumPy tells that what it reads was cut off, altered or written otherwise."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch and how it did. value: the NDCG@10 that the best is chosen by."""

    split: str
    number: int
    value: float
    rows: Sequence[EvaluationRow]


class BestEpoch:
    """The best epoch so far, in a file beside the checkpoints, so that both can be resumed.

    Where the best epoch in `folder` belongs to another split, everything there is removed: its
    value is of other questions, and its embeddings are of other users. So it is where there is no
    best epoch, or it is damaged: checkpoints alone do not tell which of their epochs was.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        self._file = folder / "best-epoch.npz"
        self._split = _digest(split)
        if not self._is_own():
            # By name: what cannot be removed is passed over, and this would be taken for its own.
            self._file.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def read(self) -> Epoch | None:
        """Return the best epoch; None before the first."""
        if not self._file.exists():
            return None
        # NumPy itself would leave a damaged file open.
        with self._file.open("rb") as file, np.load(file) as kept:
            read = orjson.loads(kept["epoch"].tobytes())
        rows = [EvaluationRow(**row) for row in read.pop("rows")]
        return Epoch(**read, rows=rows)

    def embeddings(self, name: str) -> Embeddings:
        """Return "queries" or "candidates" of the epoch."""
        with np.load(self._file) as kept:
            embeddings: Embeddings = kept[name]
        return embeddings

    def write(
        self, number: int, value: float, rows: Sequence[EvaluationRow], **embeddings: Embeddings
    ) -> None:
        """Keep the epoch, the best from now on, with its embeddings."""
        best = Epoch(self._split, number, value, rows)
        # One file: if killed meanwhile, the epoch before is there, with its own embeddings.
        epoch = np.frombuffer(orjson.dumps(best), np.uint8)
        with replacing(self._file) as path, path.open("wb") as file:
            np.savez(file, allow_pickle=False, epoch=epoch, **embeddings)

    def _is_own(self) -> bool:
        """Return whether there is a best epoch, of this split, and whole."""
        try:
            best = self.read()
            if best is None or best.split != self._split:
                return False
            # All of it: the embeddings are read only after a training that ends.
            with np.load(self._file) as kept:
                for name in kept.files:
                    kept[name]
        except _DAMAGED as error:
            warn_of_damage(self._file.parent, error)
            return False
        return True


def best_epoch(
    material: Material,
    held_out: HeldOut,
    checkpoints: Path | None,
    on_step: Callable[[Progress], None],
    on_values: Callable[[int, Values], None] = lambda epoch, values: None,
) -> tuple[Epoch, Newest]:
    """Train the two-tower on the past, and return the epoch that predicts what is held out best.

    With it, what its two-tower says of the newest split.

    checkpoints: as of `TrainingHooks`; without it, the best epoch is kept for this call alone.
    on_values: called after every epoch with the number of epochs done and NDCG@10 of the task
    'all', float64 [num_users], in the order of the task's users.
    """
    split, tasks = held_out.split, held_out.tasks
    embeddings = material.text_embeddings_of(split.past.items)
    every = tasks[-1]
    judged = held_out.judged
    others = np.setdiff1d(split.returning, judged)

    def judge(epoch: int, model: TrainedModel) -> None:
        candidates = model.candidate_embeddings()
        queries = np.zeros((len(split.past.user_ids), candidates.shape[1]), np.float32)
        queries[judged] = model.query_embeddings(judged, candidates)
        scorer = EmbeddingScorer(TWO_TOWER, queries, candidates)
        values = ndcgs(answer(scorer, every).ranked)
        value = metrics.mean_of(values.tolist())
        best = kept.read()
        if best is None or value > best.value:
            rows = [evaluate(scorer, task, embeddings) for task in tasks]
            queries[others] = model.query_embeddings(others, candidates)
            kept.write(epoch, value, rows, queries=queries, candidates=candidates)
        on_values(epoch, values)

    with TemporaryDirectory() as folder:
        kept = BestEpoch(checkpoints or Path(folder, "best"), split)
        material.trained(split.past, TrainingHooks(checkpoints, on_step, judge))
        best = kept.read()
        assert best is not None, "a training has an epoch"
        user_ids = {split.past.user_ids[user] for user in judged}
        return best, Newest(kept.embeddings("queries"), kept.embeddings("candidates"), user_ids)


def _digest(split: Split) -> str:
    """Return a hash of the split's past and of the events that it asks for."""
    digest = hashlib.sha256(split.past.digest().encode())
    asked = split.future["event_id"].sort().to_list()
    digest.update("\0".join(asked).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
