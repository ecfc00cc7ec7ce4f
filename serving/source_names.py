"""The names of everything that proposes candidates, and of what else gives an item its place."""

from typing import Literal, get_args

Source = Literal[
    "two_tower",
    "ease",
    "transitions",
    "text",
    "buy_again",
    "category",
    "co_visitation",
    "trending",
    "new_arrivals",
]
SOURCES: tuple[Source, ...] = get_args(Source)
"""Everything that proposes candidates for a user something is known of."""

REMAINDER: Source = "two_tower"
"""The source that a mixture leaves the share to that the others do not take."""

AskedSource = Literal[Source, "popular", "catalogue"]
ASKED_SOURCES: tuple[AskedSource, ...] = get_args(AskedSource)
"""Everything that a request may ask alone: `SOURCES`, and what else fills a list up."""

SIMILAR = "similar"
"""What proposes the items like one item."""

PINNED = "pinned"
PROMOTED = "promoted"
EXPLORED = "exploration"
"""What gives an item its place in re-ranking, whoever proposed it."""
