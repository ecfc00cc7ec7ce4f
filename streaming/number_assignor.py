"""Which member of a group has which partitions: one number of all topics, or none of it."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kafka import TopicPartition as Place
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment


class NumberAssignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """Shares out partition numbers, each with all topics, as evenly as they can be.

    kafka-python's assignor counts the partitions of all topics alike: of two members one may get
    all of the topic that has the work. In a group with members that have that one, whose name this
    keeps, its leader's algorithm decides, and the next leader's afterwards.
    """

    def assign(self, cluster: Any, members: Sequence[Any]) -> dict[str, Any]:
        """Return each member's assignment: what moves is in none until its holder lets go of it."""
        parsed = {each.member_id: self.parse_member_metadata(each.metadata) for each in members}
        topics = sorted({topic for each in parsed.values() for topic in each.subscription})
        places = [
            Place(topic, number)
            for topic in topics
            for number in sorted(cluster.partitions_for_topic(topic) or ())
        ]
        owners = {place: member for member, each in parsed.items() for place in each.partitions}
        before: dict[int, str] = {}
        for place in places:
            if place in owners:
                before.setdefault(place.partition, owners[place])
        holders = share_out({place.partition for place in places}, parsed, before)
        given: dict[str, dict[str, list[int]]] = {member: defaultdict(list) for member in parsed}
        for place in places:
            holder = holders[place.partition]
            if owners.get(place, holder) == holder:
                given[holder][place.topic].append(place.partition)
        return {
            member: ConsumerProtocolAssignment(self.version, sorted(each.items()), b"")
            for member, each in given.items()
        }


def share_out(
    numbers: Collection[int], members: Collection[str], before: Mapping[int, str]
) -> dict[int, str]:
    """Return each number's holder: no member has two more than another, and as few as can be move.

    before: who held a number, where somebody did.
    """
    kept: dict[str, list[int]] = {member: [] for member in members}
    for number in sorted(numbers):
        if before.get(number) in kept:
            kept[before[number]].append(number)
    least, larger = divmod(len(numbers), len(members))
    holders: dict[int, str] = {}
    for place, member in enumerate(sorted(members, key=lambda each: (-len(kept[each]), each))):
        holders |= dict.fromkeys(kept[member][: least + (place < larger)], member)
    held = Counter(holders.values())
    for number in sorted(set(numbers) - holders.keys()):
        member = min(members, key=lambda each: (held[each], each))
        holders[number] = member
        held[member] += 1
    return holders
