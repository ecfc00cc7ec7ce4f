"""Of which kinds the values are that a filter compares: Polars casts some to others in silence."""

import operator
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

import polars as pl

KINDS: Mapping[pl.DataType, str] = {
    pl.String(): "a text",
    pl.Float64(): "a number",
    pl.Boolean(): "true or false",
    pl.Datetime("us"): "a time, such as DATE '2026-01-01', TIMESTAMP '2026-01-01 08:00:00' or "
    "NOW() - INTERVAL '2 days'",
    pl.List(pl.String()): "a list of texts, such as for 'shoes' = ANY(...)",
}
"""What may be compared with a column of each type, in words for people."""

_TRUTH = KINDS[pl.Boolean()]
_ANY = ""
"""The kind of NULL, which may stand beside any."""

_COMPARISONS: tuple[Callable[[pl.Expr, pl.Expr], pl.Expr], ...] = (
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
)


def parts(expression: pl.Expr) -> Iterator[tuple[pl.Expr, list[pl.Expr]]]:
    """Yield every part of an expression, the whole first, each with its operands."""
    rest = [expression]
    while rest:
        part = rest.pop()
        operands = part.meta.pop()[::-1]
        rest += operands
        yield part, operands


def kinds_of_columns(expression: pl.Expr, schema: pl.Schema) -> str:
    """Say what may be compared with the columns that an expression reads."""
    read = set(expression.meta.root_names())
    return " ".join(f"`{name}` is {KINDS[schema[name]]}." for name in schema if name in read)


def mixed_kinds(expression: pl.Expr, schema: pl.Schema) -> str:
    """Return what is wrong where values of two kinds are compared, or NOT has no truth; else "".

    schema: of a frame that the expression was evaluated on. What IN, LIKE, AND, OR and functions
    are given, Polars checks itself.
    """
    # A list, since what is gone could leave its id to another part.
    everything = list(parts(expression))
    comparisons = {
        id(part): operands for part, operands in everything if _is_comparison(part, operands)
    }
    negated = [operands[0] for part, operands in everything if _is_truth_of(part, operands)]
    asked = [*negated, *chain.from_iterable(comparisons.values())]
    # The type of a comparison is known, and to ask for it at each level of many would take long.
    typed = {str(id(each)): each for each in asked if id(each) not in comparisons}
    types = pl.LazyFrame(schema=schema).select(**typed).collect_schema()
    kinds = {id(each): _kind(types.get(str(id(each)), pl.Boolean())) for each in asked}
    for each in negated:
        if kinds[id(each)] not in (_TRUTH, _ANY):
            return f"NOT stands before {kinds[id(each)]}"
    for operands in comparisons.values():
        one, other = (kinds[id(each)] for each in operands)
        if one == other or _ANY in (one, other):
            continue
        if any(id(each) in comparisons for each in operands):
            return (
                f"what a comparison gives is compared with {other if one == _TRUTH else one}. "
                "Join comparisons by AND, as in price > 20 AND price < 30"
            )
        return f"{one} is compared with {other}"
    return ""


def _is_comparison(part: pl.Expr, operands: list[pl.Expr]) -> bool:
    return len(operands) == 2 and any(part.meta.eq(each(*operands)) for each in _COMPARISONS)


def _is_truth_of(part: pl.Expr, operands: list[pl.Expr]) -> bool:
    """Return whether a part is the cast that NOT makes of what it is given.

    A filter cannot name a cast.
    """
    return len(operands) == 1 and part.meta.eq(operands[0].cast(pl.Boolean))


def _kind(dtype: pl.DataType) -> str:
    """Return what values of a type are, in words."""
    if isinstance(dtype, pl.List):
        return f"a list of {dtype.inner}"
    if isinstance(dtype, pl.Duration):
        return "an interval"
    if dtype.is_temporal():
        return "a time"
    if dtype.is_numeric():
        return KINDS[pl.Float64()]
    if dtype == pl.Unknown:
        return "a mixture"
    return _ANY if dtype == pl.Null else KINDS.get(dtype, str(dtype))
