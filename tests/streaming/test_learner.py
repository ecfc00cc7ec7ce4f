"""What a batch teaches of items is what its events teach, however they fall into batches."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.schema import Event
from streaming import fold_in
from streaming.decode import Change, ItemRemoved
from streaming.fold_in import FoldIn
from streaming.learner import Learner
from streaming.metrics import StreamMetrics
from streaming.processor import Appended, process
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.stream_state import Slice
from streaming.updates import Updates
from tests.support.stream import SPACE, FakeModel, HashEncoder, event, item

MAX_HISTORY = 50
BOTH = StreamingSettings(
    co_visitation=CoVisitationSettings(),
    fold_in=FoldInSettings(event_type_weights={"purchase": 3.0}),
)
KINDS = ("histories", "moments", "statistics", "co_visitation", "fold_in")

# (user, item, minute, type): few of each, so that baskets and returns are common.
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 3), st.integers(0, 4), st.sampled_from(["view", "buy"])
    ),
    max_size=12,
).map(
    lambda rows: [
        event(number, f"u{user}", f"i{of}", minutes, {"buy": "purchase"}.get(kind, kind))
        for number, (user, of, minutes, kind) in enumerate(rows)
    ]
)


class OfAnotherBundle(HashEncoder):
    bundle_version = "v2"


class Failing(HashEncoder):
    def encode_queries(self, *_: Any) -> np.ndarray:
        raise RuntimeError("no encoder today")


class Diverging(HashEncoder):
    def encode_queries(self, histories: Sequence[UserHistory], *_: Any) -> np.ndarray:
        embeddings = super().encode_queries(histories)
        embeddings[[history.user_id == "lost" for history in histories], 0] = np.nan
        return embeddings


class Stream:
    """What a partition has learned, batch after batch; of its state a batch sees what it asks."""

    def __init__(self, settings: StreamingSettings = BOTH, model: FakeModel | None = None) -> None:
        self.kept = Slice(0, {})
        self.model = FakeModel(space=SPACE) if model is None else model
        self.metrics = StreamMetrics(CollectorRegistry())
        self._learner = Learner(self, self.model, settings, self.metrics)  # type: ignore[arg-type]

    def load(self, partition: int, users: Iterable[str], items: Iterable[str]) -> Slice:
        asked = {*users, *items}
        return replace(
            self.kept,
            **{
                kind: {
                    key: value for key, value in getattr(self.kept, kind).items() if key in asked
                }
                for kind in KINDS
            },
        )

    def take(self, changes: Sequence[Change]) -> Updates:
        """Fold a batch, keep what it has taught, and return that."""
        appended = [Appended(change, 0) for change in changes]
        folded = process(appended, self.kept, MAX_HISTORY)
        learned = self._learner.learn(0, folded)
        for updates in (folded.updates, learned):
            for kind in KINDS:
                getattr(self.kept, kind).update(getattr(updates, kind))
        return learned

    def sums(self) -> dict[str, Any]:
        return {
            item_id: (each.bundle_version, each.timestamp, each.weight, each.vector.tolist())
            for item_id, each in self.kept.fold_in.items()
        }


def taught(events: Sequence[Event]) -> dict[str, FoldIn]:
    """The definition: each event adds its user's taste of before it, where there is one."""
    sums: dict[str, FoldIn] = {}
    for number, each in enumerate(events):
        own = HistoryEvent.of(each)
        earlier = tuple(
            sorted(
                before
                for before in map(
                    HistoryEvent.of, (e for e in events[:number] if e.user_id == each.user_id)
                )
                if before.timestamp < own.timestamp
            )
        )
        if not earlier:
            continue
        history = UserHistory(each.user_id, earlier)
        (taste,) = SPACE.tastes(HashEncoder().encode_queries([history]))
        weight = 3.0 if each.event_type == "purchase" else 1.0
        known = sums.get(each.item_id) or fold_in.nothing(each.item_id, "v1", SPACE.num_tastes)
        sums[each.item_id] = fold_in.add(known, taste, weight, own.timestamp)
    return sums


@given(EVENTS, st.lists(st.integers(0, 12), max_size=4))
def test_batches_teach_what_their_events_teach(events: list[Event], cuts: list[int]) -> None:
    stream, at_once = Stream(), Stream()
    edges = [0, *sorted(cuts), len(events)]
    for start, end in pairwise(edges):
        stream.take(events[start:end])
    at_once.take(events)
    assert stream.sums() == at_once.sums()
    assert stream.kept.co_visitation == at_once.kept.co_visitation
    expected = taught(events)
    assert stream.kept.fold_in.keys() == expected.keys()
    for item_id, each in expected.items():
        own = stream.kept.fold_in[item_id]
        assert (own.timestamp, own.weight) == (each.timestamp, pytest.approx(each.weight))
        np.testing.assert_allclose(own.vector, each.vector)


def test_what_an_event_teaches_is_of_its_bundle_alone() -> None:
    stream = Stream()
    stream.take([event(1, item="i1"), event(2, minutes=1)])
    before = stream.sums()
    assert set(before) == {"i"}
    # While a bundle is being swapped, and while there is none, nothing moves.
    for encoder, space in ((None, SPACE), (HashEncoder(), None), (OfAnotherBundle(), SPACE)):
        stream.model.encoder, stream.model.space = encoder, space
        learned = stream.take([event(3, "other"), event(4, "other", "i2", minutes=1)])
        assert not learned.fold_in
        stream.kept.histories.clear()
    assert stream.sums() == before
    # Those of another bundle begin again.
    stream.model.encoder, stream.model.space = (
        OfAnotherBundle(),
        replace(SPACE, bundle_version="v2"),
    )
    stream.take([event(5, "third"), event(6, "third", minutes=1)])
    assert stream.sums()["i"][0] == "v2"
    assert stream.sums()["i"][2] == pytest.approx(before["i"][2])


def test_a_failing_encoder_moves_nothing_and_stops_nothing() -> None:
    stream = Stream(model=FakeModel(Failing(), SPACE))
    learned = stream.take([event(1, item="i1"), event(2, minutes=1)])
    assert learned.co_visitation.keys() == {"i", "i1"}
    assert not learned.fold_in
    assert stream.metrics.failed_encodings._value.get() == 1


def test_a_taste_that_is_no_number_moves_nothing_and_the_others_do() -> None:
    """A sum that it was added to would be no number for ever."""
    lost, sound = (event(n, user, minutes=m) for n, user, m in ((3, "lost", 1), (4, "u", 1)))
    stream = Stream(model=FakeModel(Diverging(), SPACE))
    learned = stream.take([event(1, "lost"), event(2), lost, sound])
    at_once = Stream().take([event(2), sound])
    assert learned.fold_in["i"].weight == at_once.fold_in["i"].weight
    np.testing.assert_array_equal(learned.fold_in["i"].vector, at_once.fold_in["i"].vector)


def test_an_item_that_changes_is_touched_and_keeps_what_it_has_learned() -> None:
    stream = Stream()
    assert stream.take([item(1)]).fold_in["i1"].weight == 0.0
    stream.take([event(1), event(2, item="i1", minutes=1)])
    weight = stream.kept.fold_in["i1"].weight
    assert weight > 0
    assert stream.take([item(1, "jug"), ItemRemoved("i2")]).fold_in["i1"].weight == weight
    assert stream.kept.fold_in["i2"].weight == 0.0


def test_each_kind_is_learned_where_it_is_asked_for() -> None:
    events = [event(1, item="i1"), event(2, minutes=1)]
    for neighbours, prior in ((0, 0.0), (0, 5.0), (10, 0.0), (10, 5.0)):
        settings = StreamingSettings(
            co_visitation=CoVisitationSettings(neighbours=neighbours),
            fold_in=FoldInSettings(prior=prior),
        )
        learned = Stream(settings).take(events)
        assert bool(learned.co_visitation) == bool(neighbours)
        assert bool(learned.fold_in) == bool(prior)
