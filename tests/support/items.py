"""The items of a catalogue, as tests compare them."""

from feature_repo.schema import Item
from serving.catalogue import Catalogue


def items_of(catalogue: Catalogue) -> list[Item]:
    """Return all items in order of their arrival."""
    return [Item.model_validate_json(document) for document in catalogue.page(0, len(catalogue))]
