"""The training step's candidates: what is sampled stands for the whole catalogue."""

import trainer  # noqa: F401  (sets what TensorFlow reads when it is first imported)

# isort: split
import numpy as np
import pytest

from trainer.candidate_tower import CandidateVocabulary
from trainer.import_keras import keras
from trainer.settings import TrainingSettings
from trainer.text_tower import CachedTexts
from trainer.two_tower_model import TwoTowerModel, two_tower_model

NUM_ITEMS, NUM_WINDOWS, TEXT_DIMENSION = 60, 400, 4
SLOTS_PER_WINDOW = 16
POPULARITY = (np.arange(NUM_ITEMS) + 1.0) ** -1 / np.sum((np.arange(NUM_ITEMS) + 1.0) ** -1)


def model(num_sampled_negatives: int) -> TwoTowerModel:
    """Return a model of one catalogue whose scores differ by item, popular ones' being higher."""
    keras.utils.set_random_seed(0)
    indices = np.arange(1, NUM_ITEMS + 1, dtype=np.int32)
    none = np.zeros(NUM_ITEMS, np.int32)
    made = two_tower_model(
        TrainingSettings(
            dimension=8,
            id_dropout=0.0,
            event_dropout=0.0,
            hidden_dropout=0.0,
            num_sampled_negatives=num_sampled_negatives,
        ),
        CandidateVocabulary([str(index) for index in indices], (), (), (), ()),
        TEXT_DIMENSION,
        num_event_types=1,
        catalogue={
            "id": indices,
            "category": none,
            "brand": none,
            "tags": none[:, None],
            "price": np.full(NUM_ITEMS, np.nan, np.float32),
            "published_at": none.astype(np.int64),
        },
        texts=CachedTexts(np.zeros((NUM_ITEMS, TEXT_DIMENSION), np.float32)),
        popularity=POPULARITY.astype(np.float32),
    )
    random = np.random.default_rng(0)
    ids = random.normal(scale=0.5, size=(NUM_ITEMS + 1, 8))
    ids[1:, -1] = np.log(POPULARITY)
    made.candidate_tower.id_embeddings.assign(ids)
    return made


def batch() -> dict[str, np.ndarray]:
    """Return a step of one-event histories whose one label each is beside much padding."""
    random = np.random.default_rng(1)
    shape = (NUM_WINDOWS, 1, SLOTS_PER_WINDOW)
    labels, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    labels[:, 0, 0] = random.choice(NUM_ITEMS, NUM_WINDOWS, p=POPULARITY)
    weights[:, 0, 0] = 1.0
    return {
        "items": random.integers(1, NUM_ITEMS + 1, (NUM_WINDOWS, 1)).astype(np.int32),
        "event_types": np.ones((NUM_WINDOWS, 1), np.int32),
        "timestamps": np.full((NUM_WINDOWS, 1), 10**15, np.int64),
        "positions": np.zeros((NUM_WINDOWS, 1), np.int32),
        "labels": labels,
        "weights": weights,
        "searched": np.zeros((NUM_WINDOWS, 1), np.int32),
        "reference_time": np.full(NUM_WINDOWS, 10**15, np.int64),
    }


@pytest.mark.parametrize("num_sampled_negatives", [0, 20, NUM_ITEMS - 1])
def test_a_sampled_step_estimates_the_softmax_over_all_items(num_sampled_negatives: int) -> None:
    step = batch()
    every_item = model(NUM_ITEMS)
    sampled = model(num_sampled_negatives)
    full = float(every_item.compute_loss(y_pred=every_item(step)))
    draws = [float(sampled.compute_loss(y_pred=sampled(step))) for _ in range(10)]
    assert np.mean(draws) == pytest.approx(full, rel=0.02)


def test_padding_is_not_expected_among_the_candidates() -> None:
    step, sampled = batch(), model(20)
    made = sampled(step)
    rows = np.asarray(made["candidate_ids"])
    expected = NUM_WINDOWS * POPULARITY[rows] + 20 / NUM_ITEMS
    np.testing.assert_allclose(made["expected_count"], expected, rtol=1e-5)
