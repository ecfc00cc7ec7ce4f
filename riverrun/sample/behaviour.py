"""What people do in a sample shop, drawn in chunks of numbers.

A person has three interests, each a subcategory: a lasting one, one that changes every six weeks
and one that changes every two; and a favourite style. A session follows one interest (or the
season), looks at articles of it and of what goes with it, puts some into the cart and buys some.
Within a subcategory and style the popular, the new and the fashionable are looked at most; and
everyone comes back to favourites.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.times import DAY, microseconds
from riverrun.sample.catalogue import NUM_CELLS, SUBCATEGORIES, Catalogue, Floats, Ints
from riverrun.sample.randomness import generator, uniform
from riverrun.sample.settings import SampleSettings
from riverrun.sample.vocabulary import DEPARTMENTS, STYLES

BEHAVIOUR_STREAM = 2
EVENTS_PER_CHUNK = 1_000_000
INTEREST_PERIODS = np.array([4_000.0, 42.0, 14.0]) * DAY
INTEREST_SHARES = np.array([0.45, 0.30, 0.15])  # the rest follows the season
FAVOURITE_SHARE = 0.2
SEARCH_SHARE = 0.1
HOME_SHARE = 0.75
PER_DEPARTMENT = len(SUBCATEGORIES) // len(DEPARTMENTS)
HOURS = np.array(
    [2, 1, 1, 1, 1, 2, 4, 6, 7, 8, 9, 9, 10, 9, 8, 8, 9, 10, 12, 14, 15, 13, 9, 5], dtype=float
)
WEEKDAYS = np.array([1.0, 0.95, 0.95, 1.0, 1.05, 1.25, 1.35])  # from Monday

# What each number of `uniform` is used for.
TASTE, STYLE, PHASE, FAVOURITE, LOYALTY, HOME, SHELF = range(7)


@dataclass(frozen=True, eq=False)
class EventChunk:
    """Columns of n events ordered by time.

    event_type: 0 view, 1 cart, 2 purchase. timestamp: microseconds, whole milliseconds.
    searched: whether the event began with a search.
    """

    user: Ints
    item: Ints
    event_type: npt.NDArray[np.int8]
    timestamp: Ints
    searched: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: npt.NDArray[np.bool_] | Ints | slice) -> "EventChunk":
        """Return the chosen rows."""
        return EventChunk(
            self.user[rows],
            self.item[rows],
            self.event_type[rows],
            self.timestamp[rows],
            self.searched[rows],
        )


EVENT_TYPES = ("view", "cart", "purchase")


def iter_event_chunks(settings: SampleSettings, catalogue: Catalogue) -> Iterator[EventChunk]:
    """Yield exactly `settings.events` events in order of time."""
    start, end = microseconds(settings.start), microseconds(settings.end)
    slices = max(settings.days, -(-settings.events // EVENTS_PER_CHUNK))
    edges = np.linspace(start, end, slices + 1).astype(np.int64)
    volume = _volume(edges[:-1] + np.diff(edges) // 2, start, end)
    if slices == settings.days:
        volume = volume * WEEKDAYS[_weekday(edges[:-1])]
    counts = np.diff(np.rint(np.cumsum(volume) / volume.sum() * settings.events), prepend=0)
    held: EventChunk | None = None
    for number, count in enumerate(counts.astype(np.int64).tolist()):
        chunk = _chunk(
            settings, catalogue, number, int(edges[number]), int(edges[number + 1]), count
        )
        if held is not None:
            chunk = _concatenate(held, chunk)
        chunk = chunk.take(np.argsort(chunk.timestamp, kind="stable"))
        cut = len(chunk)
        if number + 1 < slices:
            # Events of sessions that run into the next slice are kept, to be sorted among its own.
            cut = int(np.searchsorted(chunk.timestamp, edges[number + 1]))
        held = chunk.take(slice(cut, None))
        if cut:
            yield chunk.take(slice(0, cut))


def _chunk(
    settings: SampleSettings, catalogue: Catalogue, number: int, start: int, end: int, count: int
) -> EventChunk:
    rng = generator(settings.seed, BEHAVIOUR_STREAM, number)
    shelf = _Shelf(catalogue, start)
    parts: list[EventChunk] = []
    missing = count
    while missing > 0:
        part = _sessions(settings, shelf, rng, start, end, num_sessions=missing // 5 + 1)
        parts.append(part.take(slice(0, missing)))
        missing -= len(parts[-1])
    chunk = _concatenate(*parts) if parts else _empty()
    # Sessions may run beyond the end of the window: such events move to its last moment.
    limit = microseconds(settings.end) - 1_000
    chunk.timestamp[:] = np.minimum(chunk.timestamp, limit)
    return chunk


class _Shelf:
    """The articles on sale at one moment, ready for weighted sampling within a cell."""

    def __init__(self, catalogue: Catalogue, moment: int) -> None:
        age = (moment - catalogue.published_at) / DAY
        since_peak = (moment - catalogue.trend_peak) / DAY
        weight = catalogue.popularity * (
            1.0
            + 2.5 * np.exp(-np.maximum(age, 0.0) / 10.0)
            + catalogue.trend_height * np.exp(-((since_peak / 6.0) ** 2))
        )
        weight[age < 0] = 0.0
        self.catalogue = catalogue
        self.on_sale = age >= 0
        self.moment = moment
        bounds = np.searchsorted(catalogue.cell, np.arange(NUM_CELLS + 1))
        self.cumulative = np.concatenate([[0.0], np.cumsum(weight)])
        self.low, self.high = self.cumulative[bounds[:-1]], self.cumulative[bounds[1:]]
        fixed = np.concatenate([[0.0], np.cumsum(catalogue.popularity)])
        self.fixed = fixed
        self.fixed_low, self.fixed_high = fixed[bounds[:-1]], fixed[bounds[1:]]
        self.season = _season(moment)

    def sample(self, cell: Ints, quantile: Floats) -> Ints:
        """Return an article of each cell; where a cell is empty, one of the whole shelf."""
        low, high = self.low[cell], self.high[cell]
        empty = high <= low
        low, high = np.where(empty, 0.0, low), np.where(empty, self.cumulative[-1], high)
        return self._find(self.cumulative, low + quantile * (high - low))

    def favourites(self, cell: Ints, quantile: Floats) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Return the article that a quantile always means in a cell, and whether it is on sale."""
        low, high = self.fixed_low[cell], self.fixed_high[cell]
        item = self._find(self.fixed, low + quantile * (high - low))
        return item, (high > low) & self.on_sale[item]

    def _find(self, cumulative: Floats, value: Floats) -> Ints:
        found = np.searchsorted(cumulative, value, side="right") - 1
        return np.clip(found, 0, len(self.catalogue) - 1).astype(np.int64)


def _sessions(
    settings: SampleSettings,
    shelf: _Shelf,
    rng: np.random.Generator,
    start: int,
    end: int,
    num_sessions: int,
) -> EventChunk:
    user = _active_users(settings, rng, start, num_sessions)
    begin = _times(rng, start, end, num_sessions)
    subcategory = _intent(settings, shelf, rng, user, start)
    views = 1 + np.minimum(rng.geometric(0.28, num_sessions), 24)
    session = np.repeat(np.arange(num_sessions), views)
    first = np.cumsum(views) - views
    position = np.arange(len(session)) - first[session]
    # Most looks stay within the interest; some go to a neighbouring subcategory.
    beside = (rng.random(len(session)) < 0.15) & (position > 0)
    looked = subcategory[session]
    next_to = looked // PER_DEPARTMENT * PER_DEPARTMENT + (looked + 1) % PER_DEPARTMENT
    looked = np.where(beside, next_to, looked)
    item, taste = _looks(settings, shelf, rng, user[session], looked)
    gap = rng.exponential(40.0, len(session)) + 3.0
    elapsed = np.cumsum(gap)
    elapsed -= np.repeat(elapsed[first] - gap[first], views)
    view_time = begin[session] + (elapsed * 1_000).astype(np.int64) * 1_000
    # Articles in the user's style are put into the cart more often, expensive ones less often.
    dear = 1.0 / (1.0 + shelf.catalogue.price[item] / 400.0)
    carted = rng.random(len(session)) < np.where(taste, 0.24, 0.08) * dear
    bought = carted & (rng.random(len(session)) < 0.45)
    session_end = (begin + (np.add.reduceat(gap, first) * 1_000).astype(np.int64) * 1_000)[session]
    searched = (rng.random(num_sessions) < SEARCH_SHARE)[session] & (position == 0)
    cart_time = view_time + rng.integers(1_000, 30_000, len(session)) * 1_000
    buy_time = session_end + 60_000_000 + rng.integers(0, 120_000) * 1_000
    who = user[session]
    no = np.zeros(len(session), dtype=bool)
    merged = _concatenate(
        EventChunk(who, item, np.zeros(len(session), np.int8), view_time, searched),
        EventChunk(who, item, np.ones(len(session), np.int8), cart_time, no).take(carted),
        EventChunk(who, item, np.full(len(session), 2, np.int8), buy_time, no).take(bought),
    )
    order = np.concatenate([session, session[carted], session[bought]])
    return merged.take(np.argsort(order, kind="stable"))


def _looks(
    settings: SampleSettings, shelf: _Shelf, rng: np.random.Generator, user: Ints, subcategory: Ints
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return the articles looked at, and which of them are in the user's style."""
    n = len(user)
    favourite_style = (uniform(settings.seed, STYLE, user) * len(STYLES)).astype(np.int64)
    other = rng.integers(0, len(STYLES), n)
    style = np.where(rng.random(n) < 0.6, favourite_style, other)
    cell = subcategory * len(STYLES) + style
    item = shelf.sample(cell, rng.random(n))
    known, on_sale = shelf.favourites(
        cell, uniform(settings.seed, FAVOURITE, user, cell, rng.integers(0, 3, n))
    )
    again = (rng.random(n) < FAVOURITE_SHARE) & on_sale
    return np.where(again, known, item), style == favourite_style


def _intent(
    settings: SampleSettings, shelf: _Shelf, rng: np.random.Generator, user: Ints, moment: int
) -> Ints:
    """Return the subcategory of each session: one of the user's interests, or the season's."""
    slot = np.searchsorted(np.cumsum(INTEREST_SHARES), rng.random(len(user)), side="right")
    own = np.minimum(slot, len(INTEREST_PERIODS) - 1).astype(np.int64)
    phase = uniform(settings.seed, PHASE, user, own)
    epoch = np.floor(moment / INTEREST_PERIODS[own] + phase).astype(np.int64)
    # Some subcategories are more popular than others, whatever the season.
    friends = np.cumsum(1.0 / np.sqrt(1.0 + _shuffled(settings, len(SUBCATEGORIES))))
    quantile = uniform(settings.seed, TASTE, user, own, epoch)
    taste = np.searchsorted(friends, quantile * friends[-1], side="right")
    # Most new interests lie in one of the two departments where a person is at home.
    home = uniform(settings.seed, HOME, user, (own + epoch) % 2)
    shelf_of_home = (uniform(settings.seed, SHELF, user, own, epoch) * PER_DEPARTMENT).astype(int)
    at_home = np.searchsorted(friends, home * friends[-1], side="right")
    at_home = at_home // PER_DEPARTMENT * PER_DEPARTMENT + shelf_of_home
    loyal = uniform(settings.seed, LOYALTY, user, own, epoch) < HOME_SHARE
    taste = np.where(loyal, at_home, taste)
    seasonal = np.cumsum(shelf.season)
    season = np.searchsorted(seasonal, rng.random(len(user)) * seasonal[-1], side="right")
    chosen = np.where(slot < len(INTEREST_PERIODS), taste, season)
    intent: Ints = np.minimum(chosen, len(SUBCATEGORIES) - 1).astype(np.int64)
    return intent


def _active_users(settings: SampleSettings, rng: np.random.Generator, moment: int, n: int) -> Ints:
    """Return n users. A few come daily, most come rarely, and the number of customers grows."""
    passed = (moment - microseconds(settings.start)) / (settings.days * DAY)
    present = max(1, int(settings.users * (0.7 + 0.3 * passed)))
    rank = (rng.random(n) ** 2.0 * present).astype(np.int64)
    # Spread ranks over the ids, so that an id says nothing about how active a user is.
    factor = next(f for f in (7_919, 104_729, 1_299_709, 1) if np.gcd(f, settings.users) == 1)
    users: Ints = (rank * factor + settings.seed) % settings.users
    return users


def _times(rng: np.random.Generator, start: int, end: int, n: int) -> Ints:
    """Return moments of [start, end) that follow the hours of the day."""
    bins = np.linspace(start, end, 97)
    hours = ((bins[:-1] / (DAY / 24)) % 24).astype(np.int64)
    cumulative = np.concatenate([[0.0], np.cumsum(HOURS[hours])])
    moments = np.interp(rng.random(n) * cumulative[-1], cumulative, bins)
    times: Ints = np.minimum(moments.astype(np.int64) // 1_000 * 1_000, end - 1_000)
    return times


def _season(moment: int) -> Floats:
    """Return a weight for each subcategory at this time of the year."""
    month = (moment / DAY % 365.25) / 365.25 * 12 + 0.5
    peaks = np.array([subcategory.peak for _, subcategory in SUBCATEGORIES])
    wave = np.exp(1.8 * np.cos((month - peaks) / 12 * 2 * np.pi))
    return np.where(peaks == 0, 1.0, wave)


def _volume(moment: Ints, start: int, end: int) -> Floats:
    """Return how busy the shop is: it grows by half over the window."""
    return 1.0 + 0.5 * (moment - start) / (end - start)


def _weekday(moment: Ints) -> Ints:
    # 1970-01-01 was a Thursday.
    weekday: Ints = (moment // DAY + 3) % 7
    return weekday


def _shuffled(settings: SampleSettings, n: int) -> Ints:
    return generator(settings.seed, BEHAVIOUR_STREAM).permutation(n)


def _empty() -> EventChunk:
    none = np.zeros(0, dtype=np.int64)
    return EventChunk(none, none, none.astype(np.int8), none.copy(), none.astype(bool))


def _concatenate(*chunks: EventChunk) -> EventChunk:
    return EventChunk(
        np.concatenate([chunk.user for chunk in chunks]),
        np.concatenate([chunk.item for chunk in chunks]),
        np.concatenate([chunk.event_type for chunk in chunks]),
        np.concatenate([chunk.timestamp for chunk in chunks]),
        np.concatenate([chunk.searched for chunk in chunks]),
    )
