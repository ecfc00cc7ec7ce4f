"""Tells whose a state and an online store are: two shops in one database would mix.

A shop is known by the id of its archive, from which `riverrun rebuild` makes the state. The state
takes it on with its first commit, and the online store takes on the state's.
"""

import numpy as np

from feature_repo.archive import Archive
from feature_repo.online_features import ItemEmbedding, OnlineFeatures
from streaming.milestones import Milestones
from streaming.stream_state import IMPORTED, ForeignShop, OpenState, StateConflict
from streaming.updates import Updates

SHOP_KEY = " shop"
"""The item id under which a store has the shop's. No item has it: none begins with a space."""


def require_own_state(state: OpenState, archive: Archive, name: str) -> None:
    """Make a state that is nobody's the archive's. Raise `ForeignShop` where it is another's.

    name: what a message calls the state.
    """
    shop = archive.identity()
    while True:
        # Read the version first: of two shops that start together, one commit is refused.
        version = state.load(IMPORTED, (), ()).version
        owner = state.milestones().shop
        if owner == shop:
            return
        if owner:
            raise ForeignShop(
                f"{name} is another shop's: set another database. Only where it is this shop's, "
                f"whose archive was lost or put back without its id: write {owner} to "
                f"{archive.id_file}."
            )
        try:
            state.commit(IMPORTED, version, Updates(), {}, milestones=Milestones(shop=shop))
        except StateConflict:
            continue


def require_own_store(online: OnlineFeatures, shop: str) -> None:
    """Make a store that is nobody's the shop's. Raise `ForeignShop` where it is another's.

    shop: the state's. Where that has none, as one that no other shop can reach, nothing is asked.
    """
    if not shop:
        return
    (stored,) = online.get(ItemEmbedding, [SHOP_KEY])
    owner = "" if stored is None else stored.bundle_version
    if not owner:
        online.push([ItemEmbedding(SHOP_KEY, np.zeros(0, np.float32), shop)])
    elif owner != shop:
        raise ForeignShop(f"{online} is another shop's: set another database.")
