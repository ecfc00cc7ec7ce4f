"""The bundle that a shop serves: whether there is one, known before anything slow is imported."""

from collections.abc import Iterator
from contextlib import contextmanager

from riverrun.errors import UserError
from riverrun.settings import Settings
from serving.bundle import BundleError, published_versions, require_current


def require_bundle(settings: Settings) -> None:
    """Raise `UserError`, with the way on, where no bundle has been published."""
    with saying_how_to_get_one(settings):
        require_current(settings.bundles)


@contextmanager
def saying_how_to_get_one(settings: Settings) -> Iterator[None]:
    """Let a bundle that is missing, or must not be served, be a `UserError` with the way on."""
    try:
        yield
    except BundleError as error:
        # Another may have served before this one.
        hint = "To make one: riverrun train"
        if len(published_versions(settings.bundles)) > 1:
            hint = "To serve what served before: riverrun models rollback"
        raise UserError(f"{error} {hint} {settings.options}") from error
