"""Text rules shared by presets and mappings."""

import unicodedata

import polars as pl

SPACES = r"[\s\p{Cc}\p{Z}\u200b\ufeff]+"
_SPACES = "".join(
    c
    for c in map(chr, range(0x10000))
    if unicodedata.category(c) in ("Cc", "Zs", "Zl", "Zp") or c in "\u200b\ufeff"
)


def normalised(expression: pl.Expr) -> pl.Expr:
    """NFC, with one space for every run of blanks and control characters, and none at the ends."""
    return expression.str.normalize("NFC").str.replace_all(SPACES, " ").str.strip_chars(" ")


def stripped(expression: pl.Expr) -> pl.Expr:
    """Without blanks and control characters at the ends; otherwise the text is unchanged."""
    return expression.str.strip_chars(_SPACES)


def normalise(value: str) -> str:
    """Return one value under the rule of `normalised`."""
    spaced = "".join(" " if c in _SPACES else c for c in unicodedata.normalize("NFC", value))
    return " ".join(spaced.split())
