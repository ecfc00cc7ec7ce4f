"""Which ids are invalid: those that the schema refuses, as expressions over columns."""

import polars as pl

from feature_repo.schema import MAX_IDENTIFIER


def identifier_reason(name: str) -> pl.Expr:
    """Return why the values of a text column are invalid ids; null where they are valid."""
    return (
        pl.when(pl.col(name).is_null())
        .then(pl.lit(f"no {name}"))
        .when(pl.col(name).str.len_chars() > MAX_IDENTIFIER)
        .then(pl.lit(f"{name} is longer than {MAX_IDENTIFIER} characters"))
        .when(pl.col(name).map_batches(_are_unprintable, return_dtype=pl.Boolean()))
        .then(pl.lit(f"{name} has unprintable characters"))
    )


def _are_unprintable(identifiers: pl.Series) -> pl.Series:
    odd = identifiers.str.contains(r"[^ -~]").fill_null(False)
    if not odd.any():
        return odd
    # As the schema judges them: a regular expression knows other characters than this Python.
    judged = [value is not None and not value.isprintable() for value in identifiers.to_list()]
    return pl.Series(identifiers.name, judged, dtype=pl.Boolean)
