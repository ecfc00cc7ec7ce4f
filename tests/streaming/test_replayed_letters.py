"""Putting dead letters back brings nobody back who was erased, and passes over what is none."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.event_log import (
    DEAD_LETTERS,
    EVENTS,
    ITEMS,
    USERS,
    LogRecord,
    LostPositionError,
    Message,
    Positions,
    TopicPartition,
)
from streaming.dead_letters import (
    DeadLetter,
    Replayed,
    dead_letters,
    decode_dead_letter,
    encode_dead_letter,
    replay,
)
from streaming.erased_users import ErasedUsers
from streaming.milestones import REBUILD_BEGUN
from streaming.retention import housekeep
from streaming.sqlite_log import SqliteLog
from streaming.stream_state import StateLost, remember
from streaming.updates import Updates
from tests.support.letter_shop import PEOPLE, REFUSING, Kind, Shop, interleaved
from tests.support.read_through import ReadThrough
from tests.support.stream import user

MENDED = REFUSING.model_copy(update={"event_types": ()})


class Expected:
    """What a shop comes to by the order in which its log took things, no two at one time."""

    def __init__(self) -> None:
        self._now = 0
        self._erased = dict.fromkeys(PEOPLE, -1)
        self._good: dict[int, tuple[str, int]] = {}
        self._unread: dict[int, tuple[str, int]] = {}
        self._letters: dict[int, tuple[str, int]] = {}

    def tick(self) -> int:
        self._now += 1
        return self._now

    def act(self, number: int, person: str, kind: str) -> None:
        taken = self._good if kind == "view" else self._unread
        taken[number] = person, self.tick()

    def erase(self, person: str) -> None:
        self._erased[person] = self.tick()

    def work(self) -> None:
        self._letters |= self._unread
        self._unread = {}

    def replay(self) -> Replayed:
        letters, self._letters = self._letters, {}
        back = {n: person for n, (person, at) in letters.items() if at > self._erased[person]}
        self._unread |= {number: (person, self.tick()) for number, person in back.items()}
        return Replayed(len(back), len(letters) - len(back))

    def histories(self) -> dict[str, set[str]]:
        taken = [*self._good.items(), *self._unread.items()]
        return {
            person: {
                f"e{number}"
                for number, (whose, at) in taken
                if whose == person and at > self._erased[person]
            }
            for person in PEOPLE
        }


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["view", "dance", "dance"]), st.sampled_from(PEOPLE)),
        st.tuples(st.just("erase"), st.sampled_from(PEOPLE)),
        st.tuples(st.sampled_from(["work", "replay", "rebuild"]), st.none()),
    ),
    max_size=14,
)


@pytest.mark.parametrize("kind", [lambda log: log, interleaved])
@settings(max_examples=15, deadline=None)
@given(steps=steps)
@example([("view", "u0"), ("dance", "u0"), ("work", None), ("erase", "u0")])
@example([("dance", "u0"), ("work", None), ("erase", "u0"), ("replay", None)])
@example([("dance", "u0"), ("erase", "u0"), ("view", "u1"), ("work", None), ("rebuild", None)])
def test_only_who_was_not_erased_since_comes_back(
    kind: Kind, steps: list[tuple[str, str | None]]
) -> None:
    """At whatever time what is read, archived, rebuilt and put back."""
    with TemporaryDirectory() as name, closing(Shop(Path(name), kind)) as shop:
        expected = Expected()
        # A state that nothing was ever committed to cannot tell who was erased.
        shop.append(ITEMS, "i", None)
        shop.work(REFUSING)
        for number, (what, person) in enumerate(steps):
            if what == "work":
                shop.work(REFUSING)
                expected.work()
            elif what == "replay":
                assert shop.replay() == expected.replay()
            elif what == "rebuild":
                shop.rebuild()
            elif what == "erase":
                shop.append(USERS, person or "", None)
                expected.erase(person or "")
            else:
                shop.act(number, person or "", what)
                expected.act(number, person or "", what)
        shop.work(REFUSING)
        expected.work()
        assert shop.replay() == expected.replay()
        shop.work(MENDED)
        assert shop.histories() == expected.histories()


def letter(topic: str, key: str | None, value: bytes | None, moment: int = 5) -> DeadLetter:
    return DeadLetter(LogRecord(TopicPartition(topic, 0), 7, key, value, moment), "why not")


@pytest.mark.parametrize(
    ("topic", "key", "value", "user_ids"),
    [
        (EVENTS, "u0", b"\xff", {"u0"}),
        (USERS, "u0", b"[]", {"u0"}),
        (EVENTS, None, b'{"user_id": "u1"}', {"u1"}),
        (EVENTS, "\udcff", b'{"user_id": "u1"}', {"u1"}),
        (EVENTS, "u0", b'{"user_id": "u1"}', {"u0", "u1"}),
        (EVENTS, "\udcff", b'{"user_id": 1}', set()),
        (USERS, None, None, set()),
        (ITEMS, "u0", b'{"user_id": "u1"}', set()),
    ],
)
def test_a_letter_is_of_its_key_and_of_whom_its_value_names(
    topic: str, key: str | None, value: bytes | None, user_ids: set[str]
) -> None:
    assert letter(topic, key, value).user_ids == user_ids


def test_a_letter_from_before_what_is_known_of_erasures_is_left_out(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    places = [(EVENTS, "u0", 9), (EVENTS, "u0", 10), (USERS, "u1", 9), (ITEMS, "i0", 9)]
    for offset, (topic, key, moment) in enumerate(places):
        record = LogRecord(TopicPartition(topic, 0), offset, key, b"{}", moment)
        log.append(DEAD_LETTERS, [encode_dead_letter(DeadLetter(record, "why not"))])
    assert replay(log, lambda _: {}, known_from=10) == Replayed(put_back=2, forgotten=2)
    back = log.consumer(None, [EVENTS, ITEMS]).poll(10, 0.0)
    assert [(each.source.topic, each.key) for each in back] == [(EVENTS, "u0"), (ITEMS, "i0")]
    log.close()


def test_on_a_broker_erasures_are_known_from_as_long_as_marks_are_kept(tmp_path: Path) -> None:
    with closing(Shop(tmp_path, interleaved)) as shop:
        kept = 37 * 86_400.0
        with closing(ErasedUsers(shop.read, shop.state, REFUSING, now=kept + 5.5)) as erased:
            assert erased.known_from == 5_500
        with closing(ErasedUsers(shop.log, shop.state, REFUSING, now=kept + 5.5)) as erased:
            assert erased.known_from == 0


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_a_state_that_is_not_whole_cannot_tell_who_was_erased(
    tmp_path: Path, is_rebuilt: bool
) -> None:
    with closing(Shop(tmp_path, lambda log: log)) as shop:
        if is_rebuilt:
            shop.act(1, "u0", "view")
            shop.work(REFUSING)
            remember(shop.state, REBUILD_BEGUN)
        with closing(ErasedUsers(shop.log, shop.state, REFUSING, now=0.0)) as erased:
            assert erased.moments([]) == {}
            with pytest.raises(StateLost, match="`riverrun rebuild`"):
                erased.moments(["u0"])


class TrimmedOnce(ReadThrough):
    """A log from which, after a reader was told where to begin, all leaves that is read by then."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.log, lambda consumer: consumer)
        self._shop = shop
        self.is_due = True

    def consumer(
        self, group: str | None, topics: Sequence[str], positions: Positions | None = None
    ) -> Any:
        def begin(committed: Mapping[TopicPartition, int | None]) -> Mapping[TopicPartition, int]:
            given = positions(committed) if positions else {}
            if self.is_due:
                self.is_due = False
                self._shop.work(REFUSING)
                self._shop.archive_all()
                assert housekeep(self._shop.log, REFUSING, 0.0, 0.0)
            return given

        return super().consumer(group, topics, begin)


def test_an_erasure_that_is_read_and_leaves_the_log_meanwhile_is_in_the_state(
    tmp_path: Path,
) -> None:
    with closing(Shop(tmp_path, lambda log: log)) as shop:
        shop.append(USERS, "u2", None)
        shop.work(REFUSING)
        for person in PEOPLE:
            shop.append(USERS, person, None)
        log: Any = TrimmedOnce(shop)
        with closing(ErasedUsers(log, shop.state, REFUSING, now=0.0)) as erased:
            assert erased.moments(PEOPLE).keys() == set(PEOPLE)
            assert not log.is_due


def test_a_state_that_lacks_what_has_left_the_log_cannot_tell_who_was_erased(
    tmp_path: Path,
) -> None:
    with closing(Shop(tmp_path, lambda log: log)) as shop:
        for person in PEOPLE:
            shop.append(USERS, person, None)
        shop.work(REFUSING)
        shop.archive_all()
        assert housekeep(shop.log, REFUSING, 0.0, 0.0)
        older = {USERS: shop.state.load(0, (), ()).positions[USERS] - 1}
        shop.state.commit(0, shop.state.load(0, (), ()).version, Updates(), older)
        shop.append(USERS, "u2", None)
        with (
            closing(ErasedUsers(shop.log, shop.state, REFUSING, now=0.0)) as erased,
            pytest.raises(LostPositionError, match="older copy of the state"),
        ):
            erased.moments(["u2"])


def foreign(value: bytes | None, offset: int = 1) -> LogRecord:
    return LogRecord(TopicPartition(DEAD_LETTERS, 0), offset, None, value)


def nobody(_: Collection[str]) -> dict[str, int]:
    return {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
SOUND: dict[str, Any] = json.loads(encode_dead_letter(letter(EVENTS, "u0", b"v")).value or b"")
ALMOST = st.dictionaries(st.sampled_from(list(SOUND)), JSON, max_size=2).map(SOUND.__or__)
VALUES = (
    st.none() | st.binary() | st.one_of(JSON, ALMOST).map(lambda each: json.dumps(each).encode())
)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(VALUES, max_size=8))
@example([b"[" * 100_000])
@example([json.dumps(SOUND | {"key": "\ud800"}).encode()])
@example([json.dumps(SOUND | {"topic": "elsewhere"}).encode()])
@example([json.dumps(SOUND | {"offset": float("inf")}).encode()])
def test_whatever_is_in_the_topic_is_put_back_or_named(values: list[bytes | None]) -> None:
    sound = encode_dead_letter(letter(EVENTS, "last", b"v"))
    with TemporaryDirectory() as name, ExitStack() as stack:
        log = stack.enter_context(closing(SqliteLog(Path(name) / "log.sqlite")))
        # Under the key of a letter that comes after them, which is not taken for a repetition.
        log.append(DEAD_LETTERS, [Message(sound.key, value) for value in values])
        log.append(DEAD_LETTERS, [sound._replace(value=_at(sound.value, 10**6))])
        named: list[str] = []
        named_again: list[str] = []
        replayed = replay(log, nobody, 0, named.append)
        listed = list(dead_letters(log, named_again.append))
        assert named == named_again
        assert replayed.put_back + replayed.cut == len(listed)
        assert listed[-1].record.key == "last"
        assert replay(log, nobody, 0) == Replayed()


def _at(value: bytes | None, offset: int) -> bytes:
    return json.dumps(json.loads(value or b"") | {"offset": offset}).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "Expecting value"),
        (b"{}", "'topic' is missing"),
        (b"\xff", "codec can't decode"),
        (json.dumps(SOUND | {"topic": "x"}).encode(), "`topic` must be one of events, items"),
    ],
)
def test_what_is_no_letter_is_named_with_the_reason(value: bytes | None, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^record events\.dead-letter/0@3 .*{reason}"):
        decode_dead_letter(foreign(value, 3))


def test_a_profile_that_was_refused_does_not_come_back(tmp_path: Path) -> None:
    with closing(Shop(tmp_path, lambda log: log)) as shop:
        shop.append(USERS, "u0", b'{"user_id": "u0", "attributes": []}')
        shop.work(REFUSING)
        shop.append(USERS, "u0", None)
        shop.append(USERS, "u1", user(1).model_dump_json().encode())
        shop.work(REFUSING)
        assert shop.replay() == Replayed(erased=1)
