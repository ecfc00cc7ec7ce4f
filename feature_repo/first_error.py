"""What is wrong with a value that pydantic refuses, in words: the first of its errors."""

from dataclasses import dataclass

from pydantic import ValidationError

from feature_repo.received import described, shortened

_WORDS = {"extra_forbidden": "unknown key", "missing": "is missing"}
_RECEIVED = "Received: "


@dataclass(frozen=True, slots=True)
class FirstError:
    """key: where in the value, joined by dots; empty where it is the whole. reason: no full stop.

    statement: a sentence with the reason and what was received, where anything was.
    """

    key: str
    reason: str
    statement: str

    @property
    def field(self) -> str:
        """The first part of the key: equal for all the places of a list."""
        return self.key.partition(".")[0]

    @classmethod
    def of(cls, error: ValidationError) -> "FirstError":
        """Return the first error of those that pydantic has found."""
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(shortened(str(part)) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        # Who checks a value in a function says what was wrong with it.
        reason, of_our_own, _ = message.partition(f". {_RECEIVED}")
        if of_our_own:
            return cls(key, reason, message)
        reason = _WORDS.get(first["type"], message.removesuffix("."))
        # Of a key that is not there, pydantic shows all that stands around it. An unknown one may
        # be that of a password, with a slip in it.
        hidden = first["type"] in _WORDS or "password" in key.lower()
        received = "" if hidden else f" {_RECEIVED}{described(first['input'])}."
        return cls(key, reason, f"{reason}.{received}")
