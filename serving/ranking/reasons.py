"""Why an item is in a list, in words that a shop can show."""

from feature_repo.markup import without_markup

VERBS = {
    "view": "you viewed {}",
    "click": "you clicked {}",
    "cart": "you put {} in your cart",
    "purchase": "you bought {}",
    "rating": "you rated {}",
    "read": "you read {}",
    "watch": "you watched {}",
    "like": "you liked {}",
    "share": "you shared {}",
}
"""By event type; of another, an item is named without what was done with it."""

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
"""The words for each source, used where no item of the history explains the place."""

POPULAR_IN = "popular in {} now"
PICKED = "picked by the shop"
KNOWN = "you know this"


FEATURES = {
    "two_tower": "how well it fits all that you did",
    "ease": "what people do who did what you did",
    "transitions": "what people turn to after what you did",
    "text": "how alike it reads to what you looked at",
    "buy_again": "how often and how lately you came to it",
    "category": "how popular it is in your categories, at your prices",
    "co_visitation": "what goes together with what you did last",
    "trending": "how much is done with it now",
    "new_arrivals": "how new it is here",
    "worth_hour": "how much was done with it within the hour",
    "worth_day": "how much was done with it within a day",
    "worth_week": "how much was done with it within a week",
    "popularity_3_days": "how many people came to it within three days",
    "popularity_7_days": "how many people came to it within a week",
    "popularity_14_days": "how many people came to it within two weeks",
    "popularity_30_days": "how many people came to it within a month",
    "popularity_60_days": "how many people came to it within two months",
    "popularity_365_days": "how many people came to it within a year",
    "trend": "whether more people come to it than usual",
    "repeat_share": "how many people come back to it",
    "repeat_days": "after how long people come back to it",
    "age": "how long it has been here",
    "has_age": "whether it is known since when it is here",
    "price": "its price",
    "day_fit": "whether this is its time of day",
    "week_fit": "whether this is its time of the week",
    "day_sin": "the time of day",
    "day_cos": "the time of day",
    "week_sin": "the time of the week",
    "week_cos": "the time of the week",
    "num_events": "how much you do here",
    "num_items": "how many things you came to here",
    "items_per_moment": "how many things you come to at a time",
    "repeats": "how many things you come back to",
    "acted": "whether you came to it before",
    "times": "how often you came to it",
    "days_since": "how long ago you came to it",
    "days_between": "after how long you come back to it",
    "due": "whether it is due again",
    "category_share": "how much of what you did was in its category",
    "brand_share": "how much of what you did was of its brand",
    "price_difference": "how far its price is from what you pay",
}
"""What the ranker's features are about, by their name or by the name of their source."""


def about(feature: str) -> str:
    """Say what a feature of the ranker is about, for or against an item."""
    return FEATURES[feature.partition(".")[0]]


def did(event_type: str, title: str) -> str:
    """Say what was done with another item, by its title as a page shows it."""
    # The title may hold braces: it is an argument, never the pattern.
    return VERBS.get(event_type, "of {}").format(without_markup(title))


def again(event_type: str, *, often: bool) -> str:
    """Say what was done with the item itself."""
    if often and event_type in OFTEN:
        return OFTEN[event_type]
    return did(event_type, "this") if event_type in VERBS else KNOWN
