"""The sample shops that `riverrun bench` starts servers on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from riverrun.cli.bench_making import prepare_shop
from riverrun.cli.console import say

if TYPE_CHECKING:
    from riverrun.bench.kafka_shop import KafkaShop
    from riverrun.bench.server import RunningServer


@contextmanager
def trained_kafka_shop(
    home: Path | None, items: int, kafka: str, redis: str, partitions: int = 4
) -> Iterator[tuple["KafkaShop", list[str], list[str]]]:
    """Make topics for a trained sample shop; give it with user ids and item ids."""
    from riverrun.bench.kafka_shop import kafka_shop

    folder = home or Path(f".riverrun/bench-kafka-{items}")
    # Made only once the servers have answered: it takes minutes to make and train a shop.
    prepare = partial(prepare_shop, folder, items)
    with kafka_shop(folder, kafka, redis, partitions, prepare) as shop:
        # The archive's positions are those of an earlier run, in topics of its own.
        shutil.rmtree(folder / "archive" / "positions", ignore_errors=True)
        yield shop, *known_ids(folder)


@contextmanager
def trained_shop(
    home: Path | None, items: int
) -> Iterator[tuple["RunningServer", list[str], list[str]]]:
    """Start a server on a trained sample shop; give it with user ids and item ids."""
    from riverrun.bench.server import running_server

    folder = home or default_home(items)
    prepare_shop(folder, items)
    say(f"starting riverrun up on {folder} ...")
    with running_server(folder) as server:
        yield server, *known_ids(folder)


@contextmanager
def copied_shop(home: Path, items: int) -> Iterator[Path]:
    """Give a copy of the shop: events would make its histories longer from run to run."""
    prepare_shop(home, items)
    with TemporaryDirectory(prefix="bench-", dir=home.parent) as folder:
        yield shutil.copytree(home, Path(folder) / home.name)


def known_ids(home: Path) -> tuple[list[str], list[str]]:
    """Return the shop's user ids and item ids."""
    from feature_repo.archive import Archive

    archive = Archive(home / "archive")
    users = archive.events.scan().select("user_id").unique().sort("user_id").collect()
    return users["user_id"].to_list(), archive.item_changes.keys()


def default_home(items: int) -> Path:
    """Return where the shop of so many items is kept."""
    return Path(f".riverrun/bench-{items}")


def write_users(home: Path, users: list[str]) -> Path:
    """Write the ids to a file, one a line, and return it."""
    file = home / "bench-users.txt"
    file.write_text("\n".join(users))
    return file
