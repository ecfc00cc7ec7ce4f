"""Training learns, resumes, and comes to the same loss however it is run."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import tensorflow as tf

from feature_repo.schema import Item
from tests.support import tiny_training as tiny
from tests.support.workers import started
from trainer import trained_model
from trainer.import_keras import keras
from trainer.interactions import Interactions
from trainer.lesson import Lesson
from trainer.settings import TextSettings, TrainingSettings
from trainer.text_tower import text_tower_digest
from trainer.train import Progress, TrainingHooks, train
from trainer.trained_model import TrainedModel
from trainer.training_input_error import TrainingInputError
from trainer.windows import make_windows

pytestmark = pytest.mark.slow


def train_tiny(
    settings: TrainingSettings,
    checkpoints: Path | None = None,
    columns: Interactions | None = None,
    texts: npt.NDArray[np.float32] | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> TrainedModel:
    columns = tiny.tiny_interactions() if columns is None else columns
    texts = tiny.tiny_text_embeddings() if texts is None else texts
    lesson = Lesson(columns, make_windows(columns, settings), settings, texts)
    tower = tiny.tiny_text_tower(settings.text.lora_rank)
    return train(lesson, tower, TrainingHooks(checkpoints, on_step))


@pytest.fixture(scope="module")
def baseline() -> TrainedModel:
    return train_tiny(tiny.tiny_settings())


@pytest.fixture(scope="module")
def sampled() -> TrainedModel:
    """Of negatives that are a sample: fewer are drawn than there are items."""
    return train_tiny(tiny.tiny_settings(num_sampled_negatives=8))


def test_the_loss_starts_at_chance_and_falls(baseline: TrainedModel) -> None:
    assert baseline.losses[0] == pytest.approx(np.log(tiny.NUM_ITEMS), rel=0.05)
    assert list(baseline.losses) == sorted(baseline.losses, reverse=True)


def test_a_loss_that_diverges_is_the_settings_fault() -> None:
    with pytest.raises(TrainingInputError, match=r"nan: lower `training\.learning_rate`"):
        train_tiny(tiny.tiny_settings(learning_rate=1e30, transformer_layers=0))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_so_are_weights_that_only_the_last_update_made_infinite() -> None:
    settings = tiny.tiny_settings(
        learning_rate=1e39, epochs=1, batch_size=4096, transformer_layers=0
    )
    with pytest.raises(TrainingInputError, match=r"weights after epoch 1 .*`training\.learning"):
        train_tiny(settings, columns=tiny.tiny_interactions(4, 3))


def test_the_next_item_is_learned() -> None:
    model = train_tiny(tiny.tiny_settings(epochs=40, learning_rate=1e-2))
    candidates = model.candidate_embeddings()
    users = np.arange(len(model.interactions.user_ids))
    ranked = np.argsort(-model.query_embeddings(users, candidates) @ candidates.T, axis=1)
    last = model.interactions.item[model.interactions.first_event[1:] - 1]
    hits = ranked[:, 0] == (last + 1) % tiny.NUM_ITEMS
    assert hits.mean() > 0.9


def test_what_is_never_to_be_recommended_is_not() -> None:
    """Everybody views items 0 to 3 again and again; of weight 0 they are no answer to anything."""
    columns = tiny.tiny_interactions()
    random = np.random.default_rng(0)
    is_view = np.arange(len(columns.item)) % 2 == 0
    bought = random.integers(4, tiny.NUM_ITEMS, size=len(columns.item))
    columns = replace(
        columns,
        event_types=["purchase", "view"],
        event_type=is_view.astype(np.int32),
        item=np.where(is_view, random.integers(4, size=len(bought)), bought).astype(np.int32),
    )
    settings = tiny.tiny_settings(event_type_weights={"view": 0.0}, epochs=10)
    model = train_tiny(settings, columns=columns)
    candidates = model.candidate_embeddings()
    queries = model.query_embeddings(np.arange(len(columns.user_ids)), candidates)
    ranked = np.argsort(-queries @ candidates.T, axis=1)
    assert (ranked[:, : tiny.NUM_ITEMS - 4] >= 4).mean() > 0.99


def test_a_query_does_not_depend_on_whose_histories_are_read_beside(
    baseline: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of histories of 1 to 12 events, of which 10 are read, and of nobody's."""
    known = baseline.interactions.frame().with_columns(
        place=pl.int_range(pl.len()).over("user_id"),
        length=pl.col("user_id").str.slice(1).cast(pl.Int64) % 12,
    )
    known = known.filter(pl.col("place") <= pl.col("length"))
    columns = Interactions.from_frame(known, tiny.tiny_items()).with_users(["a stranger"])
    columns = replace(columns, event_types=baseline.interactions.event_types)
    settings = baseline.settings.model_copy(update={"history_length": 10})
    model = replace(baseline, interactions=columns, settings=settings)
    candidates, users = model.candidate_embeddings(), np.arange(len(columns.user_ids))
    alone = [model.query_embeddings(users[user : user + 1], candidates) for user in users]
    monkeypatch.setattr(trained_model, "QUERY_BATCH", 7)
    shuffled = np.random.default_rng(0).permutation(users)
    together = model.query_embeddings(shuffled, candidates)
    np.testing.assert_allclose(together, np.concatenate(alone)[shuffled], atol=1e-5)
    # No wider than it needs to be, and no older than it may.
    assert model._histories(np.array([columns.user_ids.index("u002")]))[0].shape == (1, 3)
    items, _, _, last = model._histories(np.array([columns.user_ids.index("u011")]))
    (newest,) = columns.first_event[[columns.user_ids.index("u011") + 1]]
    np.testing.assert_array_equal(items, columns.item[None, newest - 10 : newest])
    assert last.tolist() == [9]
    assert model.query_embeddings(users[:0], candidates).shape == (0, candidates.shape[1])


def test_one_seed_gives_one_model(baseline: TrainedModel) -> None:
    again = train_tiny(tiny.tiny_settings())
    np.testing.assert_allclose(again.losses, baseline.losses, rtol=1e-5)


def test_two_replicas_reach_the_loss_of_one(
    baseline: TrainedModel, sampled: TrainedModel, tmp_path: Path
) -> None:
    losses = tmp_path / "losses.json"
    numbers = [str(each.settings.num_sampled_negatives) for each in (baseline, sampled)]
    command = [sys.executable, "-m", "tests.support.tiny_training", "mirrored", str(losses)]
    subprocess.run(
        [*command, *numbers], check=True, capture_output=True, cwd=Path(__file__).parents[2]
    )
    of_every_item, of_samples = json.loads(losses.read_text())
    # The mean over two halves of each batch.
    np.testing.assert_allclose(of_every_item, baseline.losses, rtol=0.02)
    # A replica has half of the labels among its candidates, and draws negatives of its own: its
    # loss is another estimate of the same softmax, and only near that of one.
    np.testing.assert_allclose(of_samples, sampled.losses, rtol=0.02)


def test_two_workers_reach_the_loss_of_one(baseline: TrainedModel, tmp_path: Path) -> None:
    losses = tmp_path / "losses.json"
    number = str(baseline.settings.num_sampled_negatives)
    command = ["tests.support.tiny_training", "multi_worker_mirrored", str(losses), number]
    with started(command, workers=2) as workers:
        for worker in workers:
            worker.ended(0)
    np.testing.assert_allclose(json.loads(losses.read_text()), [baseline.losses], rtol=0.02)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_reaches_the_same_loss(baseline: TrainedModel, precision: str) -> None:
    model = train_tiny(tiny.tiny_settings(precision=precision))
    np.testing.assert_allclose(model.losses, baseline.losses, rtol=0.01)
    assert model.candidate_embeddings().dtype == np.float32
    assert keras.config.dtype_policy().name == "float32"


def test_no_shape_of_a_batch_is_compiled_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Keras compiles by XLA where TensorFlow lists any device beside CPUs.
    gpu = SimpleNamespace(device_type="GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *kind: [gpu])
    model = train_tiny(tiny.tiny_settings(epochs=1, transformer_layers=0))
    assert model.two_tower.jit_compile is False


def test_the_seconds_of_each_epoch_are_told(baseline: TrainedModel) -> None:
    assert len(baseline.seconds) == len(baseline.losses)
    assert min(baseline.seconds) > 0


def test_an_interrupted_training_ends_as_one_without(
    baseline: TrainedModel, tmp_path: Path
) -> None:
    class InterruptError(Exception):
        pass

    def interrupt(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (3, 2):
            raise InterruptError

    with pytest.raises(InterruptError):
        train_tiny(tiny.tiny_settings(), checkpoints=tmp_path, on_step=interrupt)
    resumed = train_tiny(tiny.tiny_settings(), checkpoints=tmp_path)
    assert len(resumed.losses) == 1
    np.testing.assert_allclose(resumed.losses[-1], baseline.losses[-1], rtol=1e-4)
    np.testing.assert_allclose(
        resumed.candidate_embeddings(), baseline.candidate_embeddings(), atol=1e-4
    )


def test_lora_trains_the_text_tower_and_its_digest_tells() -> None:
    text = TextSettings(lora_rank=2, max_tokens=16)
    settings = tiny.tiny_settings(text=text, epochs=1, transformer_layers=0)
    untrained = tiny.tiny_text_tower(lora_rank=2)
    model = train_tiny(settings)
    pairs = list(
        zip(untrained.trainable_variables, model.text_tower.trainable_variables, strict=True)
    )
    assert pairs
    assert all(
        not np.array_equal(before.numpy(), after.numpy())
        for before, after in pairs
        if "lora" in after.path
    )
    digests = {text_tower_digest(tower, settings.text) for tower in (untrained, model.text_tower)}
    assert len(digests) == 2


def test_frozen_bert_stays_as_it_was(baseline: TrainedModel) -> None:
    assert not baseline.text_tower.trainable_variables
    before = tiny.tiny_text_tower().get_weights()
    for was, weight in zip(before, baseline.text_tower.get_weights(), strict=True):
        np.testing.assert_array_equal(was, weight)


def test_nothing_to_learn_is_refused() -> None:
    alone = tiny.tiny_interactions(users=3, events=1)
    with pytest.raises(ValueError, match="two different moments"):
        train_tiny(tiny.tiny_settings(), columns=alone)
    weightless = tiny.tiny_settings(event_type_weights={"view": 0.0})
    with pytest.raises(ValueError, match=r"`training.event_type_weights` gives 0.*'view': 0.0"):
        train_tiny(weightless)


def test_sampled_negatives_learn_as_well(baseline: TrainedModel, sampled: TrainedModel) -> None:
    assert list(sampled.losses) == sorted(sampled.losses, reverse=True)
    # They estimate the loss over every item, for which nothing is sampled.
    np.testing.assert_allclose(sampled.losses, baseline.losses, rtol=0.02)


def test_a_search_query_finds_what_its_text_is_of() -> None:
    model = train_tiny(tiny.tiny_settings(query_share=0.9, epochs=30, learning_rate=1e-2))
    texts = tf.constant(tiny.tiny_text_embeddings())
    nothing = tf.zeros([tiny.NUM_ITEMS, 1], tf.int32)
    candidates = model.candidate_embeddings()
    queries = model.two_tower.query_tower(
        tf.zeros([tiny.NUM_ITEMS, 1, candidates.shape[1]]),
        nothing,
        tf.cast(nothing, tf.int64),
        nothing,
        texts[:, None, :],
    )
    scores = queries.numpy()[:, 0] @ candidates.T
    better = np.sum(scores > np.diag(scores)[:, None], axis=1)
    assert np.mean(better < 3) >= 0.75  # by chance: 0.15


def test_an_item_without_events_is_embedded(baseline: TrainedModel) -> None:
    items = [*tiny.tiny_items(), Item(item_id="new", title="lamp 3")]
    frame_of = tiny.tiny_interactions()
    columns = Interactions(
        frame_of.user_ids,
        items,
        frame_of.event_types,
        frame_of.user,
        frame_of.item,
        frame_of.event_type,
        frame_of.timestamp,
        frame_of.first_event,
    )
    texts = np.concatenate([tiny.tiny_text_embeddings(), tiny.tiny_text_embeddings()[3:4]])
    settings = tiny.tiny_settings(epochs=1, transformer_layers=0)
    model = train_tiny(settings, columns=columns, texts=texts)
    candidates = model.candidate_embeddings()
    assert candidates.shape == (len(items), tiny.tiny_settings().dimension)
    assert np.isfinite(candidates).all()
