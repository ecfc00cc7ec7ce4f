"""Why an item is in a list, in words that a shop can show."""

VERBS = {
    "view": "you viewed {}",
    "click": "you clicked {}",
    "cart": "you put {} in your cart",
    "purchase": "you bought {}",
    "rating": "you rated {}",
}

OFTEN = {
    "view": "you often look at this",
    "click": "you often look at this",
    "purchase": "you often buy this again",
}

GENERAL = {
    "trending": "trending now",
    "popular": "popular now",
    "new_arrivals": "new here",
    "catalogue": "from the catalogue",
}
"""By source, where nothing of the history speaks for the item."""

POPULAR_IN = "popular in {} now"
PICKED = "picked by the shop"
KNOWN = "you know this"


def did(event_type: str, title: str) -> str:
    """Say what was done with another item."""
    # The title may hold braces: it is an argument, never the pattern.
    return VERBS.get(event_type, "of {}").format(title)


def again(event_type: str, *, often: bool) -> str:
    """Say what was done with the item itself."""
    if often and event_type in OFTEN:
        return OFTEN[event_type]
    return did(event_type, "this") if event_type in VERBS else KNOWN
