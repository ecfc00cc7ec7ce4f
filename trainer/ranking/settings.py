"""What can be set about what a bundle ranks by."""

from typing import Annotated, Literal

from pydantic import Field

from feature_repo.event_weights import EVENT_WEIGHTS, Weight
from feature_repo.settings_model import SettingsModel

Days = Annotated[float, Field(gt=0)]
Events = Annotated[float, Field(ge=0)]


class RankerSettings(SettingsModel):
    """The item-to-item tables and the ranker.

    enabled: whether any of it is made.
    ease_items: EASE is fitted on at most so many of the most acted-on items: its time grows with
        their cube, its memory with their square.
    ease_regularisation, ease_days: its regularisation; a user's event on an item counts less by e
        for every so many days before the newest of all.
    ease_history_days: the same of the events of whoever asks, before their own newest.
    ease_history_events: such an event counts less by e also for every so many that its user added
        since; 0 counts none.
    transition_distance: what follows an item within so many of a user's events counts 1 / distance;
        0 makes no such table. transition_cosine_weight: of the cosine of their users beside it.
    neighbours, text_neighbours: so many are kept of each item.
    transition_history_days, transition_history_events, text_history_days, text_history_events: as
        those of EASE, for these tables.
    slices: the ranker learns from so many slices of the time, each as long as the newest one,
        which is held out, or from so many last events of each user; 0 trains none. From before
        the newest, the two-tower, which is trained once, has nothing to say.
    users_per_slice: at most so many users are asked about in each.
    min_users: with fewer of whom the newest slice tells anything no ranker is trained.
    loss: "pointwise" asks of each candidate how probably it is acted on, "listwise" which of a
        request's candidates is, by a softmax over them.
    negatives: of the candidates that were not acted on, at most so many a request are learned
        from, drawn once; 0 takes all, or as many as memory is meant for: two million a slice.
    epochs, batch_size, learning_rate, hidden_units, dropout: of the ranker's network; a batch is
        of candidates. Of few candidates it learns for more epochs.
    taking_types: the types of event that take an item, as against looking at it. Where the events
        have any of them, after how long people come back to an item is counted between these alone;
        where there are none, as on a site of articles, between events of all types.
    event_type_weights: what the ranker shall find, by what a purchase or a view is worth; other
        types are worth 1. Each type is an objective of its own, all others are one together, and
        what weighs 0 is none; `serving.ranking.event_type_weights` weighs them anew.
    """

    enabled: bool = True
    ease_items: Annotated[int, Field(ge=0, le=50_000)] = 12_500
    ease_regularisation: Annotated[float, Field(gt=0)] = 100.0
    ease_days: Days = 60.0
    ease_history_days: Days = 90.0
    ease_history_events: Events = 0.0
    transition_distance: Annotated[int, Field(ge=0, le=100)] = 0
    transition_cosine_weight: Annotated[float, Field(ge=0)] = 0.3
    transition_history_days: Days = 60.0
    transition_history_events: Events = 0.0
    neighbours: Annotated[int, Field(ge=1, le=10_000)] = 200
    text_neighbours: Annotated[int, Field(ge=1, le=10_000)] = 50
    text_history_days: Days = 60.0
    text_history_events: Events = 0.0
    slices: Annotated[int, Field(ge=0, le=24)] = 3
    users_per_slice: Annotated[int, Field(ge=1)] = 4_000
    min_users: Annotated[int, Field(ge=1)] = 100
    loss: Literal["pointwise", "listwise"] = "pointwise"
    negatives: Annotated[int, Field(ge=0)] = 0
    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 4_096
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    hidden_units: tuple[Annotated[int, Field(ge=1, le=4_096)], ...] = (64, 32)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    taking_types: tuple[str, ...] = ("purchase",)
    event_type_weights: dict[str, Weight] = EVENT_WEIGHTS
