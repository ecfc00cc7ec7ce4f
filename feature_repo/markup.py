"""What a page shows of a text that holds HTML."""

import html
import re

# What is not closed goes on to the end, as in a browser: a description may be cut within a script.
_UNSEEN = r"<!--.*?(?:-->|\Z)|<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)"
_TAG = r"</?[a-z][a-z0-9:-]*(?:[\s/][^<>]*)?>|<![a-z][^<>]*>"
_BETWEEN_WORDS = re.compile(f"{_UNSEEN}|{_TAG}", re.DOTALL | re.IGNORECASE)
# A word may be bold in part, and ends where its paragraph does.
_WITHIN_WORDS = re.compile(
    r"</?(?:a|abbr|b|em|font|i|mark|s|small|span|strong|sub|sup|u|wbr)(?:\s[^<>]*)?>", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")


def without_markup(text: str) -> str:
    """Return `text` without tags, comments, scripts and styles, entities as their characters.

    What is no HTML stays as it is: "a < b", "R&D", "<3".
    """
    seen = text
    if "<" in text:
        seen = _BETWEEN_WORDS.sub(" ", _WITHIN_WORDS.sub("", text))
    if "&" in seen:
        seen = _ENTITY.sub(lambda entity: html.unescape(entity[0]), seen)
    return text if seen == text else " ".join(seen.split())
