"""What a training needs of a shop, looked for before anything slow is imported."""

from typing import Literal

from feature_repo.archive import Archive
from riverrun.errors import UserError
from riverrun.settings import Settings


def require_material(settings: Settings) -> None:
    """Raise `UserError` where there is nothing to train on."""
    kind = missing_kind(settings)
    if kind is not None:
        what = {"items": "the catalogue is empty", "events": "there are no events"}[kind]
        way_on = f"riverrun import {kind} FILE {settings.options}"
        raise UserError(f"{settings.archive}: {what}. To import {kind}: {way_on}")


def missing_kind(settings: Settings) -> Literal["items", "events"] | None:
    """Return what a training needs and the archive never got, items first; None if nothing."""
    archive = Archive(settings.archive)
    if not archive.item_changes.has_any():
        return "items"
    return None if archive.events.has_any() else "events"
