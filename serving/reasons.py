"""Why an item is in a list, in words."""

from collections.abc import Sequence

import numpy as np

from feature_repo.history import HistoryEvent
from serving.catalogue import Catalogue
from serving.item_rows import Rows
from serving.live_model import LiveModel

VERBS = {
    "view": "you viewed {}",
    "click": "you clicked {}",
    "cart": "you put {} in your cart",
    "purchase": "you bought {}",
    "rating": "you rated {}",
}

TRENDING = "trending now"
NEW_ARRIVAL = "new here"
CATALOGUE = "from the catalogue"
PICKED = "picked by the shop"
KNOWN = "you know this"


def personal_reasons(
    rows: Rows, events: Sequence[HistoryEvent], model: LiveModel, catalogue: Catalogue
) -> list[str | None]:
    """Return for each row the history's item that is nearest to it by cosine.

    None where no item of the history has an embedding. The newest event on an item speaks; of
    an item that is itself in the history it says what was done with it.
    """
    newest = {event.item_id: event for event in events}
    history, found = model.embeddings_of(newest)
    if not found.any() or not len(rows):
        return [None] * len(rows)
    known = [event for event, is_found in zip(newest.values(), found, strict=True) if is_found]
    candidates, _ = model.table.embeddings_of_rows(rows)
    nearest = np.argmax(
        model.space.tastes(candidates) @ model.space.tastes(history[found]).T, axis=1
    ).tolist()
    titles = dict(
        zip(set(nearest), catalogue.titles(known[n].item_id for n in set(nearest)), strict=True)
    )
    done = dict(zip(catalogue.rows.rows_of(list(newest)).tolist(), newest.values(), strict=True))
    return [
        _again(done[row]) if row in done else f"because {_did(known[number], titles[number])}"
        for row, number in zip(rows.tolist(), nearest, strict=True)
    ]


def _did(event: HistoryEvent, title: str) -> str:
    # The title may hold braces: it is an argument, never the pattern.
    return VERBS.get(event.event_type, "of {}").format(title)


def _again(event: HistoryEvent) -> str:
    return _did(event, "this") if event.event_type in VERBS else KNOWN
