"""From a trained model to a published bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import tensorflow as tf

from feature_repo.schema import Item
from serving import bundle, bundle_writing
from serving.ranking.bundle_files import RankingData, write_ranking
from serving.source_names import SOURCES
from trainer.import_keras import keras
from trainer.interactions import Interactions
from trainer.ranking.ranker import dense_layers, objectives_of_ranker
from trainer.serving_module import ServingModule
from trainer.text_tower import text_tower_digest
from trainer.trained_model import TrainedModel
from trainer.warm_start import write_weights
from trainer.warmup import write_warmup

TOP_K = 100


@dataclass(frozen=True, slots=True)
class BundleNote:
    """What a bundle says of how it came to be.

    version: by default a new one, of `created_at`. parent: the bundle that served then. start:
    what the training started from, in words. metrics: how its model was judged, by name.
    made_by: the software that trained it, and its version.
    """

    created_at: datetime
    version: str | None = None
    parent: str | None = None
    start: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    made_by: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ExportedCatalogue:
    """The items that a bundle is made for, in the order of its candidates.

    They may differ in any way from those that the model was trained on. text_embeddings: float32
    [len(items), text_dimension]; without them the model reads the texts.
    """

    items: Sequence[Item]
    text_embeddings: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRanking:
    """What a bundle ranks candidates by.

    tables: with signals; rows are those of the catalogue. ranker: from features float32
    [n, num_features] to scores float32 [n], as `train_ranker` returns it; None where none was
    trained.
    """

    tables: RankingData
    ranker: keras.Model | None = None

    @property
    def data(self) -> RankingData:
        """The tables, completed by the ranker's sources and layers."""
        if self.ranker is None:
            return self.tables
        return replace(
            self.tables,
            sources=SOURCES,
            layers=dense_layers(self.ranker),
            objectives=objectives_of_ranker(self.ranker),
        )


def export_bundle(
    model: TrainedModel,
    bundles: Path,
    note: BundleNote,
    *,
    catalogue: ExportedCatalogue | None = None,
    ranking: TrainedRanking | None = None,
) -> Path:
    """Write the model and a catalogue as a new bundle, and return its folder.

    The bundle is published but not served until `serving.published_bundles.set_current` names it.

    Args:
        model: what is exported.
        bundles: the folder of all bundles.
        note: what the bundle says of how it came to be.
        catalogue: by default the items that the model was trained on.
        ranking: over the same items; without it candidates are ranked by no table and no ranker.

    Raises:
        ValueError: `note.version` is not of the form `serving.bundle.VERSION`.
        OSError: a bundle of this version is published already, or one cannot be written.
    """
    if catalogue is None:
        catalogue = ExportedCatalogue(model.interactions.items)
    items = catalogue.items
    candidate_ids = [item.item_id for item in items]
    embeddings = model.embeddings_of(items, catalogue.text_embeddings)
    manifest = bundle.Manifest(
        version=note.version or bundle.new_version(note.created_at),
        created_at=note.created_at,
        parent=note.parent,
        dimension=model.settings.dimension,
        text_dimension=model.text_tower.dimension,
        max_history=model.settings.history_length,
        event_types=tuple(model.interactions.event_types),
        top_k=min(TOP_K, len(items)),
        popularity_coordinate=True,
        num_items=len(items),
        data_window=bundle.DataWindow(
            start=model.interactions.start,
            end=model.interactions.end,
            events=len(model.interactions.item),
        ),
        metrics=dict(note.metrics),
        model={
            "settings": orjson.loads(model.settings.model_dump_json()),
            "start": note.start,
            "made_by": note.made_by,
            bundle.TEXT_TOWER_DIGEST: text_tower_digest(model.text_tower, model.settings.text),
        },
        ranking=ranking.data.part if ranking else None,
    )
    ranker = ranking.ranker if ranking else None
    with bundle_writing.building(bundles, manifest.version) as folder:
        module = ServingModule(model, candidate_ids, embeddings, manifest.top_k, ranker)
        signatures = module.signatures()
        tf.saved_model.save(
            module,
            str(folder / bundle.MODEL),
            signatures=signatures,
            options=tf.saved_model.SaveOptions(namespace_whitelist=["Scann"]),
        )
        write_warmup(folder / bundle.MODEL, signatures)
        counts = _counts(model.interactions, candidate_ids)
        bundle_writing.write_candidates(folder, candidate_ids, embeddings, counts)
        bundle_writing.write_items(folder, items)
        if ranking is not None:
            write_ranking(folder, ranking.data)
        event_types = model.interactions.event_types
        write_weights(folder, model.two_tower, event_types, model.settings.text)
        return bundle_writing.publish(bundles, folder, manifest)


def _counts(learned: Interactions, item_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return int64 [len(item_ids)], from how many events on each item the model has learned."""
    events = np.bincount(learned.item, minlength=len(learned.items)).tolist()
    by_id = dict(zip((item.item_id for item in learned.items), events, strict=True))
    return np.array([by_id.get(item_id, 0) for item_id in item_ids], dtype=np.int64)
