"""All that makes a list, fitted on the past of a split as a refresh does, and asked in parts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import numpy.typing as npt

from feature_repo.offline_features import OfflineFeatures
from riverrun.errors import UserError
from serving.ranking.bundle_files import RankingData
from serving.sources.item_neighbours import ItemNeighboursSource
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.baselines import EmbeddingScorer, Scorer
from trainer.judging import judge_epochs, pipeline_scorer, two_tower_scorer
from trainer.material import Material
from trainer.ranking.fit import fit_tables
from trainer.ranking.pipeline_scorer import PipelineScorer
from trainer.ranking.service import Service
from trainer.ranking.source_scorer import SourceScorer
from trainer.refresh import Listener
from trainer.settings import TrainingSettings
from trainer.start import Start
from trainer.tasks import Split
from trainer.text_embeddings import catalogue_text_embeddings
from trainer.text_tower import load_text_tower

ALL_TOGETHER, FUSION = "all together", "fusion, no ranker"


@dataclass(frozen=True, slots=True, eq=False)
class FittedPipeline:
    """What was fitted on the past of a split, with the queries of its histories.

    two_tower: it alone. data: None where `training.ranking` is off. ranker: None where too few
    told anything. text_embeddings: float32 [num_items, n]. seconds: that fitting took.
    """

    split: Split
    training: TrainingSettings
    service: Service
    epochs: int
    two_tower: EmbeddingScorer
    data: RankingData | None
    ranker: keras.Model | None
    text_embeddings: npt.NDArray[np.float32]
    seconds: float

    @property
    def pipeline(self) -> Scorer:
        """The list as the service makes it."""
        return self._pipeline(ALL_TOGETHER, self.ranker)

    @property
    def parts(self) -> Sequence[Scorer]:
        """Each other source alone, and all in the fusion that needs no ranker.

        Left out is what has nothing to say: tables that are not made, and co-visitation where the
        stream does not learn it.
        """
        silent = {"two_tower"}
        if not self.service.co_visitation.neighbours:
            silent.add("co_visitation")
        tables = self.data.tables if self.data else {}
        fusion = self._pipeline(FUSION, None)
        alone: list[Scorer] = [
            SourceScorer(source, fusion.shop)
            for source in fusion.shop.stage.sources
            if source.name not in silent
            and (source.name in tables or not isinstance(source, ItemNeighboursSource))
        ]
        return [*alone, fusion]

    def _pipeline(self, name: str, ranker: keras.Model | None) -> PipelineScorer:
        return pipeline_scorer(
            name,
            self.split,
            self.data,
            ranker,
            self.two_tower.queries,
            self.two_tower.candidates,
            self.service,
            self.training,
        )


def fit_pipeline(
    split: Split,
    training: TrainingSettings,
    service: Service,
    text_cache: TextEmbeddingCache,
    listener: Listener,
) -> FittedPipeline:
    """Fit everything on the split's past, its newest events held out to choose by.

    Raises:
        UserError: there is nothing to learn from.
    """
    past = split.past
    start, cold = time.monotonic(), Start(None, "an evaluation begins from nothing")
    listener.stage("Embedding texts")
    tower = load_text_tower(training.text)
    texts = [item.text for item in past.items]
    embeddings = catalogue_text_embeddings(tower, texts, training.text, text_cache, listener.texts)
    with TemporaryDirectory() as features:
        material = Material(
            past.frame(),
            past.items,
            past,
            training,
            tower,
            embeddings,
            OfflineFeatures(Path(features)),
        )
        try:
            listener.stage("Training, the newest events held out")
            choice = judge_epochs(material, cold, None, None, listener.step, service)
            listener.stage("Training")
            model = material.trained(past, cold, on_step=listener.step, stop_after=choice.epochs)
        except ValueError as error:
            raise UserError(f"cannot train on the past: {error}") from error
    data = fit_tables(past, embeddings, training.ranking) if training.ranking.enabled else None
    seconds = time.monotonic() - start
    return FittedPipeline(
        split,
        training,
        service,
        choice.epochs,
        two_tower_scorer(model, split.histories),
        data,
        choice.ranker,
        embeddings,
        seconds,
    )
