"""Text embeddings of a catalogue: each text goes through BERT once, ever."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from serving.text_embedding_cache import TextEmbeddingCache
from trainer.settings import TextSettings
from trainer.text_tower import TextTower, embed_texts, text_model_digest


def catalogue_text_embeddings(
    tower: TextTower,
    texts: Sequence[str],
    settings: TextSettings,
    cache: TextEmbeddingCache,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> npt.NDArray[np.float32] | None:
    """Return float32 [len(texts), dimension]; texts that the cache lacks are embedded and added.

    None with LoRA: the tower changes as it trains, and the model reads the texts itself.
    """
    if settings.lora_rank:
        return None
    embed = partial(embed_texts, tower, batch_size=settings.batch_size)
    return cache.embedded(text_model_digest(settings), texts, tower.dimension, embed, progress)
