"""Takes up imported items where nobody follows the log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from feature_repo.event_log import ITEMS, GroupedLog
from feature_repo.schema import Item
from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder
from streaming.imports import ImportArchive, Unarchived, item_messages, unread_items
from streaming.learner import Learner
from streaming.milestones import Milestones
from streaming.processor import Folded
from streaming.publisher import Publisher
from streaming.stream_state import IMPORTED, ITEM, OpenState, positions_of
from streaming.updates import Updates

_KEYS_PER_PUSH = 2_000


@dataclass(frozen=True, slots=True)
class Served:
    """What servers have without being told, and what embeds for them what they have not.

    item: gives an item as the bundle has it. encoder, space: as `build_worker` takes them.
    """

    item: Callable[[str], Item | None] = lambda _: None
    encoder: Callable[[], Encoder | None] = lambda: None
    space: Callable[[], CandidateSpace | None] = lambda: None


@dataclass(frozen=True, slots=True)
class ItemImports:
    """Commits imported items some at a time, and tells servers of those that they lack.

    That is what their bundle has not, or what the changelog says otherwise: as the state knows it.
    """

    archive: ImportArchive
    state: OpenState
    log: GroupedLog
    served: Served
    publisher: Publisher
    learner: Learner

    def take_up(
        self,
        segments: Sequence[str],
        unarchived: Unarchived,
        version: int,
        progress: Callable[[str, int, int], None],
    ) -> int:
        """Commit what these segments brought over `version`; return the version after that.

        Interrupted, it ends in the same state when repeated. Raises `StateConflict` where another
        has committed anything imported meanwhile.
        """
        # First, so that an item is not pushed before what is listed of its embedding.
        push_unpushed(self.state, self.publisher)
        behind = unread_items(self.log, positions_of(self.state)) - unarchived.items
        for number, segment in enumerate(segments):
            progress("items", number, len(segments))
            for items in self.archive.items_of([segment]):
                newest = [each for each in items if each.item_id not in unarchived.items]
                # What the worker has still to read is older, and would replace what is committed.
                after = [each for each in newest if each.item_id in behind]
                if after:
                    self.log.append(ITEMS, item_messages(after))
                version = self._commit([e for e in newest if e.item_id not in behind], version)
            taken_up = Milestones.of_segments(items=[segment])
            self.state.commit(IMPORTED, version, Updates(), {}, milestones=taken_up)
            version += 1
        progress("items", len(segments), len(segments))
        return version

    def _commit(self, items: Sequence[Item], version: int) -> int:
        before = self.state.items([item.item_id for item in items])
        changed = {each.item_id: each for each in items if before.get(each.item_id) != each}
        if not changed:
            return version
        told = {
            key: item
            for key, item in changed.items()
            if key in before or self.served.item(key) != item
        }
        learned = self.learner.learn(IMPORTED, Folded(Updates(items={**told})))
        updates = Updates(items={**changed}, fold_in=learned.fold_in)
        stamp = self.state.commit(IMPORTED, version, updates, {})
        if untold := changed.keys() - told.keys():
            self.state.forget_pushed(IMPORTED, {(ITEM, key): stamp for key in untold})
        if told:
            push_unpushed(self.state, self.publisher)
        return version + 1


def push_unpushed(
    state: OpenState,
    publisher: Publisher,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> None:
    """Tell the online store, and of items the changelog, of what was imported.

    User embeddings are left out. What the worker has left unpushed it pushes itself when it
    recovers, with them.
    """
    done, total = 0, state.count_unpushed()
    while unpushed := state.unpushed(IMPORTED, _KEYS_PER_PUSH):
        publisher.publish_imported(unpushed.updates)
        state.forget_pushed(IMPORTED, unpushed.stamps)
        done += len(unpushed.stamps)
        progress("online store", done, total)
