"""Text rules shared by presets and mappings."""

import unicodedata

import polars as pl

SPACES = r"[\s\p{Cc}\p{Z}\u200b\ufeff]+"


def normalised(expression: pl.Expr) -> pl.Expr:
    """NFC, every run of blanks and control characters one space, none at the ends."""
    return expression.str.normalize("NFC").str.replace_all(SPACES, " ").str.strip_chars(" ")


def normalise(value: str) -> str:
    """Return one value under the rule of `normalised`."""
    return " ".join(
        "".join(
            " " if unicodedata.category(c) in ("Cc", "Zs", "Zl", "Zp") or c in "\u200b\ufeff" else c
            for c in unicodedata.normalize("NFC", value)
        ).split()
    )
