"""Searches for settings, on the events and items that a shop has archived."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from tensorflow.errors import OpError

from feature_repo.archive import Archive
from feature_repo.exclusive_lock import exclusive
from feature_repo.offline_features import OfflineFeatures
from riverrun.errors import RunFailedError, UserError, kind_of
from riverrun.readable_archive import readable
from riverrun.settings import Settings
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.interactions import EVENT_COLUMNS, happened_by
from trainer.listener import Listener
from trainer.material import Material, read_material
from trainer.ranking.learning_to_rank import Newest
from trainer.tuning.objectives import NewestSliceObjectives
from trainer.tuning.search import Objective, Search, Steps, Tried, no_steps
from trainer.tuning.source_steps import SourceSteps
from trainer.tuning.space import MODEL, RANKING, Space
from trainer.tuning.tuned_settings import TunedSettings


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a search ends: after `trials`, or once `has_time` says that no other may begin."""

    trials: int
    has_time: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found.

    space: what was searched. results: the settings that were tried to the end: first those to go
    on with, then the others, best first. pruned: how many trials were given up. interrupted:
    whether the search was.
    """

    space: Space
    results: Sequence[Tried]
    pruned: int
    interrupted: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """A search: its name, what is searched from which settings on, and how.

    steps, pruned: as `Search` takes them.
    """

    name: str
    space: Space
    base: TunedSettings
    steps: Steps = no_steps
    pruned: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ShopTuning:
    """Searches the settings of one shop; results are kept in `folder`.

    data: a hash of all that is learned from and asked about.
    """

    folder: Path
    objectives: NewestSliceObjectives
    data: str
    listener: Listener

    def ranking(self, bounds: Bounds) -> Found:
        """Search the settings of ranking, with one two-tower of the present settings."""
        plan = _Plan("ranking", RANKING, self._present)
        return self._of_lists(plan, bounds, "Searching the settings of ranking")

    def sources(self, base: TunedSettings, bounds: Bounds) -> Found:
        """Search which sources are on, all other settings being those of `base`.

        The settings to go on with are those that `SourceSteps` settles on.
        """
        steps = SourceSteps(base, self.objectives.speaking(base.training))
        plan = _Plan("sources", steps.space, base, steps.next)
        found = self._of_lists(plan, bounds, "Searching the sources")
        settled = steps.settled(found.results)
        if settled is None:
            return found
        others = [tried for tried in found.results if tried is not settled]
        return replace(found, results=[settled, *others])

    def model(self, base: TunedSettings, bounds: Bounds) -> Found:
        """Search the settings of the model, all others being those of `base`."""

        def begins(done: int, trials: int) -> None:
            self.listener.stage(f"Searching the settings of the model, trial {done + 1}/{trials}")

        plan = _Plan("model", MODEL, base, pruned=True)
        return self._found(plan, self.objectives.of_model(self.listener.step), bounds, begins)

    def forget(self) -> None:
        """Remove what earlier searches have tried."""
        self._searches.unlink(missing_ok=True)
        self._forget_two_towers()

    @property
    def _searches(self) -> Path:
        return self.folder / "searches.sqlite"

    @property
    def _present(self) -> TunedSettings:
        return TunedSettings(
            training=self.objectives.material.settings, serving=self.objectives.service.serving
        )

    def _newest(self) -> Newest | None:
        """Train one two-tower, or take the one trained before; None if that is interrupted."""
        self.listener.stage("Training a two-tower, the newest slice held out")
        checkpoints = self.folder / f"two-tower-{_digest(self.data, self._present.training)}"
        self._forget_two_towers(but=checkpoints)
        try:
            return self.objectives.trained(checkpoints, self.listener.step)
        except KeyboardInterrupt:
            return None

    def _of_lists(self, plan: _Plan, bounds: Bounds, stage: str) -> Found:
        """Search by trials that take seconds, all with one two-tower; one bar shows all of them."""
        newest = self._newest()
        if newest is None:
            return Found(plan.space, (), 0, True)
        self.listener.stage(stage)
        progress = self.listener.progress
        found = self._found(plan, self.objectives.of_ranking(newest), bounds, progress)
        progress(len(found.results) + found.pruned, bounds.trials)
        return found

    def _forget_two_towers(self, but: Path | None = None) -> None:
        for each in self.folder.glob("two-tower-*"):
            if each != but:
                shutil.rmtree(each)

    def _found(
        self,
        plan: _Plan,
        objective: Objective,
        bounds: Bounds,
        begins: Callable[[int, int], None],
    ) -> Found:
        interrupted = False
        with Search(
            self._searches,
            f"{plan.name}-{_digest(self.data, plan.base, plan.space)}",
            plan.space,
            plan.base,
            seed=plan.base.training.seed,
            steps=plan.steps,
            pruned=plan.pruned,
        ) as search:
            try:
                search.run(
                    objective,
                    bounds.trials,
                    bounds.has_time,
                    lambda done: begins(done, bounds.trials),
                )
            except KeyboardInterrupt:
                interrupted = True
            return Found(plan.space, search.results(), search.pruned, interrupted)


@contextmanager
def shop_tuning(settings: Settings, listener: Listener) -> Iterator[ShopTuning]:
    """Read what `settings.home` has archived, for searches of `settings`.

    Raises `UserError` where there is nothing to learn from, or nobody to ask; and `RunFailedError`
    where the cause may pass: no memory, a full disk, or another search that is at work.
    """
    archive = Archive(settings.archive)
    settings.tuning.mkdir(parents=True, exist_ok=True)
    lock = settings.tuning / "lock"
    refusal = RunFailedError(f"another search is at work: {lock} is held.")
    try:
        with (
            closing(TextEmbeddingCache(settings.text_embeddings)) as cache,
            exclusive(lock, refusal),
            # Its own folder of features, since a refresh may run meanwhile.
            TemporaryDirectory() as features,
        ):
            listener.stage("Embedding texts")
            with readable(archive):
                events = archive.events.scan().select(EVENT_COLUMNS).collect()
                events, items = happened_by(events, datetime.now(UTC)), archive.items()
            material = read_material(
                events,
                items,
                settings.training,
                OfflineFeatures(Path(features)),
                cache,
                listener.progress,
            )
            objectives = NewestSliceObjectives.of(material, settings.service_settings)
            data = _digest(_of_data(material), settings.service_settings)
            yield ShopTuning(settings.tuning, objectives, data, listener)
    except ValueError as error:
        raise UserError(f"{settings.archive}: {error}") from error
    except OSError as error:
        raise kind_of(error)(f"{settings.home}: {error}") from error
    except OpError as error:  # A full disk too, or no memory for the present settings.
        raise RunFailedError(f"{settings.home}: {' '.join(str(error).split())}") from error


def _of_data(material: Material) -> str:
    columns = material.interactions
    digest = hashlib.sha256(orjson.dumps([columns.user_ids, columns.event_types]))
    for each in (columns.user, columns.item, columns.event_type, columns.timestamp):
        digest.update(each.tobytes())
    for item in material.items:
        digest.update(repr(item).encode())
    return digest.hexdigest()


def _digest(*parts: Any) -> str:
    """Return a short hash of strings, settings and spaces."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
