"""What is wrong with a value that pydantic refuses, in words: the first of its errors."""

from dataclasses import dataclass

from pydantic import ValidationError

from feature_repo.received import described, shortened

UNKNOWN_KEY = "unknown key"
_WORDS = {"extra_forbidden": UNKNOWN_KEY, "missing": "is missing"}
_RECEIVED = "Received: "


@dataclass(frozen=True, slots=True)
class FirstError:
    """The first error of a value.

    key: the place in the value, joined by dots; empty for the value as a whole. reason: without a
    full stop. statement: the reason and, where anything was received, what, as sentences.
    """

    key: str
    reason: str
    statement: str

    @property
    def field(self) -> str:
        """The first part of the key, which all elements of a list have in common."""
        return self.key.partition(".")[0]

    @classmethod
    def of(cls, error: ValidationError) -> "FirstError":
        """Return the first error of those that pydantic has found."""
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(shortened(str(part)) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        # Our own validators say themselves what was received.
        reason, of_our_own, _ = message.partition(f". {_RECEIVED}")
        if of_our_own:
            return cls(key, reason, message)
        reason = _WORDS.get(first["type"], message.removesuffix("."))
        # For a missing key, pydantic shows the object around it. An unknown key may be a misspelt
        # password.
        hidden = first["type"] in _WORDS or "password" in key.lower()
        received = "" if hidden else f" {_RECEIVED}{described(first['input'])}."
        return cls(key, reason, f"{reason}.{received}")
