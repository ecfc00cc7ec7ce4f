"""The articles of a sample shop: numbers for the simulation, texts for people and models."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.schema import Item
from feature_repo.times import DAY, microseconds, moment_of
from riverrun.sample.randomness import generator
from riverrun.sample.settings import SampleSettings
from riverrun.sample.vocabulary import (
    COLOURLESS,
    COLOURS,
    DEPARTMENTS,
    PROPER,
    SERIES,
    STYLES,
    Style,
    Subcategory,
)

CATALOGUE_STREAM = 1
PUBLISHED_BEFORE = 0.7
YEARS_BEFORE = 2.0
WORD = re.compile(r"\b[A-Z][a-z]+\b")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SUBCATEGORIES = tuple(
    (department, subcategory)
    for department in DEPARTMENTS
    for subcategory in department.subcategories
)
NUM_CELLS = len(SUBCATEGORIES) * len(STYLES)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Columns of n articles, in order of their cell = subcategory * styles + style.

    published_at: microseconds. popularity: positive weights with a long tail. trend_peak:
    microseconds of the day an article is in fashion; trend_height: 0 for most.
    words: int64 [n, 8], random numbers that choose the words of the texts.
    """

    cell: Ints
    brand: Ints
    price: Floats
    published_at: Ints
    popularity: Floats
    trend_peak: Ints
    trend_height: Floats
    words: Ints

    def __len__(self) -> int:
        return len(self.cell)


def item_id(index: int) -> str:
    """Return the id of the article at `index`."""
    return f"p{index:07d}"


def make_catalogue(settings: SampleSettings) -> Catalogue:
    """Draw the articles."""
    rng = generator(settings.seed, CATALOGUE_STREAM)
    n = settings.items
    # Some departments and styles are larger than others.
    weights = rng.dirichlet(np.full(NUM_CELLS, 4.0))
    cell = np.sort(rng.choice(NUM_CELLS, size=n, p=weights)).astype(np.int64)
    subcategory, style = np.divmod(cell, len(STYLES))
    brands = np.array([len(department.brands) for department, _ in SUBCATEGORIES])[subcategory]
    # A brand stands for two styles: most articles of a style are of its brands.
    loyal = (style + rng.integers(0, 2, n) * 3) % brands
    brand = np.where(rng.random(n) < 0.75, loyal, rng.integers(0, 1 << 30, n) % brands)
    low, high = np.array([s.price for _, s in SUBCATEGORIES])[subcategory].T
    factor = np.array([s.price_factor for s in STYLES])[style]
    price = np.exp(np.log(low) + rng.beta(1.6, 2.4, n) * (np.log(high) - np.log(low))) * factor
    start, end = microseconds(settings.start), microseconds(settings.end)
    before = start - (rng.random(n) * YEARS_BEFORE * 365 * DAY).astype(np.int64)
    during = start + (rng.random(n) * (end - start)).astype(np.int64)
    return Catalogue(
        cell=cell,
        brand=brand.astype(np.int64),
        price=_rounded(price),
        published_at=np.where(rng.random(n) < PUBLISHED_BEFORE, before, during)
        // 1_000_000
        * 1_000_000,
        popularity=rng.lognormal(0.0, 1.1, n),
        trend_peak=start + (rng.random(n) * (end - start)).astype(np.int64),
        trend_height=np.where(rng.random(n) < 0.08, rng.exponential(6.0, n), 0.0),
        words=rng.integers(0, 1 << 30, (n, 8)),
    )


def iter_items(catalogue: Catalogue) -> Iterator[Item]:
    """Yield the articles as items, in order of their ids."""
    columns = zip(
        catalogue.cell.tolist(),
        catalogue.brand.tolist(),
        catalogue.price.tolist(),
        catalogue.published_at.tolist(),
        catalogue.words.tolist(),
        strict=True,
    )
    for index, (cell, brand, price, published_at, words) in enumerate(columns):
        yield _item(index, cell, brand, words).model_copy(
            update={"price": price, "published_at": moment_of(published_at)}
        )


def search_queries(catalogue: Catalogue, indices: Ints) -> list[str]:
    """Return what a person who ends at each article may have typed."""
    queries = []
    for cell, words in zip(
        catalogue.cell[indices].tolist(), catalogue.words[indices].tolist(), strict=True
    ):
        _, subcategory = SUBCATEGORIES[cell // len(STYLES)]
        style = STYLES[cell % len(STYLES)]
        noun = _pick(subcategory.nouns, words[0])
        queries.append(f"{_pick(style.adjectives, words[1])} {noun}".lower())
    return queries


def _item(index: int, cell: int, brand: int, words: list[int]) -> Item:
    department, subcategory = SUBCATEGORIES[cell // len(STYLES)]
    style = STYLES[cell % len(STYLES)]
    noun = _pick(subcategory.nouns, words[0])
    adjective = _pick(style.adjectives, words[1])
    series = _pick(SERIES, words[2])
    material = _pick(subcategory.materials, words[3])
    variant = _pick(subcategory.variants, words[4])
    occasion = _pick(department.occasions, words[6])
    attributes: dict[str, str | float | bool] = {"material": material, "variant": variant}
    detail = variant
    if department.name not in COLOURLESS:
        attributes["colour"] = _pick(COLOURS, words[5])
        detail = f"{attributes['colour']}, {variant}"
    title = (
        f"{series} {adjective} {material} {noun}, {variant}",
        f"{adjective} {noun} “{series}”, {material}, {detail}",
        f"{material} {noun} “{adjective} {series}”, {detail}",
    )[words[7] % 3]
    return Item.model_construct(
        item_id=item_id(index),
        title=title,
        description=_description(subcategory, style, noun, material, occasion, words),
        categories=(department.name, subcategory.name),
        brand=department.brands[brand],
        tags=(style.name, occasion),
        attributes=attributes,
    )


def _description(
    subcategory: Subcategory,
    style: Style,
    noun: str,
    material: str,
    occasion: str,
    words: list[int],
) -> str:
    article = f"{_lowered(material)} {_lowered(noun)}"
    feature = _pick(subcategory.features, words[7] // 3)
    sentence = _pick(style.sentences, words[6] // 7)
    return (
        f"{sentence}: {article} for {occasion}, {feature}.",
        f"{article[0].upper()}{article[1:]} for {occasion}, {feature}. {sentence}.",
        f"{feature[0].upper()}{feature[1:]}: {article} for {occasion}. {sentence}.",
    )[words[5] // 16 % 3]


def _lowered(words: str) -> str:
    """Lower words such as Frying, but neither Oxford nor USB."""
    return WORD.sub(lambda m: m[0] if m[0] in PROPER else m[0].lower(), words)


def _pick(words: tuple[str, ...], number: int) -> str:
    return words[number % len(words)]


def _rounded(price: Floats) -> Floats:
    """Return prices as shops write them: 3.95, 24.90, 129.00."""
    return np.where(
        price < 10,
        np.floor(price) + 0.95,
        np.where(price < 100, np.floor(price) + 0.90, np.round(price / 5) * 5 - 1.0),
    )
