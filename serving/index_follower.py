"""Applies the item changelog to the live model and the catalogue."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import structlog
from prometheus_client import Counter

from feature_repo.event_log import (
    ITEM_EMBEDDINGS,
    EventLog,
    EventLogError,
    LogConsumer,
    LogRecord,
    LostPositionError,
    TopicPartition,
)
from serving.background import BackgroundThread
from serving.catalogue import Catalogue
from serving.item_changelog import (
    ChangelogError,
    ItemChange,
    ItemDeletion,
    ItemMove,
    ItemUpsert,
    decode_change,
)
from serving.live_model import LiveModel, ModelHolder

BATCH = 256
POLL_SECONDS = 0.25
RETRY_SECONDS = 1.0


class IndexFollower(BackgroundThread):
    """Reads the compacted changelog from its start, then follows it, in a thread of its own.

    Where a record's embedding is of another vector space than the model's, the item is encoded
    again here, and the record's embedding is kept for when that space serves. Where reading the log
    fails, it goes on at the record that it applied last: from the start it would bring back, for a
    while, items that are deleted and prices that are old.

    caught_up: whether the end of the changelog has been reached since it was read from its start.
    last_error: why the changelog could not be followed: the log not be read (an `EventLogError`),
    or its records not be understood. None once it is followed again.
    failed: counts the changes that could not be applied, each of which was left out.
    """

    def __init__(
        self,
        log: EventLog,
        holder: ModelHolder,
        catalogue: Catalogue,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__("index-follower")
        self._log = log
        self._holder = holder
        self._catalogue = catalogue
        self._clock = clock
        self._applied: dict[TopicPartition, LogRecord] = {}
        self._logger = structlog.get_logger(__name__)
        self.caught_up = False
        self.last_error: Exception | None = None
        self.failed = Counter(
            "riverrun_item_changes_failed",
            "Changes of items that could not be applied and were left out.",
            registry=None,
        )

    def has_applied(self, positions: Mapping[TopicPartition, int]) -> bool:
        """Whether all records before these offsets of the changelog are applied."""
        applied = {source: record.offset for source, record in list(self._applied.items())}
        return all(applied.get(source, -1) + 1 >= at for source, at in positions.items())

    def apply(self, records: Sequence[LogRecord]) -> None:
        """Apply records in order; what cannot be read is logged and left out.

        Raises what the encoder raises.
        """
        self._change(self._changes(records))

    def _changes(self, records: Sequence[LogRecord]) -> Collection[ItemChange]:
        """Return one change for each item, the last; a move is joined with the change before it."""
        changes: dict[str, ItemChange] = {}
        for record in records:
            try:
                change = decode_change(record)
            except ChangelogError as error:
                self._logger.error("item_change_refused", reason=str(error))
                continue
            if isinstance(change, ItemMove):
                change = _after(changes.get(change.item_id), change)
            changes[change.item_id] = change
        return changes.values()

    def _change(self, changes: Collection[ItemChange]) -> None:
        upserts = [change for change in changes if isinstance(change, ItemUpsert)]
        moves = [change for change in changes if isinstance(change, ItemMove)]
        deletions = [change.item_id for change in changes if isinstance(change, ItemDeletion)]
        with self._holder.changing:
            model, waiting = self._holder.current, self._holder.waiting
            # The vector first: what the filters know can then be retrieved.
            self._upsert(model, upserts)
            self._move(model, moves)
            self._catalogue.upsert([change.item for change in upserts])
            # The catalogue first: what is gone must not be shown.
            self._catalogue.delete(deletions)
            model.index.delete(deletions)
            waiting.drop(change.item_id for change in changes)
            for change in changes:
                if isinstance(change, ItemDeletion) or not len(change.embedding):
                    continue
                if change.bundle_version != model.bundle_version:
                    waiting.keep(change.item_id, change.bundle_version, change.embedding)

    def _change_each(self, changes: Collection[ItemChange]) -> None:
        """Apply all changes; where that fails, apply those that can be applied one by one.

        Applying a change needs nothing from outside the process, so there is nothing to wait for:
        what fails now would fail again, and hold up every later change, deletions included.
        The item stays as it was until its next change.
        """
        try:
            self._change(changes)
        except Exception:  # noqa: BLE001 - one of them fails; one by one tells which
            for change in changes:
                try:
                    self._change([change])
                except Exception:  # Whatever ails one item must not stop the others.
                    self.failed.inc()
                    self._logger.exception("item_change_failed", item_id=change.item_id)

    def _upsert(self, model: LiveModel, upserts: Sequence[ItemUpsert]) -> None:
        usable = [change for change in upserts if _fits(change, model)]
        if usable:
            embeddings = np.stack([change.embedding for change in usable])
            model.index.upsert([change.item_id for change in usable], embeddings)
        foreign = [
            change.item
            for change in upserts
            if not _fits(change, model) and not self._is_in(model, change)
        ]
        if foreign:
            embeddings = model.encoder.encode_candidates(foreign, self._clock())
            model.index.upsert([item.item_id for item in foreign], embeddings)

    def _move(self, model: LiveModel, moves: Sequence[ItemMove]) -> None:
        # An item that is missing here was deleted: the worker that moved it will say so too.
        usable = [move for move in moves if _fits(move, model) and move.item_id in self._catalogue]
        if usable:
            embeddings = np.stack([move.embedding for move in usable])
            model.index.upsert([move.item_id for move in usable], embeddings)

    def _is_in(self, model: LiveModel, change: ItemUpsert) -> bool:
        """Whether the model holds this very item already, so that it need not be encoded."""
        return (
            model.knows_any([change.item_id]) and self._catalogue.get(change.item_id) == change.item
        )

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with closing(
                    self._log.consumer(None, [ITEM_EMBEDDINGS], self._positions)
                ) as consumer:
                    self._follow(consumer)
            except Exception as error:  # noqa: BLE001 - without a follower items stay old for ever
                self._failed(error)
                if isinstance(error, LostPositionError):
                    # Another log: all of its records are new here. An item may change in it more
                    # than once, so nothing is certain before its end.
                    self._applied.clear()
                    self.caught_up = False
                self._stop.wait(RETRY_SECONDS)

    def _failed(self, error: Exception) -> None:
        """Log an error once, though reading is tried again every second while a broker is away."""
        if repr(error) != repr(self.last_error):
            known = isinstance(error, EventLogError)
            reason = str(error).rstrip(".") if known else f"{type(error).__name__}: {error}"
            self._logger.error("index_follower_failed", reason=reason, exc_info=not known)
        self.last_error = error

    def _succeeded(self) -> None:
        if self.last_error is not None:
            self._logger.info("index_follower_reads_again")
        self.last_error = None

    def _positions(self, _: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, int]:
        """Return where to go on: at the last applied records, which tell whether the log is new."""
        return {source: record.offset for source, record in self._applied.items()}

    def _follow(self, consumer: LogConsumer) -> None:
        while not self._stop.is_set():
            timeout = POLL_SECONDS if self.caught_up else 0.0
            records = consumer.poll(BATCH, timeout)
            new = self._new(records)
            if new:
                self._change_each(self._changes(new))
                self._applied.update((record.source, record) for record in records)
            elif not records:
                self.caught_up = True
            # Records that were applied before come again even where reading on fails; so they do
            # not show that an error has passed.
            if new or not records:
                self._succeeded()

    def _new(self, records: Sequence[LogRecord]) -> list[LogRecord]:
        """Return the records that are not applied yet.

        Raises `LostPositionError` where another record is in the place of the last applied one.
        Compaction may remove a record but never replaces it, so the log was made anew, and has
        grown as long since.
        """
        new: list[LogRecord] = []
        for record in records:
            last = self._applied.get(record.source)
            if last is None or record.offset > last.offset:
                new.append(record)
            elif record != last:
                topic, partition = record.source
                raise LostPositionError(
                    f"{topic}/{partition} was made anew: it holds another record at offset "
                    f"{record.offset} than the one that was applied."
                )
        return new


def _after(before: ItemChange | None, move: ItemMove) -> ItemChange:
    """Return the two as one change: a move changes an embedding alone, and revives no item."""
    if isinstance(before, ItemDeletion):
        return before
    if isinstance(before, ItemUpsert):
        return ItemUpsert(before.item, move.embedding, move.bundle_version)
    return move


def _fits(change: ItemUpsert | ItemMove, model: LiveModel) -> bool:
    return change.bundle_version == model.bundle_version and change.embedding.shape == (
        model.table.dimension,
    )
