"""Formats of times in the style of `strftime`, which Polars reads a little differently.

Polars' are chrono's: https://docs.rs/chrono/latest/chrono/format/strftime
"""

import re

UNITS = ("s", "ms", "us")
_CODE = re.compile(r"%[^a-zA-Z%+]*[a-zA-Z%+]")
_OTHERWISE = {
    "%s": "the format s reads seconds since 1970",
    "%r": "write %I:%M:%S %p",
    "%+": "write it out, or auto, which reads RFC 3339",
    "%Z": "names of zones are ambiguous: give `timezone`, and write the name as it is",
    "%f": "write .%f after a point, else %3f or %6f for so many digits",
}
_MINUTES = {"%M", "%T", "%R", "%c", "%X"}
_HOURS = {"%H", "%I", "%k", "%l", *_MINUTES}
_OFFSETS = {"%z", "%:z", "%#z"}


def check_format(form: str) -> None:
    """Raise `ValueError` for a text that is no format, or a code that would be read wrongly."""
    if form == "auto" or form in UNITS:
        return
    if "%" not in form:
        raise ValueError(
            f"`format` must be auto, s, ms, us or a strftime format such as %Y-%m-%d. "
            f"Received: {form!r}."
        )
    for code in _codes(polars_format(form)):
        if code in _OTHERWISE:
            raise ValueError(
                f"`format` cannot have {code}: {_OTHERWISE[code]}. Received: {form!r}."
            )


def polars_format(form: str) -> str:
    """Return a strftime format as Polars has it: fractions of a second are %.f, not .%f."""
    return re.sub(r"\.%f", "%.f", form)


def has_offset(form: str) -> bool:
    """Return whether times of the format have their offset from UTC."""
    return not _OFFSETS.isdisjoint(_codes(form))


def has_hour(form: str) -> bool:
    """Return whether times of the format have an hour."""
    return not _HOURS.isdisjoint(_codes(form))


def has_minute(form: str) -> bool:
    """Return whether times of the format have a minute."""
    return not _MINUTES.isdisjoint(_codes(form))


def _codes(form: str) -> list[str]:
    """Return the codes of a format, without the flags for padding."""
    return [re.sub(r"^%[-_0]", "%", code) for code in _CODE.findall(form)]
