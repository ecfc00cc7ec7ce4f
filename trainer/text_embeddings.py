"""Text embeddings of a catalogue: each text goes through BERT once, ever."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.text_embedding_cache import TextEmbeddingCache
from trainer.settings import TextSettings
from trainer.text_tower import Progress, TextTower, embed_texts, text_model_digest


def catalogue_text_embeddings(
    tower: TextTower,
    texts: Sequence[str],
    settings: TextSettings,
    cache: TextEmbeddingCache,
    progress: Progress = lambda done, total: None,
) -> npt.NDArray[np.float32] | None:
    """Return float32 [len(texts), dimension]; what the cache lacks is embedded and kept in it.

    None with LoRA: the tower changes as it trains, and the model reads the texts itself.
    """
    if settings.lora_rank:
        return None
    embeddings = np.zeros((len(texts), tower.dimension), np.float32)
    digest = text_model_digest(settings)
    missing: dict[str, list[int]] = {}
    for row, cached in enumerate(cache.get(digest, texts)):
        if cached is None:
            missing.setdefault(texts[row], []).append(row)
        else:
            embeddings[row] = cached
    new_texts = list(missing)
    # In slices, so that an interrupt loses little.
    for start in range(0, len(new_texts), settings.batch_size * 16):
        part = new_texts[start : start + settings.batch_size * 16]
        new = embed_texts(tower, part, settings.batch_size)
        cache.put(digest, part, new)
        for text, embedding in zip(part, new, strict=True):
            embeddings[missing[text]] = embedding
        progress(start + len(part), len(new_texts))
    return embeddings
