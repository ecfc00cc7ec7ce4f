"""How a group's partitions are shared out, whoever joins and leaves."""

from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition as Place
from kafka.protocol.consumer.metadata import ConsumerProtocolSubscription

from streaming.number_assignor import NumberAssignor, share_out

TOPICS = ("shop.events", "shop.items", "shop.users")
MEMBERS = st.sets(st.sampled_from("abcdefg"), min_size=1)
Held = dict[str, set[Place]]


@given(
    st.sets(st.integers(0, 15)),
    MEMBERS,
    st.dictionaries(st.integers(0, 15), st.sampled_from("abcz")),
)
def test_shares_are_even_and_no_more_moves_than_has_to(
    numbers: set[int], members: set[str], before: dict[int, str]
) -> None:
    holders = share_out(numbers, members, before)
    assert holders.keys() == numbers
    counts = Counter(dict.fromkeys(members, 0))
    counts.update(holders.values())
    assert counts.keys() == members
    assert max(counts.values()) - min(counts.values()) <= 1
    least, larger = divmod(len(numbers), len(members))
    kept = sorted(
        (sum(before.get(each) == who for each in numbers) for who in members), reverse=True
    )
    could = sum(min(had, least + (place < larger)) for place, had in enumerate(kept))
    assert sum(before.get(number) == holder for number, holder in holders.items()) == could


def rebalanced(held: Held, members: set[str], partitions: int) -> Held:
    """Return who has what after the rounds of a rebalance among `members`."""
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: set(range(partitions)))
    held = {member: held.get(member, set()) for member in members}
    for _ in range(3):
        group = []
        for member, places in held.items():
            owned = [
                ConsumerProtocolSubscription.TopicPartition(
                    topic=topic, partitions=sorted(p for t, p in places if t == topic)
                )
                for topic in TOPICS
            ]
            metadata = ConsumerProtocolSubscription(
                version=1, topics=list(TOPICS), user_data=b"", owned_partitions=owned
            )
            group.append(SimpleNamespace(member_id=member, metadata=metadata))
        given = NumberAssignor().assign(cluster, group)
        now = {member: set(map(tuple, given[member].partitions())) for member in members}
        for member in members:
            others = set().union(*(held[other] for other in members - {member}))
            assert not now[member] & others  # Not before who had it has let go of it.
        held = {member: {Place(*place) for place in places} for member, places in now.items()}
    return held


@given(st.lists(MEMBERS, min_size=1, max_size=5), st.integers(1, 8))
def test_each_topic_is_shared_evenly_whoever_comes_and_goes(
    groups: list[set[str]], partitions: int
) -> None:
    held: Held = {}
    for members in groups:
        held = rebalanced(held, members, partitions)
        assert sum(map(len, held.values())) == partitions * len(TOPICS)
        for topic in TOPICS:
            counts = [sum(t == topic for t, _ in held[member]) for member in members]
            assert sum(counts) == partitions
            assert max(counts) - min(counts) <= 1
        for places in held.values():
            assert places == {Place(topic, number) for topic in TOPICS for _, number in places}


def test_what_was_shared_out_by_topics_is_shared_out_by_numbers() -> None:
    everything = {Place(topic, number) for topic in TOPICS for number in range(4)}
    one = {place for place in everything if place.topic == "shop.events" or place.partition < 2}
    one = {place for place in one if place.topic != "shop.users"}
    held = rebalanced({"a": one, "b": everything - one}, {"a", "b"}, 4)
    assert Counter(topic for topic, _ in held["a"]) == dict.fromkeys(TOPICS, 2)
