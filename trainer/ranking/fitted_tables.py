"""The tables of neighbours and the signals of a past's items, fitted once for whoever asks."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.schema import Item
from serving.ranking.bundle_files import RankingData
from trainer.interactions import Interactions
from trainer.ranking.settings import RankerSettings
from trainer.ranking.tables import ease_table, item_signals, text_table, transitions_table

Floats = npt.NDArray[np.float32]
TextEmbeddingsOf = Callable[[Sequence[Item]], Floats | None]
"""From items to the embeddings of their texts, float32 [len(items), n]; None with LoRA."""


def fit_tables(
    past: Interactions,
    text_embeddings: Floats | None,
    settings: RankerSettings,
    weightless: Collection[str] = (),
) -> RankingData:
    """Return tables and signals of the past's items.

    text_embeddings: float32 [num_items, n]; None makes no table of likeness of texts. weightless:
    the types of event that say nothing for an item.
    """
    counted = past.without(weightless)
    tables = {"ease": ease_table(counted, settings)}
    if text_embeddings is not None:
        # Having no text is nothing that two items have in common.
        told = np.array([bool(item.text) for item in past.items])
        tables["text"] = text_table(text_embeddings * told[:, None], settings)
    if settings.transition_distance:
        tables["transitions"] = transitions_table(counted, settings)
    taking = settings.taking_types if counted.is_of(settings.taking_types).any() else ()
    signals = item_signals(counted, taking)
    return RankingData(tables, signals, taking=taking, weightless=tuple(sorted(weightless)))


_OF_THE_RANKER = {
    "enabled",
    "slices",
    "users_per_slice",
    "min_users",
    "loss",
    "negatives",
    "epochs",
    "batch_size",
    "learning_rate",
    "hidden_units",
    "dropout",
    "event_type_weights",
}
"""Settings that no table depends on."""


class FittedTables:
    """Tables and signals of pasts. What is asked again as it was asked last is not fitted again.

    text_embeddings_of: of the items of a past. weightless: as in `fit_tables`.
    """

    def __init__(
        self, text_embeddings_of: TextEmbeddingsOf, weightless: Collection[str] = ()
    ) -> None:
        self._text_embeddings_of = text_embeddings_of
        self._weightless = weightless
        # The past is kept with what was fitted on it, so that no other takes its identity.
        self._fitted: dict[int, tuple[Interactions, str, RankingData]] = {}

    def of(self, past: Interactions, settings: RankerSettings) -> RankingData:
        """Return tables and signals of the past's items."""
        key = settings.model_dump_json(exclude=_OF_THE_RANKER)
        kept = self._fitted.get(id(past))
        if kept is None or kept[1] != key:
            texts = self._text_embeddings_of(past.items)
            data = fit_tables(past, texts, settings, self._weightless)
            kept = self._fitted[id(past)] = past, key, data
        return kept[2]
