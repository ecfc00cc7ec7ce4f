"""JSON files of the archive whose content nothing else tells."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from feature_repo.shop_file import ShopFileError

T = TypeVar("T")

WAY_ON = "Put it back from a copy of the archive."


def read_json(file: Path, form: TypeAdapter[T]) -> T:
    """Return what a file holds, in this form.

    Raises `ShopFileError` where it holds anything else, and `FileNotFoundError`.
    """
    try:
        return form.validate_json(file.read_bytes(), strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise ShopFileError(f"{file}: cannot be used: {reason}. {WAY_ON}") from error
