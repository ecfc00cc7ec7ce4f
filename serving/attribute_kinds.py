"""Which kinds of values each attribute has, over the items that there are now."""

from collections.abc import Mapping

Attributes = Mapping[str, str | float | bool]


class AttributeKinds:
    """Counts the items that hold an attribute, by the kind of their value.

    An attribute is a number or a truth where all of its values are, else text. Because values are
    counted, one wrong value makes the attribute text only until that item is corrected or deleted,
    and a change of an item costs a look at its own attributes, not at the whole catalogue. Not safe
    for use by two threads at once.
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}
        self._recounted: set[str] = set()
        self._kinds: dict[str, str] = {}

    def add(self, attributes: Attributes) -> None:
        """Count the attributes of an item."""
        for name, value in attributes.items():
            counts = self._counts.setdefault(name, {})
            kind = _kind(value)
            counts[kind] = counts.get(kind, 0) + 1
            self._recounted.add(name)

    def remove(self, attributes: Attributes) -> None:
        """Take back the count of an item that was added with the same attributes."""
        for name, value in attributes.items():
            counts = self._counts[name]
            kind = _kind(value)
            counts[kind] -= 1
            if not counts[kind]:
                del counts[kind]
            self._recounted.add(name)

    def kinds(self) -> dict[str, str]:
        """Return "text", "number" or "truth" by attribute, in a mapping that never changes."""
        kinds = dict(self._kinds)
        for name in self._recounted:
            counts = self._counts[name]
            if counts:
                kinds[name] = next(iter(counts)) if len(counts) == 1 else "text"
            else:
                del self._counts[name]
                kinds.pop(name, None)
        self._recounted.clear()
        if kinds != self._kinds:
            self._kinds = kinds
        return self._kinds


def _kind(value: str | float | bool) -> str:
    if isinstance(value, str):
        return "text"
    return "truth" if isinstance(value, bool) else "number"
