"""What the variety of a list is measured by: features of items, and categories they are in."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.cluster.vq import kmeans2

from feature_repo.schema import Item
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.settings import TrainingSettings
from trainer.text_embeddings import catalogue_text_embeddings
from trainer.text_tower import load_text_tower


def item_features(
    items: Sequence[Item],
    training: TrainingSettings,
    text_embeddings: Path,
    stage: Callable[[str], None],
) -> tuple[npt.NDArray[np.float32] | None, str]:
    """Return float32 [num_items, n] to measure diversity by, and its name: texts, else tags.

    None where there is nothing to measure it by. text_embeddings: the file of their cache. stage:
    is told before texts are embedded, which takes a while.
    """
    frozen = not training.text.lora_rank
    texts = [item.text for item in items]
    if frozen and any(texts):
        stage("embedding texts")
        tower = load_text_tower(training.text)
        with closing(TextEmbeddingCache(text_embeddings)) as cache:
            return catalogue_text_embeddings(tower, texts, training.text, cache), "text embeddings"
    if any(item.tags for item in items):
        return tag_features(items), "tags"
    if frozen:
        return None, "nothing: the items have neither text nor tags"
    return None, "nothing: the items have no tags, and each training reads texts in its own way"


def tag_features(items: Sequence[Item]) -> npt.NDArray[np.float32]:
    """Return float32 [num_items, num_tags], 1 where the item has the tag."""
    return np.asarray(_labelled([item.tags for item in items]).toarray())


def item_labels(
    items: Sequence[Item], features: npt.NDArray[np.float32] | None, seed: int
) -> tuple[sparse.csr_array, str]:
    """Return [num_items, num_labels], 1 where the item has the label, and what the labels are.

    Labels are categories, each level of a path; else tags; else, where items have nothing but a
    text, groups of similar items by k-means over features [num_items, n]. The number of groups is
    the square root of the number of items.
    """
    if any(item.categories for item in items):
        return _labelled([item.categories for item in items]), "categories"
    if any(item.tags for item in items) or features is None:
        return _labelled([item.tags for item in items]), "tags"
    count = max(round(len(items) ** 0.5), 1)
    _, groups = kmeans2(features.astype(np.float64), count, minit="++", seed=seed)
    return _labelled([(f"{group:06}",) for group in groups.tolist()]), "groups of like texts"


def _labelled(labels: Sequence[Sequence[str]]) -> sparse.csr_array:
    """Return float32 [len(labels), number of distinct ones]."""
    names = sorted({name for own in labels for name in own})
    column = {name: number for number, name in enumerate(names)}
    columns = [column[name] for own in labels for name in set(own)]
    rows = np.repeat(np.arange(len(labels)), [len(set(own)) for own in labels])
    ones = np.ones(len(columns), np.float32)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(labels), len(column)))
