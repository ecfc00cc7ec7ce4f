"""From a trained model to a published bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import tensorflow as tf

from feature_repo.schema import Item
from serving import bundle, bundle_writing
from serving.ranking.bundle_files import RankingData, write_ranking
from serving.ranking.settings import SOURCES
from serving.saved_model_encoder import TEXT_TOWER_DIGEST
from trainer.import_keras import keras
from trainer.interactions import Interactions
from trainer.ranking.ranker import dense_layers
from trainer.serving_module import ServingModule
from trainer.text_tower import text_tower_digest
from trainer.trained_model import TrainedModel
from trainer.warm_start import write_weights
from trainer.warmup import write_warmup

TOP_K = 100


def export_bundle(
    model: TrainedModel,
    bundles: Path,
    created_at: datetime,
    *,
    version: str | None = None,
    parent: str | None = None,
    start: str = "",
    metrics: Mapping[str, float] | None = None,
    ranking: RankingData | None = None,
    ranker: keras.Model | None = None,
    items: Sequence[Item] | None = None,
    text_embeddings: npt.NDArray[np.float32] | None = None,
) -> Path:
    """Write the model and a catalogue as a new bundle, and return its folder.

    The bundle is published but not served until `serving.bundle.set_current` names it. `start`
    says what the training started from; `parent` is the bundle that served then. `ranking` is what
    candidates are ranked by, with the trained `ranker` where there is one.

    `items` is the catalogue; it may differ in any way from the one that the model was trained on,
    which is the default. The rows of `ranking` and of `text_embeddings`, float32 [len(items), n],
    are those of `items`; without `text_embeddings` the model reads the texts.
    """
    items = model.interactions.items if items is None else items
    candidate_ids = [item.item_id for item in items]
    embeddings = model.embeddings_of(items, text_embeddings)
    manifest = bundle.Manifest(
        version=version or bundle.new_version(created_at),
        created_at=created_at,
        parent=parent,
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
        metrics=dict(metrics or {}),
        model={
            "settings": orjson.loads(model.settings.model_dump_json()),
            "start": start,
            TEXT_TOWER_DIGEST: text_tower_digest(model.text_tower, model.settings.text),
        },
    )
    if ranking is not None and ranker is not None:
        ranking = replace(ranking, sources=SOURCES, layers=dense_layers(ranker))
    manifest = manifest.model_copy(update={"ranking": ranking.part if ranking else None})
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
            write_ranking(folder, ranking)
        event_types = model.interactions.event_types
        write_weights(folder, model.two_tower, event_types, model.settings.text)
        return bundle_writing.publish(bundles, folder, manifest)


def _counts(learned: Interactions, item_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return int64 [len(item_ids)], from how many events on each item the model has learned."""
    events = np.bincount(learned.item, minlength=len(learned.items)).tolist()
    by_id = dict(zip((item.item_id for item in learned.items), events, strict=True))
    return np.array([by_id.get(item_id, 0) for item_id in item_ids], dtype=np.int64)
