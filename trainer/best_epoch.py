"""The epoch whose two-tower predicts the held-out events best."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from feature_repo.whole_file import replacing
from trainer import metrics
from trainer.baselines import EmbeddingScorer
from trainer.evaluate import EvaluationRow, answer, evaluate, ndcgs
from trainer.held_out import HeldOut
from trainer.material import Material
from trainer.scorers import TWO_TOWER
from trainer.tasks import Split
from trainer.train import Progress, TrainingHooks
from trainer.trained_model import TrainedModel

Embeddings = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Epoch:
    split: str
    number: int
    value: float
    rows: Sequence[EvaluationRow]


class BestEpoch:
    """The best epoch so far, in a file beside the checkpoints, so that both can be resumed.

    Where the best epoch in `folder` belongs to another split, everything there is removed: its
    value is of other questions, and its embeddings are of other users. So it is where there is no
    best epoch: checkpoints alone do not tell which of their epochs was.
    """

    def __init__(self, folder: Path | None, split: Split) -> None:
        self._file = None if folder is None else folder / "best-epoch.npz"
        # What is in memory belongs to this split: it needs no digest.
        self._split = "" if folder is None else _digest(split)
        self._best: _Epoch | None = None
        self._embeddings: dict[str, Embeddings] = {}
        best = self.read()
        if folder is not None and (best is None or best.split != self._split):
            shutil.rmtree(folder, ignore_errors=True)

    def read(self) -> _Epoch | None:
        """Return the best epoch; None before the first."""
        if self._file is None:
            return self._best
        if not self._file.exists():
            return None
        with np.load(self._file) as kept:
            read = orjson.loads(kept["epoch"].tobytes())
        rows = [EvaluationRow(**row) for row in read.pop("rows")]
        return _Epoch(**read, rows=rows)

    def embeddings(self, name: str) -> Embeddings:
        """Return "queries" or "candidates" of the epoch."""
        if self._file is None:
            return self._embeddings[name]
        with np.load(self._file) as kept:
            embeddings: Embeddings = kept[name]
        return embeddings

    def write(
        self, number: int, value: float, rows: Sequence[EvaluationRow], **embeddings: Embeddings
    ) -> None:
        """Keep the epoch, the best from now on, with its embeddings."""
        best = _Epoch(self._split, number, value, rows)
        if self._file is None:
            self._best, self._embeddings = best, embeddings
            return
        # One file: if killed meanwhile, the epoch before is there, with its own embeddings.
        epoch = np.frombuffer(orjson.dumps(best), np.uint8)
        with replacing(self._file) as path, path.open("wb") as file:
            np.savez(file, allow_pickle=False, epoch=epoch, **embeddings)


def best_epoch(
    material: Material,
    held_out: HeldOut,
    checkpoints: Path | None,
    on_step: Callable[[Progress], None],
    on_values: Callable[[int, Values], None] = lambda epoch, values: None,
) -> BestEpoch:
    """Train the two-tower on the past, and return the epoch that predicts what is held out best.

    Its query embeddings, float32 [num_users, dimension], are 0 for users who do not act in the
    future.

    on_values: called after every epoch with the number of epochs done and NDCG@10 of the task
    'all', float64 [num_users], in the order of the task's users.
    """
    split, tasks = held_out.split, held_out.tasks
    embeddings = material.text_embeddings_of(split.past.items)
    every = tasks[-1]
    kept = BestEpoch(checkpoints, split)
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

    material.trained(split.past, TrainingHooks(checkpoints, on_step, judge))
    return kept


def _digest(split: Split) -> str:
    """Return a hash of the split's past and of the events that it asks for."""
    digest = hashlib.sha256(split.past.digest().encode())
    asked = split.future["event_id"].sort().to_list()
    digest.update("\0".join(asked).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
