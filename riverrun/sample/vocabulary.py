"""The words of the sample shop: departments, their articles and brands, and the styles."""

import tomllib
from importlib.resources import files
from typing import Any, NamedTuple


class Subcategory(NamedTuple):
    """Articles of one kind; any noun goes with any material, variant and feature."""

    name: str
    price: tuple[float, float]
    peak: int
    nouns: tuple[str, ...]
    materials: tuple[str, ...]
    variants: tuple[str, ...]
    features: tuple[str, ...]


class Department(NamedTuple):
    """Subcategories that share brands and occasions."""

    name: str
    brands: tuple[str, ...]
    occasions: tuple[str, ...]
    subcategories: tuple[Subcategory, ...]


class Style(NamedTuple):
    """What a shopper keeps coming back to, across departments."""

    name: str
    adjectives: tuple[str, ...]
    sentences: tuple[str, ...]
    price_factor: float


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


STYLES = (
    Style(
        "minimalist",
        _words("Minimal|Plain|Pure|Quiet|Simple|Clean|Nordic|Essential"),
        _words(
            "Nothing on it that does not have to be there|Drawn with as few lines as possible"
            "|It asks for no attention and gets it all the same|A calm choice that goes with all"
        ),
        1.1,
    ),
    Style(
        "rustic",
        _words("Rustic|Farmhouse|Country|Heritage|Old-Mill|Harvest|Homestead|Highland"),
        _words(
            "Each piece shows the hand that made it|It gets better with age"
            "|With the warmth of an old farmhouse|Made the way it was done in the village"
        ),
        1.0,
    ),
    Style(
        "vintage",
        _words("Vintage|Retro|Fifties|Classic|Nostalgic|Art-Deco|Old-School|Seventies"),
        _words(
            "Modelled on an original of the fifties|It could have come from a flea market in Lyon"
            "|With the charm of another decade|For everyone who likes it retro"
        ),
        1.15,
    ),
    Style(
        "sporty",
        _words("Sport|Active|Dynamic|Energy|Trail|Summit|Sprint|Marathon"),
        _words(
            "Tested by people who are on the move all day|For before, during and after the workout"
            "|Keeps up with every pace|Made for those who cannot sit still"
        ),
        1.05,
    ),
    Style(
        "eco",
        _words("Organic|Natural|Fair-Trade|Earth-Friendly|Low-Waste|Green|Carbon-Neutral|Vegan"),
        _words(
            "Made with renewable energy and shipped without plastic|Packed in paper that is compost"
            "|Certified from the field to the shelf|Fairly paid for, from first hand to last"
        ),
        1.2,
    ),
    Style(
        "premium",
        _words("Premium|Signature|Grand|Luxury|Master|Reserve|Exclusive|Atelier"),
        _words(
            "Finished by hand in small numbers|Comes in a box that makes wrapping unnecessary"
            "|For those who buy once and buy the best|The finest that this house makes"
        ),
        2.2,
    ),
    Style(
        "playful",
        _words("Happy|Rainbow|Funny|Colourful|Confetti|Jolly|Bubble|Sunny"),
        _words(
            "Brings colour into any grey morning|Guaranteed to make guests smile"
            "|With a wink in every detail|Bright, cheerful and a little silly"
        ),
        0.85,
    ),
    Style(
        "budget",
        _words("Everyday|Basic|Smart-Buy|Thrifty|Starter|Handy|Value|Family"),
        _words(
            "Does what it should and costs little|A sound choice for the first time"
            "|Plain packaging, honest quality|For every day, with no fuss about it"
        ),
        0.6,
    ),
)

SERIES = _words(
    "Aurora|Lumen|Nordvik|Solano|Tiverton|Marlow|Halden|Kestrel|Orchard|Bluff|Cinder|Delphi"
    "|Ember|Fjord|Lyra|Harbour|Iris|Juniper|Kyoto|Linden|Meridian|Nova|Ostara|Pebble|Quill"
    "|Ravenna|Sable|Tundra|Umbra|Valley|Willow|Yarrow|Zephyr|Alder|Birch|Marina|Dune|Echo"
    "|Fennel|Glacier|Heron|Indigo|Jasper|Kelp|Larch|Maple|Nimbus|Onyx|Prairie|Quartz|Reed"
    "|Sierra|Thistle|Upland|Vesper|Wren|Aspen|Brook|Cedar|Drift|Elm|Flint|Grove|Haven"
)

COLOURS = _words(
    "black|white|sand|navy|sage green|terracotta|slate grey|mustard|ivory|burgundy|sky blue"
    "|forest green|coral|charcoal|copper|lavender"
)
COLOURLESS = frozenset({"Coffee & Tea", "Garden", "Beauty & Care"})
"""Departments whose articles are not chosen by colour."""

PROPER = frozenset(
    _words(
        "Assam|Ceylon|Chelsea|Colombian|Cordura|Damascus|Earl|Ethiopian|French|Grey|Matter|Oxford"
        "|Turkish|Wi|Fi|Zigbee"
    )
)
"""Words that keep their capital within a sentence."""


def _department(table: dict[str, Any]) -> Department:
    return Department(
        name=table["name"],
        brands=tuple(table["brands"]),
        occasions=tuple(table["occasions"]),
        subcategories=tuple(_subcategory(entry) for entry in table["subcategories"]),
    )


def _subcategory(table: dict[str, Any]) -> Subcategory:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }
    return Subcategory(**fields)


def _departments() -> tuple[Department, ...]:
    text = files(__package__).joinpath("departments.toml").read_text(encoding="utf-8")
    return tuple(_department(table) for table in tomllib.loads(text)["departments"])


DEPARTMENTS = _departments()
