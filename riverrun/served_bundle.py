"""Finds the bundle that a shop serves, before anything slow is imported."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from riverrun.errors import UserError
from riverrun.settings import Settings
from serving.bundle import BundleError
from serving.published_bundles import current_bundle, published_versions, require_current


def require_bundle(settings: Settings) -> None:
    """Raise `UserError`, which says what to do, where no bundle has been published.

    Call it before any file is made: a home without a bundle is mostly a mistyped one.
    """
    with saying_how_to_get_one(settings):
        require_current(settings.bundles)


@contextmanager
def saying_how_to_get_one(settings: Settings) -> Iterator[None]:
    """Raise `UserError`, which says what to do, if a bundle is missing or must not be served."""
    try:
        yield
    except BundleError as error:
        # Another bundle may have served before this one.
        hint = to_make_one(settings)
        if len(published_versions(settings.bundles)) > 1:
            hint = f"To serve what served before: riverrun models rollback {settings.options}"
        raise UserError(f"{error} {hint}") from error


def served_bundle(settings: Settings) -> Path:
    """Return the folder of the bundle that serves. Raises `UserError` where none does."""
    try:
        path = current_bundle(settings.bundles)
    except BundleError as error:
        raise UserError(str(error)) from error
    if path is None:
        raise UserError(f"{settings.bundles} serves no bundle. {to_make_one(settings)}")
    return path


def to_make_one(settings: Settings) -> str:
    """Return the sentence that says how a shop gets its first bundle."""
    return f"To make one: riverrun train {settings.options}"
