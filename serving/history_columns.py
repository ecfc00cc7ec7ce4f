"""The events of many histories as columns, and from there as padded batches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from feature_repo.history import UserHistory

Embeddings = npt.NDArray[np.float32]
Lookup = Callable[[Iterable[str]], tuple[Embeddings, npt.NDArray[np.bool_]]]


@dataclass(frozen=True, slots=True, eq=False)
class HistoryColumns:
    """The events of several histories on items that have an embedding, one after the other.

    owner, place: int64 [num_events], which history an event is of and its number there, oldest
    first. embeddings: float32 [num_events, dimension]. event_types: int64 [num_events], places
    in `type_names`, whose first is the empty name. timestamps: int64 [num_events], microseconds.
    lengths: int64 [num_histories].
    """

    owner: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    embeddings: Embeddings
    event_types: npt.NDArray[np.int64]
    type_names: tuple[str, ...]
    timestamps: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, histories: Sequence[UserHistory], lookup: Lookup, max_length: int
    ) -> "HistoryColumns":
        """Look the items up, and keep the newest `max_length` found events of each history."""
        events = chain.from_iterable(history.events for history in histories)
        columns = tuple(zip(*events, strict=True)) or ((), (), (), (), ())
        timestamps, _, item_ids, types, _ = columns
        embeddings, found = lookup(item_ids)
        owner = np.repeat(np.arange(len(histories)), [len(history.events) for history in histories])
        kept = np.flatnonzero(found)
        kept = kept[_places_from_the_end(owner[kept], len(histories)) < max_length]
        owner = owner[kept]
        lengths = np.bincount(owner, minlength=len(histories))
        type_names = ("", *set(types))
        numbers = {name: number for number, name in enumerate(type_names)}
        return cls(
            owner,
            np.arange(len(owner)) - (np.cumsum(lengths) - lengths)[owner],
            embeddings if len(kept) == len(found) else embeddings[kept],
            np.array([numbers[name] for name in types], dtype=np.int64)[kept],
            type_names,
            np.array(timestamps, dtype=np.int64)[kept],
            lengths,
        )

    def padded(self, column: npt.NDArray[np.generic], length: int) -> npt.NDArray[np.generic]:
        """Return the column as [num_histories, length, ...], zeros at the ends."""
        shape = (len(self.lengths), length, *column.shape[1:])
        padded = np.zeros(shape, dtype=column.dtype)
        padded[self.owner, self.place] = column
        return padded


def _places_from_the_end(owner: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return for each entry how many of the same owner follow it; owners ascend."""
    ends = np.cumsum(np.bincount(owner, minlength=count))
    places: npt.NDArray[np.int64] = ends[owner] - 1 - np.arange(len(owner))
    return places
