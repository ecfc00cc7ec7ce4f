"""Each export of a model answers in a process of TensorFlow alone what the trainer answers."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scann.scann_ops.py import scann_ops
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2
from typer.testing import CliRunner

import trainer.export
import trainer.serving_module
from feature_repo.candidate_features import candidate_features
from riverrun.cli.main import app
from riverrun.errors import UserError
from serving.bundle import MODEL, BundleError
from serving.published_bundles import set_current
from serving.ranking.bundle_files import RankingData
from serving.ranking.feature_names import feature_names
from serving.signals.item_signals import SIGNALS
from serving.signatures import (
    ENCODE_CANDIDATE,
    ENCODE_CANDIDATE_FROM_TEXT,
    ENCODE_QUERY,
    ENCODE_QUERY_FROM_EMBEDDINGS,
    ENCODE_TEXT,
    RANK,
    RECOMMEND,
)
from serving.source_names import SOURCES
from tests.support import tiny_training as tiny
from trainer.export import BundleNote, TrainedRanking, export_bundle
from trainer.import_keras import keras
from trainer.model_export import (
    RANK_FEATURES,
    custom_ops_of,
    export_model,
    ops_of,
)
from trainer.ranking.ranker import blank_ranker
from trainer.ranking.settings import RankerSettings
from trainer.serving_module import BRUTE_FORCE_BELOW, _build_searcher
from trainer.text_tower import embed_texts
from trainer.trained_model import TrainedModel
from trainer.warmup import FILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("trained_step_by_step"),
]


def _library(package: str, file: str) -> str:
    """Return the path of a library of ops that a package brings; does not import the package."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / file)


LENGTHS = (12, 12, 7, 1, 0)
"""Of the histories, one for each row of a request."""
UNKNOWN_AT = 3
"""Where the second history has an event on an item that no catalogue knows."""
QUERY_TEXTS = ("", "lamp 3", "", "lamp 7", "lamp 12")
TOP_K = 10
TEXT_OPS = tuple(
    _library("tensorflow_text", f"python/ops/{name}.so")
    for name in ("_fast_wordpiece_tokenizer", "_regex_split_ops", "_normalize_ops")
)
SCANN_OPS = (_library("scann", "scann_ops/cc/_scann_ops.so"),)
Arrays = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    model = tiny.tiny_model(epochs=2, learning_rate=1e-2)
    # As if queries had been trained on: a projection of zeros would read no query text.
    kernel = model.two_tower.query_tower.query_projection.kernel
    kernel.assign(np.random.default_rng(4).normal(size=kernel.shape))
    return model


@pytest.fixture(scope="module")
def ranker() -> keras.Model:
    keras.utils.set_random_seed(3)
    return blank_ranker(RankerSettings())


def published(model: TrainedModel, ranker: keras.Model, folder: Path) -> Path:
    """Publish a bundle of the model, whose `serving_default` returns `TOP_K` items."""
    signals = np.zeros((len(model.interactions.items), len(SIGNALS)), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.export, "TOP_K", TOP_K)
        return export_bundle(
            model,
            folder,
            BundleNote(datetime(2026, 1, 2, tzinfo=UTC)),
            ranking=TrainedRanking(RankingData({}, signals), ranker),
        )


@pytest.fixture(scope="module")
def bundle(
    model: TrainedModel, ranker: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle whose SavedModel searches by ScaNN, as that of many items does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.serving_module, "BRUTE_FORCE_BELOW", 0)
        return published(model, ranker, tmp_path_factory.mktemp("bundles"))


@dataclass(frozen=True)
class Histories:
    """Histories as the towers read them, and the query texts beside them.

    item, event_type, timestamp: [n, L], padded at the end by zeros. last: [n], the place of the
    newest event. text: float32 [n, text_dimension], zeros for none.
    """

    item: np.ndarray
    event_type: np.ndarray
    timestamp: np.ndarray
    last: np.ndarray
    text: np.ndarray


@pytest.fixture(scope="module")
def histories(model: TrainedModel) -> Histories:
    columns = model.interactions
    shape = (len(LENGTHS), max(LENGTHS))
    item, event_type, timestamp = (np.zeros(shape, np.int64) for _ in range(3))
    for user, length in enumerate(LENGTHS):
        rows = np.arange(length) + columns.first_event[user]
        item[user, :length] = columns.item[rows]
        event_type[user, :length] = columns.event_type[rows] + 1
        timestamp[user, :length] = columns.timestamp[rows]
    text = embed_texts(model.text_tower, list(QUERY_TEXTS), 8)
    text[[not asked for asked in QUERY_TEXTS]] = 0
    return Histories(item, event_type, timestamp, np.maximum(np.array(LENGTHS) - 1, 0), text)


@pytest.fixture(scope="module")
def queries(model: TrainedModel, histories: Histories) -> np.ndarray:
    """What the trained towers make of the histories: float32 [n, dimension]."""
    encoded = model.two_tower.query_tower(
        model.candidate_embeddings()[histories.item],
        histories.event_type,
        histories.timestamp,
        histories.last[:, None],
        histories.text[:, None],
    )
    return np.asarray(encoded[:, 0])


@pytest.fixture(scope="module")
def inputs(model: TrainedModel, ranker: keras.Model, histories: Histories) -> Arrays:
    """Arguments of every signature, by `signature/argument`."""
    columns, items = model.interactions, tiny.tiny_items()
    names = np.array([item.item_id for item in columns.items])
    types = np.array(["", *columns.event_types])
    known = histories.timestamp > 0
    with_unknown: dict[str, Any] = {}
    for name, column, unknown in (
        ("item_ids", np.where(known, names[histories.item], ""), "never-seen"),
        ("event_types", types[histories.event_type], "view"),
        ("timestamps", histories.timestamp, histories.timestamp[1, UNKNOWN_AT]),
    ):
        longer = np.pad(column.astype(object), [(0, 0), (0, 1)], constant_values=column[-1, -1])
        longer[1] = np.insert(column[1].astype(object), UNKNOWN_AT, unknown)
        with_unknown[name] = longer.astype(column.dtype if column.dtype.kind == "i" else str)
    query = with_unknown | {"query_text": np.array(QUERY_TEXTS)}
    features = candidate_features(items, columns.end)
    item = {
        name: getattr(features, name).astype(str)
        for name in ("item_id", "category", "brand", "tags")
    } | {"price": features.price, "age_days": features.age_days}
    texts = features.text.astype(str)
    columns_of_features = ranker.input_shape[-1]
    arguments: dict[str, Arrays] = {
        ENCODE_QUERY: query,
        RECOMMEND: query,
        ENCODE_QUERY_FROM_EMBEDDINGS: {
            "event_types": types[histories.event_type],
            "timestamps": histories.timestamp,
            "history_embeddings": model.candidate_embeddings()[histories.item],
            "query_text_embedding": histories.text,
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
    """Return what a fresh process answers, of TensorFlow and the named libraries of ops alone."""
    folder = tmp_path_factory.mktemp("stock")
    np.savez(folder / "inputs.npz", **inputs)

    def answers(path: Path, *libraries: str) -> Arrays:
        script = Path(__file__).parents[1] / "support" / "stock_process.py"
        files = [str(folder / "inputs.npz"), str(folder / "outputs.npz")]
        command = [sys.executable, "-I", str(script), str(path), *files, *libraries]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChildProcessError(done.stderr)
        with np.load(files[1]) as archive:
            return dict(archive)

    return answers


@pytest.fixture(scope="module")
def check(
    model: TrainedModel,
    ranker: keras.Model,
    inputs: Arrays,
    queries: np.ndarray,
    stock: Callable[..., Arrays],
) -> Callable[..., None]:
    """Return what holds a model's every signature, value by value, against what was trained."""

    def check(path: Path, *libraries: str) -> None:
        answers = stock(path, *libraries)
        candidates = model.candidate_embeddings()
        for name in (ENCODE_QUERY, ENCODE_QUERY_FROM_EMBEDDINGS):
            np.testing.assert_allclose(answers[f"{name}/embeddings"], queries, atol=1e-5)
        for name in (ENCODE_CANDIDATE, ENCODE_CANDIDATE_FROM_TEXT):
            np.testing.assert_allclose(answers[f"{name}/embeddings"], candidates, atol=1e-5)
        texts = inputs[f"{ENCODE_CANDIDATE_FROM_TEXT}/text_embedding"]
        np.testing.assert_allclose(answers[f"{ENCODE_TEXT}/embeddings"], texts, atol=1e-5)
        scores = ranker(inputs[f"{RANK}/features"].astype(np.float32), training=False)
        np.testing.assert_allclose(answers[f"{RANK}/scores"], scores, rtol=1e-4, atol=1e-5)
        # What exact search finds among the trained candidates.
        exact = queries @ candidates.T
        best = np.argsort(-exact, axis=1)[:, :TOP_K]
        names = np.array([item.item_id for item in model.interactions.items])
        np.testing.assert_array_equal(answers[f"{RECOMMEND}/item_ids"], names[best])
        found = np.take_along_axis(exact, best, axis=1)
        np.testing.assert_allclose(answers[f"{RECOMMEND}/scores"], found, atol=1e-5)

    return check


def test_query_text_and_every_event_that_is_known_count(
    model: TrainedModel, queries: np.ndarray
) -> None:
    """Otherwise it would tell nothing that the exports read them as the towers do."""
    whole = model.query_embeddings(np.arange(len(LENGTHS)), model.candidate_embeddings())
    same = np.isclose(queries, whole, atol=1e-3).all(axis=1)
    assert same.tolist() == [
        length == max(LENGTHS) and not text
        for length, text in zip(LENGTHS, QUERY_TEXTS, strict=True)
    ]


def test_the_export_with_scann_answers_what_was_trained(
    bundle: Path, check: Callable[..., None], tmp_path: Path
) -> None:
    path = export_model(bundle, tmp_path, "shop")
    assert path == tmp_path / "shop" / str(
        int(datetime(2026, 1, 2, tzinfo=UTC).timestamp()) * 2**16 + int(bundle.name[-4:], 16)
    )
    assert custom_ops_of(path) == ["Scann>ScannSearchBatched", "Scann>TensorsToScann"]
    check(path, *TEXT_OPS, *SCANN_OPS)


def test_the_export_without_custom_ops_needs_none_and_answers_the_same(
    bundle: Path, check: Callable[..., None], tmp_path: Path
) -> None:
    path = export_model(bundle, tmp_path, "shop", custom_ops=False)
    # TensorFlow Text's, which TensorFlow Serving contains, are the only ones besides its own.
    own = set(tf.raw_ops.__dict__) | {"Placeholder", "NoOp"}
    assert ops_of(path) - own == {"FastWordpieceTokenizeWithOffsets", "RegexSplitWithOffsets"}
    # ScaNN's ops are not loaded: the process would end with "Op type not registered".
    check(path, *TEXT_OPS)


def test_the_export_of_few_items_scores_them_all_and_answers_the_same(
    model: TrainedModel, ranker: keras.Model, check: Callable[..., None], tmp_path: Path
) -> None:
    """The usual export, of a catalogue that is not worth an index."""
    assert len(model.interactions.items) <= BRUTE_FORCE_BELOW
    path = export_model(published(model, ranker, tmp_path / "bundles"), tmp_path, "shop")
    assert not custom_ops_of(path)
    check(path, *TEXT_OPS)


def test_where_scann_begins_to_search_it_finds_what_scoring_every_item_finds() -> None:
    """Of vectors that are as much noise as cluster."""
    random = np.random.default_rng(0)
    size, dimension = BRUTE_FORCE_BELOW + 1, 64
    centres = random.normal(size=(200, dimension))
    vectors = centres[random.integers(200, size=size)] + random.normal(size=(size, dimension))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    module = _build_searcher(vectors, 100)
    searcher = scann_ops.searcher_from_module(module)
    asked = vectors[random.integers(size, size=100)]
    rows = np.asarray(searcher.search_batched(asked)[0])
    best = np.argsort(-(asked @ vectors.T), axis=1)[:, :100]
    found = [np.isin(true, each).mean() for true, each in zip(best, rows, strict=True)]
    assert np.mean(found) > 0.999


def test_without_scann_the_other_export_cannot_be_loaded(
    bundle: Path, stock: Callable[..., Arrays]
) -> None:
    with pytest.raises(ChildProcessError, match="Scann>"):
        stock(bundle / MODEL, *TEXT_OPS)


def test_both_exports_have_warm_up_requests_and_name_what_rank_reads(
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
        names = json.loads((path / RANK_FEATURES).read_bytes())
        assert len(names) == model.signatures[RANK].inputs[0].shape[1]
        assert tuple(names) == feature_names(SOURCES)


def test_a_version_is_exported_once_and_whole(bundle: Path, tmp_path: Path) -> None:
    path = export_model(bundle, tmp_path, "shop")
    with pytest.raises(FileExistsError, match=str(path)):
        export_model(bundle, tmp_path, "shop", custom_ops=False)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_damaged_bundle_is_not_exported(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        export_model(bundle.with_name("20260101T000000Z-0000"), tmp_path, "shop")
    assert not list(tmp_path.rglob("saved_model.pb"))


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
    assert [*tmp_path.glob("stock/*")] == [tmp_path / "stock" / model.parent.name]
    assert (tmp_path / "stock" / model.parent.name / "saved_model.pb").exists()


def test_the_graph_holds_once_what_several_signatures_compute(bundle: Path) -> None:
    saved = saved_model_pb2.SavedModel.FromString((bundle / MODEL / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    names = [re.sub(r"_\d+$", "", each.signature.name) for each in functions]
    assert names.count("__inference__texts") == 1
    assert names.count("__inference__histories") == 1
