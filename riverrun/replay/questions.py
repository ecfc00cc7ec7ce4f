"""A period of events as questions in the order of time: which items each user acts on.

Progressive validation (Gama, Sebastião, Rodrigues: "On evaluating stream learning algorithms",
Machine Learning 90, 2013): predict, then learn.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from feature_repo.schema import Event, Item
from feature_repo.times import microseconds

_QUESTION = ("timestamp", "user_id")


@dataclass(frozen=True, slots=True)
class Question:
    """One user's basket or single event at one moment. answers: its items, each once."""

    user_id: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything that happened from one time until the next question is asked.

    Its questions are asked before its events and items are learned. until: when the newest of its
    events happened. items: those that arrive: with the first event on them, or at their time of
    publication if that is earlier.
    """

    at: datetime
    until: datetime
    questions: tuple[Question, ...]
    items: tuple[Item, ...]
    events: tuple[Event, ...]

    def followed_by(self, later: "Moment") -> "Moment":
        """Return both as one moment; `later` has no questions."""
        return Moment(
            self.at,
            later.until,
            self.questions,
            self.items + later.items,
            self.events + later.events,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Period:
    """A known past, and the events after it.

    past: events with the columns of `feature_repo.schema.Event`; known_items: items with events in
    the past; new_items: all others, which arrive in the period. asked: the questions that are
    asked, by columns timestamp and user_id; None means all of them. weightless: the types of event
    that are no answers, and are learned as any other.
    """

    past: pl.DataFrame
    future: pl.DataFrame
    known_items: Sequence[Item]
    new_items: Sequence[Item]
    asked: pl.DataFrame | None = None
    weightless: Collection[str] = ()

    @property
    def start(self) -> datetime:
        """The moment of the first event that is replayed."""
        start: datetime = self.future.row(0, named=True)["timestamp"]
        return start

    @property
    def known_until(self) -> datetime:
        """The moment of the newest event of the past.

        It may be after the start: where users' last events are asked for, pasts end at many times.
        """
        newest: datetime = self.past.select(pl.col("timestamp").max()).item()
        return newest

    @property
    def begins(self) -> datetime:
        """The earliest time of a shop that knows the past: no event of the past is after it."""
        return max(self.start, self.known_until)

    @property
    def num_events(self) -> int:
        """How many events are replayed."""
        return self.future.height

    @property
    def questions(self) -> pl.DataFrame:
        """All questions there are: columns timestamp and user_id, and `len`, the events of each."""
        answers = self.future.filter(~pl.col("event_type").is_in(list(self.weightless)))
        return answers.group_by("timestamp", "user_id", maintain_order=True).len()

    def sampled(self, count: int, seed: int = 0) -> "Period":
        """Return the period with `count` of its questions, drawn at random; all where it has fewer.

        Events whose question is not asked are learned all the same.
        """
        questions = self.questions
        if count >= questions.height:
            return replace(self, asked=None)
        return replace(self, asked=questions.sample(count, seed=seed))


def split_period(
    events: pl.DataFrame, items: Sequence[Item], start: datetime, end: datetime | None = None
) -> Period:
    """Return the period from `start` until before `end`, and the past before it."""
    past = events.filter(pl.col("timestamp") < start)
    future = events.filter(pl.col("timestamp") >= start)
    if end is not None:
        future = future.filter(pl.col("timestamp") < end)
    return period_of(past, future, items)


def last_events_period(events: pl.DataFrame, items: Sequence[Item], last: int = 2) -> Period:
    """Return the last `last` events of each user as the period, and all earlier as the past."""
    ordered = events.sort("user_id", "timestamp", "event_id")
    from_end = pl.int_range(pl.len(), 0, -1, dtype=pl.Int64).over("user_id")
    ordered = ordered.with_columns(_from_end=from_end)
    past = ordered.filter(pl.col("_from_end") > last).drop("_from_end")
    future = ordered.filter(pl.col("_from_end") <= last).drop("_from_end")
    return period_of(past, future, items)


def period_of(past: pl.DataFrame, future: pl.DataFrame, items: Sequence[Item]) -> Period:
    """Return the period, with the items split into those of the past and new ones."""
    acted_on = set(past["item_id"].unique())
    known = [item for item in items if item.item_id in acted_on]
    return Period(
        past,
        future.sort("timestamp", "user_id", "event_id"),
        known,
        [item for item in items if item.item_id not in acted_on],
    )


def moments(period: Period) -> Iterator[Moment]:
    """Yield the period's moments, oldest first; one without questions becomes part of another.

    What is learned does not depend on how many events are learned at a time (ADR 0008), and fewer
    steps take less time.
    """
    merged: Moment | None = None
    for moment in _every_moment(period):
        if merged is not None and not moment.questions:
            merged = merged.followed_by(moment)
            continue
        if merged is not None:
            yield merged
        merged = moment
    if merged is not None:
        yield merged


def _every_moment(period: Period) -> Iterator[Moment]:
    waiting = {item.item_id: item for item in period.new_items}
    by_publication = sorted(
        (microseconds(item.published_at), item.item_id)
        for item in period.new_items
        if item.published_at is not None
    )
    asked = None if period.asked is None else set(period.asked.select(_QUESTION).iter_rows())
    place = 0
    for (at,), rows in period.future.group_by("timestamp", maintain_order=True):
        events = [_event(row) for row in rows.iter_rows(named=True)]
        assert isinstance(at, datetime)
        arrived = []
        while place < len(by_publication) and by_publication[place][0] <= microseconds(at):
            arrived.append(by_publication[place][1])
            place += 1
        arrived += [event.item_id for event in events]
        items = tuple(waiting.pop(item_id) for item_id in arrived if item_id in waiting)
        answers: dict[str, dict[str, None]] = {}
        for event in events:
            if event.event_type not in period.weightless:
                answers.setdefault(event.user_id, {})[event.item_id] = None
        questions = tuple(
            Question(user, tuple(items))
            for user, items in answers.items()
            if asked is None or (at, user) in asked
        )
        yield Moment(at, at, questions, items, tuple(events))


def _event(row: dict[str, object]) -> Event:
    names = ("event_id", "user_id", "item_id", "event_type", "timestamp", "value")
    return Event.model_validate({name: row[name] for name in names})
