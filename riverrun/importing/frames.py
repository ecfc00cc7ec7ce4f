"""The native columns of events, which every reader produces and the archive takes."""

import polars as pl

from feature_repo.archive import EVENT_SCHEMA


def event_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with exactly the native event columns; absent ones are null."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in EVENT_SCHEMA.items()
    )
