"""Filters: SQL boolean expressions over catalogue columns, from an allow-list of words.

A filter comes from strangers. It is cut into tokens here, and every token must be a literal,
an operator, a column, or a keyword or function named below; what remains cannot name a table,
a subquery or a file. Polars then parses the grammar and evaluates it in one vectorised pass.
Times are of UTC; one with an offset is moved there, since Polars would ignore the offset.
There is no `||`: a filter that concatenates a whole column hundreds of times would take all memory.

    price < 50 AND 'shoes' = ANY(categories)
    attributes.colour IN ('red', 'blue') AND published_at >= DATE '2026-01-01'
    published_at > NOW() - INTERVAL '2 days'
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import polars as pl

from feature_repo.received import shortened
from feature_repo.times import minute_of
from serving.filter_kinds import kinds_of_columns, mixed_kinds, parts

MAX_LENGTH = 2_000
MAX_TOKENS = 400
MAX_DEPTH = 16
MAX_PARTS = 1_000
"""Of an expression. Polars repeats what stands before BETWEEN and IN, and behind CASE."""
CACHED = 256

COLUMNS: Mapping[str, pl.DataType] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "brand": pl.String(),
    "price": pl.Float64(),
    "available": pl.Boolean(),
    "published_at": pl.Datetime("us"),
    "categories": pl.List(pl.String()),
    "tags": pl.List(pl.String()),
}

ATTRIBUTES = "attributes"

# fmt: off
KEYWORDS = frozenset((
    "and", "or", "not", "in", "between", "like", "ilike", "is", "null", "true", "false",
    "case", "when", "then", "else", "end", "date", "timestamp", "interval",
))

FUNCTIONS = frozenset((
    "lower", "upper", "length", "starts_with", "ends_with", "abs", "round", "floor", "ceil",
    "coalesce", "array_contains", "array_length", "any", "now",
))
# fmt: on

_NOW = re.compile(r"\bnow\b", re.IGNORECASE)

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>'(?:[^']|'')*')
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<quoted>"[^"]+")
      | (?P<word>[^\W\d]\w*)
      | (?P<operator><=|>=|<>|!=|[=<>+\-*/%(),.])
    """,
    re.VERBOSE,
)

_GIVEN = re.compile(r": unable to parse '.*' as Expr", re.DOTALL)
_ADVICE = re.compile(r" \(create native .*\)")


class FilterError(ValueError):
    """A filter that cannot be used: "`filter` must be an expression, and is empty. Received: ''.".

    reason: names the part that is wrong. received: the filter, shortened.
    """

    def __init__(self, reason: str, received: str) -> None:
        self.reason = reason
        self.received = shortened(received)
        super().__init__(f"`filter` {reason} Received: {self.received!r}.")


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """A compiled filter. `attributes` names the item attributes that it reads.

    now: as in `compile_filter`. Filters with the same `sql` and `now` are the same.
    """

    sql: str
    now: str
    expression: pl.Expr
    attributes: frozenset[str]

    def evaluate(self, frame: pl.DataFrame) -> pl.Series:
        """Return bool [frame.height], False where the expression is NULL."""
        try:
            result = frame.select(self.expression.alias("allowed"))["allowed"]
            mixed = _mixed_kinds(self, tuple(frame.schema.items()))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            mixed = _first_line(error)
        if mixed:
            kinds = kinds_of_columns(self.expression, frame.schema)
            raise FilterError(f"cannot be evaluated: {mixed}. {kinds}".strip(), self.sql)
        if result.dtype != pl.Boolean:
            raise FilterError(f"must be true or false, and is {result.dtype}.", self.sql)
        result = result.fill_null(value=False)
        # The result of a constant expression has one row.
        return result if len(result) == frame.height else result.new_from_index(0, frame.height)


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def now_of(sql: str, at: datetime) -> str:
    """Return what NOW() is in a filter: the start of the minute of `at`, in UTC.

    By the minute, so that requests share what was computed for the one before. Empty where the
    filter does not depend on the time.
    """
    return f"{minute_of(at):%Y-%m-%d %H:%M:%S}" if _NOW.search(sql) else ""


@lru_cache(maxsize=CACHED)
def compile_filter(sql: str, now: str) -> Filter:
    """Return the filter that `sql` describes, or raise `FilterError`. now: as of `now_of`."""
    tokens = _tokens(sql)
    attributes: set[str] = set()
    words: list[str] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        following = tokens[position + 1].text if position + 1 < len(tokens) else ""
        if token.kind == "operator" and token.text == ".":
            raise _unexpected(token, sql)
        if token.text == following == "=":
            reason = (
                f"holds '==' at position {token.position}: what is equal stands beside one '='."
            )
            raise FilterError(reason, sql)
        if token.kind == "word" and token.text.lower() == ATTRIBUTES and following == ".":
            name = _attribute(tokens, position, sql)
            attributes.add(name)
            words.append(f'"{ATTRIBUTES}.{name}"')
            position += 3
            continue
        if token.kind in ("word", "quoted"):
            _check_name(token, following, sql)
        if token.kind == "word" and token.text.lower() == "now":
            _check_empty_call(tokens, position, sql)
            words.append(f"TIMESTAMP '{now}'")
            position += 3
            continue
        if token.kind == "string" and position and tokens[position - 1].text.lower() == "timestamp":
            words.append(_in_utc(token, sql))
        else:
            words.append(token.text)
        position += 1
    try:
        expression = pl.sql_expr(" ".join(words))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        # Polars repeats the text that it was given, which is not quite the one that was sent.
        reason = _GIVEN.sub("", f"is no SQL expression: {_first_line(error)}")
        raise FilterError(f"{reason}.", sql) from None
    if any(count >= MAX_PARTS for count, _ in enumerate(parts(expression))):
        reason = "repeats too much: BETWEEN, IN and CASE stand in one another."
        raise FilterError(reason, sql)
    if not expression.meta.eq(expression.meta.undo_aliases()):
        # `price < 50 available`: Polars takes the last word for the result's name and ignores it.
        token = tokens[-1]
        reason = f"holds {token.text!r} at position {token.position} without an operator before it."
        raise FilterError(reason, sql)
    return Filter(sql, now, expression, frozenset(attributes))


@lru_cache(maxsize=CACHED)
def _mixed_kinds(filter_: Filter, schema: tuple[tuple[str, pl.DataType], ...]) -> str:
    return mixed_kinds(filter_.expression, pl.Schema(schema))


def _tokens(sql: str) -> list[_Token]:
    if len(sql) > MAX_LENGTH:
        raise FilterError(f"must have at most {MAX_LENGTH} characters, and has {len(sql)}.", sql)
    tokens: list[_Token] = []
    position = depth = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None or match.lastgroup is None or "\0" in match.group():
            raise _unexpected(_Token("", sql[position], position), sql)
        if match.lastgroup != "space":
            tokens.append(_Token(match.lastgroup, match.group(), position))
            depth += (match.group() == "(") - (match.group() == ")")
            if depth > MAX_DEPTH:
                raise FilterError(f"must nest at most {MAX_DEPTH} parentheses.", sql)
        position = match.end()
    if not tokens:
        raise FilterError("must be an expression, and is empty.", sql)
    if len(tokens) > MAX_TOKENS:
        raise FilterError(f"must have at most {MAX_TOKENS} words, and has {len(tokens)}.", sql)
    return tokens


def _attribute(tokens: list[_Token], position: int, sql: str) -> str:
    if position + 2 >= len(tokens) or tokens[position + 2].kind not in ("word", "quoted"):
        raise FilterError(f"must name an attribute after `{ATTRIBUTES}.`.", sql)
    return tokens[position + 2].text.strip('"')


def _check_name(token: _Token, following: str, sql: str) -> None:
    name = token.text.lower() if token.kind == "word" else token.text.strip('"')
    if token.kind == "word" and name in KEYWORDS:
        return
    if following == "(":
        if token.kind == "word" and name in FUNCTIONS:
            return
        known = ", ".join(sorted(FUNCTIONS))
        raise FilterError(f"calls {token.text!r}, which is none of {known}.", sql)
    if name not in COLUMNS or token.text.strip('"') != name:
        known = ", ".join(COLUMNS)
        text = "'{}'".format(token.text.strip('"').replace("'", "''"))
        reason = (
            f"names {token.text!r}, which is no column. An attribute is {ATTRIBUTES}.{token.text}, "
            f"a text {text}. Columns: {known}."
        )
        raise FilterError(reason, sql)


def _check_empty_call(tokens: list[_Token], position: int, sql: str) -> None:
    if [token.text for token in tokens[position + 1 : position + 3]] != ["(", ")"]:
        name, start = tokens[position].text, tokens[position].position
        raise FilterError(f"must have {name}() without arguments at position {start}.", sql)


def _in_utc(token: _Token, sql: str) -> str:
    """Return the text of a TIMESTAMP without its offset, in UTC."""
    try:
        # RFC 3339 allows a lower-case "t" and "z".
        moment = datetime.fromisoformat(token.text.strip("'").upper())
        if moment.tzinfo is None:
            return token.text
        return f"'{moment.astimezone(UTC).replace(tzinfo=None)}'"
    except (ValueError, OverflowError):
        reason = (
            f"holds TIMESTAMP {token.text} at position {token.position}, which is no time such as "
            "'2026-01-01 08:00:00' in UTC or '2026-01-01 08:00:00+02:00'."
        )
        raise FilterError(reason, sql) from None


def _unexpected(token: _Token, sql: str) -> FilterError:
    return FilterError(f"holds {token.text!r} at position {token.position}, out of place.", sql)


def _first_line(error: BaseException) -> str:
    line = str(error).strip().split("\n")[0].rstrip(".")[:300]
    # Polars advises its own users what to do about it; whoever sends a filter cannot do that.
    return _ADVICE.sub("", line)
