"""What a model is trained on, and the training of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.history_examples import joined_windows
from trainer.interactions import Interactions
from trainer.learning import learn
from trainer.lesson import Lesson
from trainer.settings import TrainingSettings
from trainer.start import FROM_NOTHING, Start
from trainer.strategy import open_strategy
from trainer.text_embeddings import catalogue_text_embeddings
from trainer.text_tower import TextTower, load_text_tower
from trainer.train import NO_HOOKS, TrainingHooks
from trainer.trained_model import TrainedModel
from trainer.training_input_error import TrainingInputError


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Events and items, and all that a training of them needs.

    interactions: of all `events` and `items`. settings: of a training that begins with `start`.
    text_tower: as it is before a training. text_embeddings: float32 [len(items), n]; None with
    LoRA, where each training makes its own. features: makes the point-in-time join.
    """

    events: pl.DataFrame
    items: Sequence[Item]
    interactions: Interactions
    settings: TrainingSettings
    text_tower: TextTower
    text_embeddings: npt.NDArray[np.float32] | None
    features: OfflineFeatures
    start: Start = FROM_NOTHING

    @classmethod
    def of(
        cls,
        interactions: Interactions,
        events: pl.DataFrame,
        settings: TrainingSettings,
        features: OfflineFeatures,
        text_cache: TextEmbeddingCache,
        on_texts: Callable[[int, int], None] = lambda done, total: None,
    ) -> "Material":
        """Return the material of `interactions`; texts that the cache lacks are embedded.

        events: what `interactions` were made of, or their `frame()`. on_texts: called with how many
        texts are embedded, and how many there are.

        Raises:
            TrainingInputError: the settings' strategy or text model is not available.
        """
        open_strategy(settings)
        items, tower = interactions.items, load_text_tower(settings.text)
        texts = [item.text for item in items]
        embeddings = catalogue_text_embeddings(tower, texts, settings.text, text_cache, on_texts)
        return cls(events, items, interactions, settings, tower, embeddings, features)

    def beginning(self, start: Start) -> "Material":
        """Return the same material, for trainings that begin with `start`."""
        return replace(self, settings=start.settings(self.settings), start=start)

    def trained(
        self,
        interactions: Interactions,
        hooks: TrainingHooks = NO_HOOKS,
        *,
        stop_after: int | None = None,
    ) -> TrainedModel:
        """Return a model trained on `interactions`: all of the material's, or a past of them.

        stop_after: as of a `Lesson`.

        Raises:
            TrainingInputError: there is nothing to learn from.
        """
        since = self.start.since(self.settings, interactions.end)
        windows = joined_windows(interactions, self.settings, self.features, since)
        if since is not None and len(windows) == 0:
            raise TrainingInputError(
                f"nobody who was known acted since {since:%Y-%m-%d %H:%M} UTC."
            )
        lesson = Lesson(
            interactions,
            windows,
            self.settings,
            self.text_embeddings_of(interactions.items),
            self.start.warm,
            stop_after,
        )
        lesson.hand_out()
        return learn(lesson, self.text_tower, hooks)

    def with_items(self, items: Sequence[Item], text_cache: TextEmbeddingCache) -> "Material":
        """Return the same events over another catalogue; texts that the cache lacks are embedded.

        Raises:
            TrainingInputError: there are no items.
        """
        if list(items) == list(self.items):
            return self
        _check_catalogue(items)
        texts = [item.text for item in items]
        return replace(
            self,
            items=items,
            interactions=Interactions.from_frame(self.events, items),
            text_embeddings=catalogue_text_embeddings(
                self.text_tower, texts, self.settings.text, text_cache
            ),
        )

    def text_embeddings_of(self, chosen: Sequence[Item]) -> npt.NDArray[np.float32] | None:
        """Return `text_embeddings` of some of the items, float32 [len(chosen), n]."""
        if self.text_embeddings is None:
            return None
        rows = {item.item_id: row for row, item in enumerate(self.items)}
        return self.text_embeddings[[rows[item.item_id] for item in chosen]]


def read_material(
    events: pl.DataFrame,
    items: Sequence[Item],
    settings: TrainingSettings,
    features: OfflineFeatures,
    text_cache: TextEmbeddingCache,
    on_texts: Callable[[int, int], None] = lambda done, total: None,
) -> Material:
    """Return the material of a shop; texts that the cache lacks are embedded.

    The log says how many events are on items that are not in `items`: they teach nothing.

    on_texts: as of `Material.of`.

    Raises:
        TrainingInputError: there are no items, or no events on them; the message says which. Or
            the settings' strategy or text model is not available.
    """
    _check_catalogue(items)
    if events.is_empty():
        raise TrainingInputError(
            "there are no events. To import events: riverrun import events FILE"
        )
    interactions = Interactions.from_frame(events, items)
    left_out = _on_no_item(events["item_id"], items)
    if len(interactions.item) == 0:
        raise TrainingInputError(f"{left_out} Import both by the same ids: riverrun import --help")
    if left_out:
        structlog.get_logger(__name__).warning("events_left_out", reason=left_out)
    return Material.of(interactions, events, settings, features, text_cache, on_texts)


def _check_catalogue(items: Sequence[Item]) -> None:
    if not items:
        raise TrainingInputError(
            "the catalogue is empty. To import items: riverrun import items FILE"
        )


def _on_no_item(acted_on: pl.Series, items: Sequence[Item]) -> str:
    """Say how many events are on unknown items, with an example of both ids; "" if none are."""
    known = pl.Series("item_id", [item.item_id for item in items], pl.String)
    unknown = acted_on.filter(~acted_on.is_in(known.implode()))
    if unknown.is_empty():
        return ""
    example: str = unknown.mode().sort()[0]
    # Files often differ in an id's ends: zeros before a number, ".0" or a variant after it.
    is_alike = pl.col("item_id").str.ends_with(example)
    is_alike |= pl.lit(example).str.starts_with(pl.col("item_id"))
    alike = known.to_frame().filter(is_alike)["item_id"].to_list()
    beside = max(alike, key=len, default=known[0])
    return (
        f"{len(unknown):,} of {len(acted_on):,} events are on no item of the catalogue, "
        f"e.g. {example!r}; the catalogue has e.g. {beside!r}."
    )
