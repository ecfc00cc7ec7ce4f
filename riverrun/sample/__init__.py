"""A seeded synthetic shop that reads like a real one."""

from riverrun.sample.catalogue import Catalogue, iter_items, make_catalogue
from riverrun.sample.settings import SampleSettings
from riverrun.sample.writer import iter_events, write_sample

__all__ = [
    "Catalogue",
    "SampleSettings",
    "iter_events",
    "iter_items",
    "make_catalogue",
    "write_sample",
]
