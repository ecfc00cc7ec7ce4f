"""`riverrun demo`: a shop from nothing, and a list that changes while one watches."""

import shlex
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.markup import escape
from rich.table import Table

from riverrun.cli.console import err, next_command, out, say
from riverrun.cli.import_session import import_folder
from riverrun.cli.options import PortOption, SettingsOption
from riverrun.cli.shop_training import train_shop
from riverrun.cli.signals import end, end_in_time, stopped_by_signal
from riverrun.cli.until_stopped import bind, ended_by, opened_shop
from riverrun.errors import RunFailedError
from riverrun.interpreter import settle
from riverrun.listening import start_listening, url_of
from riverrun.readiness import wait_until_ready
from riverrun.settings import FILES_IN_HOME, Settings, load_settings

if TYPE_CHECKING:
    import polars as pl

ITEMS, USERS, EVENTS, DAYS = 2_000, 2_000, 60_000, 60
SHOWN = 8
CLICKS = 3
FEW_EVENTS = 6
# What a visit leads to within a day: shop visits are short, and the demo is about reacting.
TRAINING = {"horizon_days": 1.0, "labels_per_position": 4, "epochs": 6}


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the clicks instead of staying up.")
    ] = False,
    port: PortOption = None,
    home: Annotated[
        Path, typer.Option("--home", metavar="DIR", help="The folder of the sample shop.")
    ] = Path(".riverrun/demo"),
    settings_file: SettingsOption = None,
) -> None:
    """Make a sample shop, train on it, serve it, and watch three clicks change a list.

    The first time takes a few minutes on two cores; later the trained shop is used again. It is in
    files of its own folder, whatever log and stores the settings name.
    """
    started = time.monotonic()
    settings = load_settings(settings_file, home=home, **FILES_IN_HOME)
    if settings_file is None:
        training = settings.training.model_copy(update=TRAINING)
        settings = settings.model_copy(update={"training": training})
    bound = bind(settings, None, port)
    if not (settings.bundles / "CURRENT").exists():
        _make_shop(settings)
    else:
        say(f"The shop in {settings.home} is trained already; remove it to start anew.")
    with opened_shop(settings) as shop:
        from riverrun.http_server import HttpServer

        stopped = stopped_by_signal()
        end_in_time(stopped, shop.stream.worker.metrics.doing, lambda: shop.stream.failure)
        server = HttpServer(shop.app, ended_by(stopped, shop.stream))
        failures: list[Exception] = []
        visitor = threading.Thread(
            target=_visit,
            args=(stopped, url_of(bound), settings, started, once, failures),
            daemon=True,
        )
        settle()
        start_listening(bound)
        visitor.start()
        server.run(sockets=[bound])
    end(shop.stream.failure)
    if failures:
        failure = failures[0]
        reason = " ".join(f"{type(failure).__name__}: {failure}".split())
        raise RunFailedError(f"the visit to the sample shop failed: {reason}")


def _make_shop(settings: Settings) -> None:
    from riverrun.sample import SampleSettings, write_sample

    folder = settings.home / "sample"
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    err.rule("[bold]1. A sample shop")
    # Made once: an hour later it would be another shop, beside what was imported of this one.
    if not settings.archive.exists():
        sample = SampleSettings(items=ITEMS, users=USERS, events=EVENTS, days=DAYS, seed=1, end=end)
        write_sample(sample, folder)
    say(f"{ITEMS:,} items, {USERS:,} users, {EVENTS:,} events in {folder}")
    err.rule("[bold]2. Import")
    import_folder(folder, settings)
    err.rule("[bold]3. Train")
    train_shop(settings)


def _visit(
    stopped: threading.Event,
    url: str,
    settings: Settings,
    started: float,
    once: bool,
    failures: list[Exception],
) -> None:
    """Visit the shop once it is ready. Errors before `stopped` is set go into `failures`."""
    try:
        if not wait_until_ready(url, stopped.is_set):
            return
        with httpx.Client(base_url=url, timeout=30) as client:
            err.rule("[bold]Three clicks")
            departments = _departments(settings)
            names = departments["department"].unique()
            _show_three_clicks(client, _someone(settings, departments), names)
        _show_what_next(url, time.monotonic() - started, stays=not once)
    except Exception as error:  # noqa: BLE001 - raised in a thread, it would end nothing
        if not stopped.is_set():
            failures.append(error)
        stopped.set()
    if once:
        stopped.set()


def _departments(settings: Settings) -> "pl.DataFrame":
    """Return `item_id` and `department` of every item that is in one."""
    import polars as pl

    from feature_repo.archive import Archive

    return pl.DataFrame(
        [
            (item.item_id, item.categories[0])
            for item in Archive(settings.archive).items()
            if item.categories
        ],
        schema=["item_id", "department"],
        orient="row",
    )


def _someone(settings: Settings, departments: "pl.DataFrame") -> str:
    """Return a user of few departments and few events: the same one every time."""
    import polars as pl

    from feature_repo.archive import Archive

    users = (
        Archive(settings.archive)
        .events.scan()
        .collect()
        .join(departments, on="item_id")
        .group_by("user_id")
        .agg(events=pl.len(), departments=pl.col("department").n_unique())
        .filter(pl.col("events") >= FEW_EVENTS)
        .sort("departments", "events", "user_id")
    )
    return str(users["user_id"][0])


def _show_three_clicks(client: httpx.Client, user_id: str, departments: Iterable[str]) -> None:
    before = _recommended(client, user_id)
    out.print(_table(f"For user {user_id}", before))
    category = another(departments, before)
    clicked = _trending(client, category)[:CLICKS]
    for item in clicked:
        out.print(f"  click  [bold]{item['title']}[/]  [dim]{category}[/]")
    now = datetime.now(UTC)
    events = [
        {
            "user_id": user_id,
            "item_id": item["item_id"],
            "event_type": "view",
            "timestamp": (now + timedelta(milliseconds=place)).isoformat(),
        }
        for place, item in enumerate(clicked)
    ]
    start = time.perf_counter()
    client.post("/v1/events", params={"wait": "applied"}, json=events).raise_for_status()
    applied = time.perf_counter()
    after = _recommended(client, user_id)
    listed = time.perf_counter()
    out.print(
        _table(f"For user {user_id}, after the clicks", after, {i["item_id"] for i in before})
    )
    out.print(
        f"From the click to the new list: [bold]{(listed - start) * 1e3:.0f} ms[/] "
        f"({(applied - start) * 1e3:.0f} ms until the events counted, "
        f"{(listed - applied) * 1e3:.0f} ms for the list)"
    )


def another(departments: Iterable[str], items: Iterable[dict[str, Any]]) -> str:
    """Return the department that has the fewest of the items.

    Where several have as few, it is the one that follows, in the alphabet, on the department that
    has the most.
    """
    shown = Counter(name for item in items for name in item["categories"][:1])
    most = max(shown, key=lambda name: shown[name], default="")
    return min(departments, key=lambda name: (shown[name], name < most, name))


def _recommended(client: httpx.Client, user_id: str) -> list[dict[str, Any]]:
    body = {"user_id": user_id, "limit": SHOWN, "exclude_seen": True, "explain": True}
    answer = client.post("/v1/recommend", json=body).raise_for_status().json()
    return [
        _item(client, place["item_id"]) | {"reason": place.get("reason", "")}
        for place in answer["items"]
    ]


def _trending(client: httpx.Client, category: str) -> list[dict[str, Any]]:
    parameters: dict[str, str | int] = {"category": category, "limit": CLICKS}
    answer = client.get("/v1/trending", params=parameters).raise_for_status().json()
    return [_item(client, place["item_id"]) for place in answer["items"]]


def _item(client: httpx.Client, item_id: str) -> dict[str, Any]:
    item: dict[str, Any] = client.get(f"/v1/items/{item_id}").raise_for_status().json()
    return item


def _table(title: str, items: list[dict[str, Any]], before: set[str] | None = None) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("item", "category", "why"):
        table.add_column(column)
    for item in items:
        is_new = before is not None and item["item_id"] not in before
        table.add_row(
            f"[green]{item['title']}[/]" if is_new else item["title"],
            " > ".join(item["categories"]),
            item["reason"],
        )
    return table


def _show_what_next(url: str, seconds: float, *, stays: bool) -> None:
    riverrun, url = called(), escape(url)
    err.rule()
    err.print(f"open this URL: [bold]{url}[/]  (the shop; {url}/docs is the API)")
    err.print(f"[dim]reached after {seconds:.0f} s[/]")
    # Ctrl-C first: the demo holds the port that `riverrun up` will listen on.
    err.print(f"With data of your own{', after Ctrl-C here' if stays else ''}:")
    next_command(f"{riverrun} import items products.csv --mapping map.toml", "what can be shown")
    next_command(f"{riverrun} import events orders.csv --mapping map.toml", "what people did")
    next_command(f"{riverrun} train && {riverrun} up", "learns from it, and serves")


def called() -> str:
    """Return how to call this command in a shell: after `make demo` it is not on the PATH."""
    if shutil.which("riverrun"):
        return "riverrun"
    called = sys.argv[0]
    name = Path(called).name
    return (
        shlex.quote(called) if name == "riverrun" else f"{shlex.quote(sys.executable)} -m riverrun"
    )
