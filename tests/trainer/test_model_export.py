"""Both exports of a model answer in a process of TensorFlow alone what the trainer answers."""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2
from typer.testing import CliRunner

import trainer.serving_module
from feature_repo.candidate_features import candidate_features
from riverrun.cli.main import app
from riverrun.errors import UserError
from serving.bundle import (
    ENCODE_CANDIDATE,
    ENCODE_CANDIDATE_FROM_TEXT,
    ENCODE_QUERY,
    ENCODE_QUERY_FROM_EMBEDDINGS,
    ENCODE_TEXT,
    MODEL,
    RANK,
    RECOMMEND,
    BundleError,
    set_current,
)
from tests.support import tiny_training as tiny
from trainer.export import export_bundle
from trainer.model_export import _check_restored, custom_ops_of, export_model, ops_of
from trainer.ranking.ranker import blank_ranker
from trainer.ranking.settings import RankerSettings
from trainer.text_tower import embed_texts
from trainer.train import TrainedModel
from trainer.warmup import FILE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

USERS = np.arange(5)
LENGTH = 12
TEXT_OPS, SCANN_OPS = "tensorflow_text", "scann.scann_ops.py.scann_ops"
Arrays = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return tiny.tiny_model(epochs=2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def ranker() -> keras.Model:
    keras.utils.set_random_seed(3)
    return blank_ranker(RankerSettings())


@pytest.fixture(scope="module")
def bundle(
    model: TrainedModel, ranker: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle whose SavedModel searches by ScaNN, as that of many items does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.serving_module, "BRUTE_FORCE_BELOW", 0)
        folder = tmp_path_factory.mktemp("bundles")
        return export_bundle(model, folder, datetime(2026, 1, 2, tzinfo=UTC), ranker=ranker)


@pytest.fixture(scope="module")
def inputs(model: TrainedModel, ranker: keras.Model) -> Arrays:
    """Arguments of every signature, by `signature/argument`."""
    columns, items = model.interactions, tiny.tiny_items()
    rows = np.stack([np.arange(*columns.first_event[user : user + 2]) for user in USERS])
    names = np.array([item.item_id for item in columns.items])
    history = {
        "event_types": np.full((len(USERS), LENGTH), "view"),
        "timestamps": columns.timestamp[rows],
    }
    query = {"item_ids": names[columns.item[rows]], "query_text": np.full(len(USERS), "")}
    features = candidate_features(items, columns.end)
    item = {
        name: getattr(features, name).astype(str)
        for name in ("item_id", "category", "brand", "tags")
    } | {"price": features.price, "age_days": features.age_days}
    texts = features.text.astype(str)
    columns_of_features = ranker.input_shape[-1]
    arguments: dict[str, Arrays] = {
        ENCODE_QUERY: {**history, **query},
        RECOMMEND: {**history, **query},
        ENCODE_QUERY_FROM_EMBEDDINGS: {
            **history,
            "history_embeddings": model.candidate_embeddings()[columns.item[rows]],
            "query_text_embedding": np.zeros((len(USERS), tiny.TEXT_DIMENSION), np.float32),
        },
        ENCODE_TEXT: {"texts": texts},
        ENCODE_CANDIDATE: {**item, "text": texts},
        ENCODE_CANDIDATE_FROM_TEXT: {
            **item,
            "text_embedding": embed_texts(model.text_tower, texts.tolist(), 8),
        },
        RANK: {"features": np.random.default_rng(0).normal(size=(7, columns_of_features))},
    }
    return {
        f"{name}/{key}": value for name, each in arguments.items() for key, value in each.items()
    }


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory, inputs: Arrays) -> Callable[..., Arrays]:
    """Return what a fresh process answers, of TensorFlow and the named modules alone."""
    folder = tmp_path_factory.mktemp("stock")
    np.savez(folder / "inputs.npz", **inputs)

    def answers(path: Path, *modules: str) -> Arrays:
        script = Path(__file__).parents[1] / "support" / "stock_process.py"
        files = [str(folder / "inputs.npz"), str(folder / "outputs.npz")]
        command = [sys.executable, "-I", str(script), str(path), *files, *modules]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChildProcessError(done.stderr)
        with np.load(files[1]) as archive:
            return dict(archive)

    return answers


def check_encoders(
    answers: Arrays, model: TrainedModel, ranker: keras.Model, inputs: Arrays
) -> None:
    """Hold every signature but `serving_default` against what was trained."""
    candidates = model.candidate_embeddings()
    queries = model.query_embeddings(USERS, candidates)
    for name in (ENCODE_QUERY, ENCODE_QUERY_FROM_EMBEDDINGS):
        np.testing.assert_allclose(answers[f"{name}/embeddings"], queries, atol=1e-5)
    for name in (ENCODE_CANDIDATE, ENCODE_CANDIDATE_FROM_TEXT):
        np.testing.assert_allclose(answers[f"{name}/embeddings"], candidates, atol=1e-4)
    texts = inputs[f"{ENCODE_CANDIDATE_FROM_TEXT}/text_embedding"]
    np.testing.assert_allclose(answers[f"{ENCODE_TEXT}/embeddings"], texts, atol=1e-5)
    scores = ranker(inputs[f"{RANK}/features"].astype(np.float32), training=False)
    np.testing.assert_allclose(answers[f"{RANK}/scores"], scores, rtol=1e-4, atol=1e-5)


def true_scores(model: TrainedModel) -> np.ndarray:
    candidates = model.candidate_embeddings()
    return model.query_embeddings(USERS, candidates) @ candidates.T


def test_the_export_with_scann_answers_what_was_trained(
    bundle: Path,
    model: TrainedModel,
    ranker: keras.Model,
    inputs: Arrays,
    stock: Callable[..., Arrays],
    tmp_path: Path,
) -> None:
    path = export_model(bundle, tmp_path, "shop")
    assert path == tmp_path / "shop" / str(
        int(datetime(2026, 1, 2, tzinfo=UTC).timestamp()) * 2**16 + int(bundle.name[-4:], 16)
    )
    assert custom_ops_of(path) == ["Scann>ScannSearchBatched", "Scann>TensorsToScann"]
    answers = stock(path, TEXT_OPS, SCANN_OPS)
    check_encoders(answers, model, ranker, inputs)
    ids, scores = answers[f"{RECOMMEND}/item_ids"], answers[f"{RECOMMEND}/scores"]
    assert ids.shape == scores.shape
    assert np.isfinite(scores).any()
    rows = np.char.lstrip(ids, "i").astype(int)
    for user, (row, found) in enumerate(zip(rows, scores, strict=True)):
        # One leaf of few items is searched: ScaNN pads with NaN where another's is larger.
        finite = np.isfinite(found)
        assert len(set(row[finite])) == finite.sum()
        np.testing.assert_allclose(found[finite], true_scores(model)[user, row[finite]], atol=1e-4)
        assert (np.diff(found[finite]) <= 0).all()


def test_the_export_without_custom_ops_needs_none_and_ranks_exactly(
    bundle: Path,
    model: TrainedModel,
    ranker: keras.Model,
    inputs: Arrays,
    stock: Callable[..., Arrays],
    tmp_path: Path,
) -> None:
    path = export_model(bundle, tmp_path, "shop", custom_ops=False)
    # TensorFlow Text's, which TensorFlow Serving contains, are the only ones besides its own.
    own = set(tf.raw_ops.__dict__) | {"Placeholder", "NoOp"}
    assert ops_of(path) - own == {"FastWordpieceTokenizeWithOffsets", "RegexSplitWithOffsets"}
    # ScaNN is not imported: the process would end with "Op type not registered".
    answers = stock(path, TEXT_OPS)
    check_encoders(answers, model, ranker, inputs)
    best = -np.sort(-true_scores(model), axis=1)
    np.testing.assert_allclose(answers[f"{RECOMMEND}/scores"], best, atol=1e-4)
    first = np.char.lstrip(answers[f"{RECOMMEND}/item_ids"][:, 0], "i").astype(int)
    np.testing.assert_array_equal(first, true_scores(model).argmax(axis=1))


def test_without_scann_the_other_export_cannot_be_loaded(
    bundle: Path, stock: Callable[..., Arrays]
) -> None:
    with pytest.raises(ChildProcessError, match="Scann>"):
        stock(bundle / MODEL, TEXT_OPS)


def test_both_exports_have_warm_up_requests_for_every_signature(
    bundle: Path, tmp_path: Path
) -> None:
    for custom_ops in (True, False):
        path = export_model(bundle, tmp_path / str(custom_ops), "shop", custom_ops=custom_ops)
        model = tf.saved_model.load(str(path))
        asked = set()
        for record in tf.data.TFRecordDataset(str(path / FILE)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            name = request.model_spec.signature_name
            arguments = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            signature = model.signatures[name]
            tensors: dict[str, Any] = {key: tf.constant(value) for key, value in arguments.items()}
            assert tensors.keys() == signature.structured_input_signature[1].keys()
            assert signature(**tensors).keys() == signature.structured_outputs.keys()
            asked.add(name)
        assert asked == model.signatures.keys()


def test_a_version_is_exported_once_and_whole(bundle: Path, tmp_path: Path) -> None:
    path = export_model(bundle, tmp_path, "shop", custom_ops=False)
    with pytest.raises(FileExistsError, match=str(path)):
        export_model(bundle, tmp_path, "shop")
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_damaged_bundle_is_not_exported(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        export_model(bundle.with_name("20260101T000000Z-0000"), tmp_path, "shop")
    assert not list(tmp_path.rglob("saved_model.pb"))


class _TracksKeras(tf.Module):
    """As a bundle of an earlier Riverrun: of a Keras variable a copy is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = keras.layers.Dense(1)
        self.layer.build((None, 2))

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def call(self, x: Any) -> Any:
        return {"y": self.layer(x)}


def test_a_model_that_tensorflow_serving_cannot_restore_is_refused(tmp_path: Path) -> None:
    module = _TracksKeras()
    tf.saved_model.save(module, str(tmp_path), signatures=module.call)
    with pytest.raises(BundleError, match=r"saved_model\.pb.*'dense.*/(kernel|bias)'.*refresh"):
        _check_restored(tmp_path)


def test_the_command_exports_what_serves_and_says_what_it_needs(
    bundle: Path, tmp_path: Path
) -> None:
    bundles = tmp_path / "home" / "bundles"
    bundles.mkdir(parents=True)
    command = ["models", "export", "--to", str(tmp_path), "--home", str(bundles.parent)]
    with pytest.raises(UserError, match="holds no bundle"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    (bundles / bundle.name).symlink_to(bundle)
    set_current(bundles, bundle.name)
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "Scann>ScannSearchBatched" in done.output
    (model,) = tmp_path.glob("riverrun/*/saved_model.pb")
    with pytest.raises(UserError, match=str(model.parent)):
        CliRunner().invoke(app, [*command, bundle.name], catch_exceptions=False)
    options = ["--name", "stock", "--without-custom-ops"]
    done = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)
    assert "needs no custom op" in done.output
    assert (tmp_path / "stock" / model.parent.name / "saved_model.pb").exists()


def test_the_graph_holds_once_what_several_signatures_compute(bundle: Path) -> None:
    saved = saved_model_pb2.SavedModel.FromString((bundle / MODEL / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    names = [re.sub(r"_\d+$", "", each.signature.name) for each in functions]
    assert names.count("__inference__texts") == 1
    assert names.count("__inference__histories") == 1
