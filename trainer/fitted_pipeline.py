"""All that makes a list, fitted on a split's past as a refresh does, and evaluated in parts."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from feature_repo.offline_features import OfflineFeatures
from serving.ranking.bundle_files import RankingData
from serving.sources.two_tower import TwoTowerSource
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.baselines import EmbeddingScorer, Scorer
from trainer.comparison import CANDIDATE
from trainer.import_keras import keras
from trainer.judging import Judgement, judge_epochs
from trainer.listener import Listener
from trainer.material import Material
from trainer.ranking.fitted_tables import fit_tables
from trainer.ranking.pipeline_scorer import PipelineScorer, RerankedScorer
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.silent_sources import silent_sources
from trainer.ranking.source_scorer import SourceScorer
from trainer.scorers import pipeline_scorer, two_tower_scorer
from trainer.settings import TrainingSettings
from trainer.tasks import Split
from trainer.train import TrainingHooks
from trainer.training_input_error import TrainingInputError

FUSION = "fusion, no ranker"
DIVERSE = 0.3
"""The `diversity` of the second list, which is evaluated beside the one without."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedPipeline:
    """What was fitted on the past of a split, with the query embeddings of its histories.

    two_tower: the two-tower alone. data: None where `training.ranking` is off. judgement: the
    number of epochs, and the ranker, None where too few users could teach it. text_embeddings:
    float32 [num_items, n], None with LoRA. seconds: how long fitting took; text_seconds: the part
    of it that embedding texts took; epoch_seconds: the median of an epoch on all of the past.
    """

    split: Split
    training: TrainingSettings
    service: ServiceSettings
    judgement: Judgement
    two_tower: EmbeddingScorer
    data: RankingData | None
    text_embeddings: npt.NDArray[np.float32] | None
    seconds: float
    text_seconds: float
    epoch_seconds: float

    @cached_property
    def pipeline(self) -> PipelineScorer:
        """The list as the service makes it."""
        return self._pipeline(CANDIDATE, self.judgement.learned.ranker, self.service)

    @property
    def parts(self) -> Sequence[Scorer]:
        """Each other source alone, those of strangers' lists too, and the fusion of all.

        The fusion orders lists without a ranker.
        """
        fusion = self._pipeline(FUSION, None, self.service)
        every = (*fusion.shop.stage.sources, *fusion.shop.fallback)
        # By name, since `new_arrivals` is in strangers' lists and in all others.
        alone = {
            source.name: SourceScorer(source, fusion.shop)
            for source in every
            if source.name not in {TwoTowerSource.name, *self._silent}
        }
        return [*alone.values(), fusion]

    @property
    def diverse(self) -> Scorer:
        """The list as the service makes it with a diversity of `DIVERSE`."""
        knobs = self.service.serving.reranking.model_copy(update={"diversity": DIVERSE})
        serving = self.service.serving.model_copy(update={"reranking": knobs})
        name = f"{CANDIDATE}, diversity {DIVERSE:g}"
        return RerankedScorer(name, self.pipeline, serving)

    def ablations(self) -> Iterator[Scorer]:
        """Yield the list without each part: without each source in turn, then without the ranker.

        Where there is a ranker, it is trained again without the source.
        """
        for source in self.pipeline.shop.stage.sources:
            if source.name not in self._silent:
                yield self._without(source.name)
        if self.judgement.learned.ranker is not None:
            yield self._pipeline("without the ranker", None, self.service)

    @cached_property
    def _silent(self) -> set[str]:
        tables = self.data.tables if self.data else {}
        return silent_sources(self.split.past.items, tables, self.service)

    def _without(self, name: str) -> PipelineScorer:
        ranking = self.service.serving.ranking
        sources = tuple(each for each in ranking.sources if each != name)
        ranking = ranking.model_copy(update={"sources": sources})
        serving = self.service.serving.model_copy(update={"ranking": ranking})
        service = replace(self.service, serving=serving)
        ranker, lessons = self.judgement.learned.ranker, self.judgement.taught_by
        if ranker is not None and lessons is not None:
            ranker = lessons.learn(self.training, service).ranker
        return self._pipeline(f"without {name}", ranker, service)

    def _pipeline(
        self, name: str, ranker: keras.Model | None, service: ServiceSettings
    ) -> PipelineScorer:
        return pipeline_scorer(
            name,
            self.split,
            self.data,
            ranker,
            self.two_tower.queries,
            self.two_tower.candidates,
            service,
        )


def fit_pipeline(
    split: Split,
    training: TrainingSettings,
    service: ServiceSettings,
    text_cache: TextEmbeddingCache,
    listener: Listener,
) -> FittedPipeline:
    """Fit everything on the split's past, whose newest events are held out to choose epochs by.

    Raises:
        TrainingInputError: there is nothing to learn from, or the text model or the strategy is
            not available.
    """
    past = split.past
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        features = OfflineFeatures(Path(folder))
        listener.stage("Embedding texts")
        material = Material.of(
            past, past.frame(), training, features, text_cache, listener.progress
        )
        text_seconds = time.monotonic() - start
        try:
            listener.stage("Training, the newest events held out")
            judgement = judge_epochs(
                material,
                current=None,
                checkpoints=None,
                on_step=listener.step,
                service=service,
            )
            listener.stage("Training")
            hooks = TrainingHooks(on_step=listener.step)
            model = material.trained(past, hooks, stop_after=judgement.epochs)
        except TrainingInputError as error:
            raise TrainingInputError(f"cannot train on the past: {error}") from error
    data = None
    if training.ranking.enabled:
        texts = material.text_embeddings
        data = fit_tables(past, texts, training.ranking, training.weightless)
        data = replace(data, fusion=judgement.learned.fusion)
    seconds = time.monotonic() - start
    return FittedPipeline(
        split=split,
        training=training,
        service=service,
        judgement=judgement,
        two_tower=two_tower_scorer(model, split.histories),
        data=data,
        text_embeddings=material.text_embeddings,
        seconds=seconds,
        text_seconds=text_seconds,
        epoch_seconds=float(np.median(model.seconds)),
    )
