"""What is said of a setting that there is not."""

from difflib import get_close_matches

from pydantic import BaseModel

RENAMED = {
    "serving.co_visitation_weight": "serving.ranking.weights",
    "serving.trending_weight": "serving.ranking.weights",
}


def advice(settings: BaseModel, key: str) -> str:
    """Return what the unknown `key` is called now, or else the nearest of its table, two at most.

    A sentence after a space; empty where there is nothing to say.
    """
    if now := RENAMED.get(key):
        return f" It is {now} now."
    *tables, name = key.split(".")
    table: object = settings
    for each in tables:
        table = getattr(table, each, None)
    known = type(table).model_fields if isinstance(table, BaseModel) else ()
    near = (".".join([*tables, each]) for each in get_close_matches(name, known, n=2))
    names = " or ".join(near)
    return f" Did you mean {names}?" if names else ""
