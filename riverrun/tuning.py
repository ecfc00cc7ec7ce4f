"""A search for settings, on what a shop has archived."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from feature_repo.archive import Archive
from feature_repo.exclusive_lock import exclusive
from feature_repo.offline_features import OfflineFeatures
from riverrun.errors import UserError
from riverrun.settings import Settings
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.interactions import EVENT_COLUMNS
from trainer.listener import Listener
from trainer.material import Material, read_material
from trainer.ranking.service_settings import ServiceSettings
from trainer.settings import TrainingSettings
from trainer.tuning.objectives import NewestSliceObjectives
from trainer.tuning.search import Objective, Search, Tried
from trainer.tuning.space import MODEL, RANKING, Space


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a search ends: after so many trials, or where no other may begin any more."""

    trials: int
    has_time: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found.

    results: the settings that were tried to the end, the best first. pruned: how many were given
    up before. interrupted: whether it was.
    """

    results: Sequence[Tried]
    pruned: int
    interrupted: bool


@dataclass(frozen=True, slots=True, eq=False)
class ShopTuning:
    """Searches the settings of one shop; what they find is kept in `folder`.

    data: a hash of what is learned from and asked about.
    """

    folder: Path
    objectives: NewestSliceObjectives
    data: str
    listener: Listener

    def ranking(self, bounds: Bounds) -> Found:
        """Search the settings of ranking, with one two-tower of the settings at present."""
        self.listener.stage("Training a two-tower, the newest slice held out")
        present = self.objectives.material.settings
        checkpoints = self.folder / f"two-tower-{_digest(self.data, present)}"
        self._forget_two_towers(but=checkpoints)
        try:
            newest = self.objectives.trained(checkpoints, self.listener.step)
        except KeyboardInterrupt:
            return Found((), 0, True)
        self.listener.stage("Searching the settings of ranking")
        objective = self.objectives.of_ranking(newest)
        progress = self.listener.progress
        found = self._found("ranking", RANKING, present, objective, bounds, progress, pruned=False)
        progress(len(found.results) + found.pruned, bounds.trials)
        return found

    def model(self, base: TrainingSettings, bounds: Bounds) -> Found:
        """Search the settings of the model, all others being those of `base`."""

        def begins(done: int, trials: int) -> None:
            self.listener.stage(f"Searching the settings of the model, trial {done + 1}/{trials}")

        objective = self.objectives.of_model(self.listener.step)
        return self._found("model", MODEL, base, objective, bounds, begins, pruned=True)

    def forget(self) -> None:
        """Remove what earlier searches have tried."""
        self._searches.unlink(missing_ok=True)
        self._forget_two_towers()

    @property
    def _searches(self) -> Path:
        return self.folder / "searches.sqlite"

    def _forget_two_towers(self, but: Path | None = None) -> None:
        for each in self.folder.glob("two-tower-*"):
            if each != but:
                shutil.rmtree(each)

    def _found(
        self,
        name: str,
        space: Space,
        base: TrainingSettings,
        objective: Objective,
        bounds: Bounds,
        begins: Callable[[int, int], None],
        *,
        pruned: bool,
    ) -> Found:
        name = f"{name}-{_digest(self.data, base, space)}"
        interrupted = False
        with Search(self._searches, name, space, base, seed=base.seed, pruned=pruned) as search:
            try:
                search.run(
                    objective,
                    bounds.trials,
                    bounds.has_time,
                    lambda done: begins(done, bounds.trials),
                )
            except KeyboardInterrupt:
                interrupted = True
            return Found(search.results(), search.pruned, interrupted)


@contextmanager
def shop_tuning(settings: Settings, listener: Listener) -> Iterator[ShopTuning]:
    """Read what `settings.home` has archived, for searches of `settings.training`.

    Raises `UserError` where nothing can be learned or asked.
    """
    archive = Archive(settings.archive)
    settings.tuning.mkdir(parents=True, exist_ok=True)
    lock = settings.tuning / "lock"
    refusal = UserError(f"another search is at work: {lock} is held.")
    try:
        with (
            closing(TextEmbeddingCache(settings.text_embeddings)) as cache,
            exclusive(lock, refusal),
            # Features of its own: a refresh may run meanwhile.
            TemporaryDirectory() as features,
        ):
            listener.stage("Embedding texts")
            material = read_material(
                archive.scan_events().select(EVENT_COLUMNS).collect(),
                archive.items(),
                settings.training,
                OfflineFeatures(Path(features)),
                cache,
                listener.progress,
            )
            objectives = NewestSliceObjectives.of(material, settings.service_settings)
            data = _digest(_of_data(material), _Named(settings.service_settings))
            yield ShopTuning(settings.tuning, objectives, data, listener)
    except ValueError as error:
        raise UserError(f"{settings.archive}: {error}") from error
    except OSError as error:  # A full disk.
        raise UserError(f"{settings.home}: {error}") from error


def _of_data(material: Material) -> str:
    columns = material.interactions
    digest = hashlib.sha256(orjson.dumps([columns.user_ids, columns.event_types]))
    for each in (columns.user, columns.item, columns.event_type, columns.timestamp):
        digest.update(each.tobytes())
    for item in material.items:
        digest.update(repr(item).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Named:
    """Settings under the name by which searches were kept from the first: they are found again."""

    settings: ServiceSettings

    def __repr__(self) -> str:
        return repr(self.settings).replace(type(self.settings).__name__, "Service", 1)


def _digest(*parts: Any) -> str:
    """Return a short hash of strings, settings and spaces."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
