"""What the SavedModel answers is what the trained model answers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from feature_repo.candidate_features import candidate_features
from serving.bundle import MODEL, Bundle
from serving.bundle_loading import load_bundle
from serving.prediction.served_signature import ServedSignature
from serving.settings import BatchingSettings
from serving.signatures import (
    ENCODE_CANDIDATE,
    ENCODE_CANDIDATE_FROM_TEXT,
    ENCODE_QUERY,
    ENCODE_QUERY_FROM_EMBEDDINGS,
    ENCODE_TEXT,
    RECOMMEND,
)
from tests.support import tiny_training as tiny
from trainer.export import BundleNote, export_bundle
from trainer.trained_model import TrainedModel
from trainer.warmup import FILE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("trained_step_by_step")]

USERS = np.arange(5)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return tiny.tiny_model(epochs=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def exported(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles")
    path: Path = export_bundle(model, folder, BundleNote(datetime(2026, 1, 2, tzinfo=UTC)))
    return load_bundle(path)


def call(exported: Bundle, signature: str, **arguments: Any) -> dict[str, np.ndarray]:
    tensors = {name: tf.constant(value) for name, value in arguments.items()}
    return {name: out.numpy() for name, out in exported.signatures[signature](**tensors).items()}


def histories(model: TrainedModel) -> dict[str, np.ndarray]:
    columns = model.interactions
    length = 12
    rows = [slice(*columns.first_event[user : user + 2]) for user in USERS]
    assert all(row.stop - row.start == length for row in rows)
    names = np.array([item.item_id for item in columns.items])
    return {
        "item_ids": np.stack([names[columns.item[row]] for row in rows]),
        "event_types": np.full((len(USERS), length), "view"),
        "timestamps": np.stack([columns.timestamp[row] for row in rows]),
    }


def test_queries_by_id_are_those_of_training(model: TrainedModel, exported: Bundle) -> None:
    trained = model.query_embeddings(USERS, model.candidate_embeddings())
    served = call(exported, ENCODE_QUERY, **histories(model), query_text=[""] * len(USERS))
    np.testing.assert_allclose(served["embeddings"], trained, atol=1e-5)


def test_every_signature_has_warm_up_requests_that_it_answers(exported: Bundle) -> None:
    file = exported.path / MODEL / FILE
    asked = set()
    for record in tf.data.TFRecordDataset(str(file)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        call(exported, request.model_spec.signature_name, **inputs)
        asked.add(request.model_spec.signature_name)
    assert asked == exported.signatures.keys()


def test_queries_by_embedding_are_those_by_id(model: TrainedModel, exported: Bundle) -> None:
    given = histories(model)
    rows = np.char.lstrip(given.pop("item_ids"), "i").astype(int)
    by_embedding = call(
        exported,
        ENCODE_QUERY_FROM_EMBEDDINGS,
        **given,
        history_embeddings=model.candidate_embeddings()[rows],
        query_text_embedding=np.zeros((len(USERS), tiny.TEXT_DIMENSION), np.float32),
    )
    by_id = call(exported, ENCODE_QUERY, **histories(model), query_text=[""] * len(USERS))
    np.testing.assert_allclose(by_embedding["embeddings"], by_id["embeddings"], atol=1e-5)


def test_candidates_are_those_of_training(model: TrainedModel, exported: Bundle) -> None:
    features = candidate_features(tiny.tiny_items(), model.interactions.end)
    strings = {name: getattr(features, name).astype(str) for name in ("item_id", "category")}
    given = {**strings, "brand": features.brand.astype(str)}
    given |= {"tags": features.tags.astype(str), "price": features.price}
    given |= {"age_days": features.age_days}
    texts = features.text.astype(str)
    of_text = call(exported, ENCODE_CANDIDATE, **given, text=texts)["embeddings"]
    np.testing.assert_allclose(of_text, model.candidate_embeddings(), atol=1e-4)
    text_embedding = call(exported, ENCODE_TEXT, texts=texts)["embeddings"]
    np.testing.assert_allclose(np.linalg.norm(text_embedding, axis=1), 1.0, atol=1e-5)
    two_steps = call(exported, ENCODE_CANDIDATE_FROM_TEXT, **given, text_embedding=text_embedding)
    np.testing.assert_allclose(two_steps["embeddings"], of_text, atol=1e-5)


def test_an_unseen_item_is_embedded_from_its_text(exported: Bundle) -> None:
    given: dict[str, Any] = {
        "item_id": ["never-seen"] * 2,
        "category": ["unheard-of"] * 2,
        "brand": [""] * 2,
        "tags": [["unheard-of"]] * 2,
        "price": np.full(2, np.nan, np.float32),
        "age_days": np.full(2, -1.0, np.float32),
    }
    lamps = call(exported, ENCODE_CANDIDATE, **given, text=["lamp 1", "lamp 2"])["embeddings"]
    assert np.isfinite(lamps).all()
    assert not np.allclose(lamps[0], lamps[1])


def test_recommend_is_the_best_scores_in_order(model: TrainedModel, exported: Bundle) -> None:
    candidates = model.candidate_embeddings()
    scores = model.query_embeddings(USERS, candidates) @ candidates.T
    best = call(exported, RECOMMEND, **histories(model), query_text=[""] * len(USERS))
    np.testing.assert_allclose(best["scores"], -np.sort(-scores, axis=1), atol=1e-4)
    assert best["item_ids"][0, 0].decode() == f"i{scores[0].argmax()}"


def test_no_history_or_none_known_gives_one_finite_query(exported: Bundle) -> None:
    nothing = call(
        exported,
        ENCODE_QUERY,
        item_ids=np.zeros((1, 0), "U1"),
        event_types=np.zeros((1, 0), "U1"),
        timestamps=np.zeros((1, 0), np.int64),
        query_text=[""],
    )["embeddings"]
    unknown = call(
        exported,
        ENCODE_QUERY,
        item_ids=[["never-seen", "nor-this"]],
        event_types=[["view", "view"]],
        timestamps=np.array([[10**15, 10**15 + 1]]),
        query_text=[""],
    )["embeddings"]
    assert np.isfinite(nothing).all()
    np.testing.assert_array_equal(nothing, unknown)


def test_an_unknown_item_counts_as_padding(model: TrainedModel, exported: Bundle) -> None:
    given = histories(model)
    query_text = [""] * len(USERS)
    without = call(exported, ENCODE_QUERY, **given, query_text=query_text)
    times = given["timestamps"]
    longer = {
        "item_ids": np.insert(given["item_ids"].astype("U10"), 4, "never-seen", axis=1),
        "event_types": np.insert(given["event_types"], 4, "view", axis=1),
        "timestamps": np.insert(times, 4, times[:, 3] + 1, axis=1),
    }
    with_unknown = call(exported, ENCODE_QUERY, **longer, query_text=query_text)
    np.testing.assert_allclose(with_unknown["embeddings"], without["embeddings"], atol=1e-5)


@pytest.mark.parametrize("name", [ENCODE_QUERY, RECOMMEND])
def test_calls_run_together_have_the_answers_of_calls_run_alone(
    model: TrainedModel, exported: Bundle, name: str
) -> None:
    signature = ServedSignature(exported.signatures[name], BatchingSettings(), max_rows=64)
    columns = histories(model) | {"query_text": np.full(len(USERS), "")}
    calls = [
        {
            key: column[user : user + 1, :length] if column.ndim > 1 else column[user : user + 1]
            for key, column in columns.items()
        }
        for user, length in zip(USERS, (0, 1, 5, 12, 3), strict=True)
    ]
    for inputs in calls:
        for key, spec in signature.inputs.items():
            inputs[key] = inputs[key].astype(spec.dtype.as_numpy_dtype)
    together = signature._run_together(calls)
    for inputs, outputs in zip(calls, together, strict=True):
        alone = signature.predict(inputs)
        for key, output in outputs.items():
            if output.dtype == object:
                np.testing.assert_array_equal(output, alone[key])
            else:
                np.testing.assert_allclose(output, alone[key], atol=1e-5)
