"""Text embeddings by hash of model and text: each text goes through the text tower once."""

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from feature_repo.shop_file import with_way_on

Embeddings = npt.NDArray[np.float32]

SLICE = 1024
"""How many texts are embedded before they are kept: an interrupt loses little."""

_READ_BATCH = 500
WITHOUT_IT = "Remove it, and the texts are embedded again when they are needed."


class TextEmbeddingCache:
    """A SQLite file, or memory where `path` is None. Safe for many threads and processes.

    Losing it costs only time: so it is not flushed on every write, and a file that is damaged,
    locked or on a full disk is a warning, not an error. A file that cannot be used at all is left
    as it is, and memory takes its place.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        self._logger = structlog.get_logger(__name__)
        try:
            self._connection = _connected(path)
        except sqlite3.Error as error:
            self._connection = self._memory_instead(error)

    def embedded(
        self,
        model: str,
        texts: Sequence[str],
        dimension: int,
        embed: Callable[[Sequence[str]], Embeddings],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Embeddings:
        """Return float32 [len(texts), dimension]; texts not kept here are embedded, and then kept.

        embed: distinct texts -> embeddings float32 [n, dimension] by `model`. progress: called
        with how many texts are embedded so far, and how many will be.
        """
        embeddings = np.empty((len(texts), dimension), dtype=np.float32)
        missing: dict[str, list[int]] = {}
        for row, (text, kept) in enumerate(zip(texts, self.get(model, texts), strict=True)):
            if kept is not None and kept.shape == (dimension,):
                embeddings[row] = kept
            else:
                missing.setdefault(text, []).append(row)
        unknown = list(missing)
        for start in range(0, len(unknown), SLICE):
            part = unknown[start : start + SLICE]
            new = embed(part)
            self.put(model, part, new)
            for text, embedding in zip(part, new, strict=True):
                embeddings[missing[text]] = embedding
            progress(start + len(part), len(unknown))
        return embeddings

    def get(self, model: str, texts: Sequence[str]) -> list[Embeddings | None]:
        """Return for each text its embedding, float32 [text_dimension], or None."""
        keys = [_key(model, text) for text in texts]
        found: dict[bytes, bytes] = {}
        with self._lock:
            try:
                for start in range(0, len(keys), _READ_BATCH):
                    found.update(self._read(keys[start : start + _READ_BATCH]))
            except sqlite3.Error as error:
                self._fail("text_embeddings_not_read", len(keys) - len(found), error)
        raw = (found.get(key) for key in keys)
        return [
            None if value is None else np.frombuffer(value, dtype="<f4").astype(np.float32)
            for value in raw
        ]

    def put(self, model: str, texts: Sequence[str], embeddings: Embeddings) -> None:
        """Keep embeddings float32 [len(texts), text_dimension], where there is room for them."""
        rows = [
            (_key(model, text), embedding.astype("<f4").tobytes())
            for text, embedding in zip(texts, embeddings, strict=True)
        ]
        with self._lock:
            try:
                with self._connection:
                    self._connection.executemany(
                        "INSERT OR REPLACE INTO text_embeddings VALUES (?, ?)", rows
                    )
            except sqlite3.Error as error:
                self._fail("text_embeddings_not_kept", len(rows), error)

    def keep_only(self, model: str, texts: Iterable[str]) -> int:
        """Remove all but the embeddings of these texts by this model, where most are others.

        Texts change, and models do: the file would hold all that ever were. Returns how many were
        removed. Their room in the file is used again.
        """
        kept = [(_key(model, text),) for text in set(texts)]
        with self._lock:
            try:
                (held,) = self._connection.execute(
                    "SELECT COUNT(*) FROM text_embeddings"
                ).fetchone()
                if held <= 2 * len(kept):
                    return 0
                with self._connection:
                    self._connection.execute("CREATE TEMP TABLE kept (key BLOB PRIMARY KEY)")
                    self._connection.executemany("INSERT INTO kept VALUES (?)", kept)
                    removed = self._connection.execute(
                        "DELETE FROM text_embeddings WHERE key NOT IN (SELECT key FROM kept)"
                    ).rowcount
                    self._connection.execute("DROP TABLE kept")
            except sqlite3.Error as error:
                self._fail("text_embeddings_not_removed", len(kept), error)
                return 0
        return removed

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _read(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, embedding FROM text_embeddings WHERE key IN ({marks})"
        return self._connection.execute(query, keys).fetchall()

    def _fail(self, event: str, texts: int, error: sqlite3.Error) -> None:
        """Say what could not be done; a damaged file is not asked again."""
        if self._path is None or isinstance(error, sqlite3.OperationalError):
            self._logger.warning(event, texts=texts, reason=str(error))
            return
        self._connection.close()
        self._connection = self._memory_instead(error)

    def _memory_instead(self, error: sqlite3.Error) -> sqlite3.Connection:
        reason = f"{self._path}: cannot be used: {with_way_on(error, WITHOUT_IT)}"
        self._logger.warning("text_embeddings_in_memory", reason=reason)
        self._path = None
        return _connected(None)


def _connected(path: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(path or ":memory:", check_same_thread=False)
    try:
        with connection:
            connection.execute("PRAGMA busy_timeout = 10000")
            # Of a new file; an embedding is 1.5 KB or more, and few of them fit 4.
            connection.execute("PRAGMA page_size = 16384")
            # Not WAL: it works within one machine, and processes of several may share the file.
            connection.execute("PRAGMA journal_mode = TRUNCATE").fetchall()
            connection.execute("PRAGMA synchronous = OFF")
            # With a row id, and so in the order they come: by their keys, which are hashes, rows of
            # this size would each take an overflow page (https://sqlite.org/withoutrowid.html).
            connection.execute(
                "CREATE TABLE IF NOT EXISTS text_embeddings"
                " (key BLOB PRIMARY KEY, embedding BLOB NOT NULL)"
            )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _key(model: str, text: str) -> bytes:
    digest = hashlib.blake2b(model.encode(), digest_size=16)
    digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return digest.digest()
