"""A shop small enough to train on in a second: whoever views item k views item k + 1 next.

Run as a script it trains under a strategy, once for each of some numbers of sampled negatives, and
writes the losses of each training as JSON: as one of the workers in `TF_CONFIG`, or on two virtual
CPU devices, which TensorFlow only makes before its first operation.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trainer  # noqa: F401  (sets what TensorFlow reads when it is first imported)

# isort: split
import numpy as np
import numpy.typing as npt
import polars as pl
import tensorflow as tf

from feature_repo.schema import Item
from trainer.cluster import trains_together
from trainer.import_keras import keras, keras_hub
from trainer.interactions import Interactions
from trainer.lesson import Lesson
from trainer.settings import TextSettings, TrainingSettings
from trainer.strategy import join_cluster
from trainer.text_tower import TextTower, embed_texts
from trainer.train import train
from trainer.trained_model import TrainedModel
from trainer.windows import make_windows

NUM_ITEMS = 20
# Not that of all-MiniLM-L6-v2: any BERT will do.
TEXT_DIMENSION = 48
START = datetime(2026, 1, 1, tzinfo=UTC)
TRAINING = """\
[training]
dimension = 16
hidden_units = 16
transformer_layers = 0
history_length = 12
horizon_days = 0.0
batch_size = 16
num_sampled_negatives = 100
text = {{ model = "{preset}", max_tokens = 16 }}
"""
"""Settings of a model that trains in seconds, by a preset; more of `[training]` may follow."""
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lamp", *map(str, range(NUM_ITEMS)))


def tiny_settings(**changes: Any) -> TrainingSettings:
    """No dropout, every item a negative: the order of the items is learned in a few epochs."""
    settings: dict[str, Any] = {
        "dimension": 16,
        "hidden_units": 16,
        "history_length": 12,
        "horizon_days": 0.0,
        "labels_per_position": 1,
        "id_dropout": 0.0,
        "event_dropout": 0.0,
        "hidden_dropout": 0.0,
        "epochs": 3,
        "batch_size": 16,
        "num_sampled_negatives": 100,
        "text": TextSettings(max_tokens=16),
    }
    return TrainingSettings(**{**settings, **changes})


def tiny_items() -> list[Item]:
    return [
        Item(
            item_id=f"i{number}",
            title=f"lamp {number}",
            categories=("even",) if number % 2 == 0 else ("odd",),
            price=number + 1.0,
        )
        for number in range(NUM_ITEMS)
    ]


def tiny_interactions(users: int = 40, events: int = 12) -> Interactions:
    starts = np.random.default_rng(0).integers(NUM_ITEMS, size=users)
    rows = [
        {
            "event_id": f"e{user}-{step}",
            "user_id": f"u{user:03}",
            "item_id": f"i{(starts[user] + step) % NUM_ITEMS}",
            "event_type": "view",
            "timestamp": START + timedelta(hours=step),
        }
        for user in range(users)
        for step in range(events)
    ]
    frame = pl.DataFrame(rows, schema_overrides={"timestamp": pl.Datetime("us", "UTC")})
    return Interactions.from_frame(frame, tiny_items())


def tiny_text_embeddings() -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(1).normal(size=(NUM_ITEMS, TEXT_DIMENSION))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / norms, dtype=np.float32)


def tiny_preset(folder: Path) -> Path:
    """Write the tiny BERT as a preset that `load_text_tower` reads; return its folder."""
    tower = tiny_text_tower()
    with warnings.catch_warnings():
        # Keras converts its variables in a way that NumPy has deprecated.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        tower.backbone.save_to_preset(str(folder))
    tower.tokenizer.save_to_preset(str(folder))
    return folder


def tiny_text_tower(lora_rank: int = 0) -> TextTower:
    """One layer of BERT with random weights."""
    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(WORDS),
        num_layers=1,
        num_heads=2,
        hidden_dim=TEXT_DIMENSION,
        intermediate_dim=32,
        max_sequence_length=16,
    )
    if lora_rank:
        backbone.enable_lora(lora_rank)
    else:
        backbone.trainable = False
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_text("\n".join(WORDS))
        tokenizer = keras_hub.models.BertTokenizer(str(vocabulary))
    return TextTower(backbone, tokenizer, 16, name="text_tower")


def tiny_model(**changes: Any) -> TrainedModel:
    """Return a model of `tiny_interactions`; changes: of `tiny_settings`."""
    tower, settings = tiny_text_tower(), tiny_settings(**changes)
    texts = embed_texts(tower, [item.text for item in tiny_items()], 8)
    columns = tiny_interactions()
    return train(Lesson(columns, make_windows(columns, settings), settings, texts), tower)


def main(strategy: str, losses: Path, negatives: Sequence[int]) -> None:
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    if trains_together(tiny_settings(strategy=strategy)):
        join_cluster()
    columns = tiny_interactions()
    reached = []
    for number in negatives:
        settings = tiny_settings(strategy=strategy, num_sampled_negatives=number)
        windows = make_windows(columns, settings)
        lesson = Lesson(columns, windows, settings, tiny_text_embeddings())
        reached.append(train(lesson, tiny_text_tower()).losses)
    losses.write_text(json.dumps(reached))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [int(number) for number in sys.argv[3:]])
