"""`riverrun bench`: figures about a running server, measured from another process, and lists."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from riverrun.cli.bench_figures import print_figures, say
from riverrun.cli.bench_making import prepare_shop, prepare_versions
from riverrun.cli.bench_options import LARGE, SMALL, Items, Seconds, ShopHome
from riverrun.cli.bench_quality import quality
from riverrun.cli.bench_serving import serving
from riverrun.cli.bench_shops import (
    copied_shop,
    default_home,
    known_ids,
    trained_kafka_shop,
    trained_shop,
    write_users,
)
from riverrun.cli.console import out
from riverrun.cli.signals import end_at_sigterm

app = typer.Typer(
    no_args_is_help=True,
    help="""Measure a real `riverrun up` in a process of its own, on a sample shop.

    `quality` measures lists instead, on public data sets, and needs no shop.

    The shop is made, imported and trained on the first time, and kept in `--home`: with the
    100,000 items of `recommend` and `memory` this takes a quarter of an hour on two cores.
    """,
)

app.command()(quality)


@app.callback()
def _stop_what_was_started() -> None:
    # Else servers and senders would be left behind, at full load.
    end_at_sigterm()


KafkaUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Measure the deployment on a Kafka: kafka://HOST:PORT."),
]
RedisUrl = Annotated[
    str, typer.Option(metavar="URL", help="An empty Redis database, with --kafka; emptied after.")
]
DEFAULT_REDIS = "redis://127.0.0.1:6379/0"


@app.command()
def recommend(
    items: Items = LARGE,
    seconds: Seconds = 20,
    rate: Annotated[int, typer.Option(min=1, help="Requests a second, in the last row.")] = 300,
    replicas: Annotated[
        int, typer.Option(min=0, help="How many `riverrun serve` answer beside `riverrun up`.")
    ] = 0,
    fields: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help="What each request has beside its user, such as "
            '\'{"diversity": 0.3, "exploration": 0.1}\'.',
        ),
    ] = "{}",
    home: ShopHome = None,
) -> None:
    """Latency and throughput of /v1/recommend at 1, 8 and 32 connections, and at a steady rate.

    All processes run on this machine. The load comes from wrk (`apt-get install wrk`), each
    request for a random known user, for 20 items, re-ranked as `--fields` asks for. The steady
    rate is that of many clients, each of whom asks every two seconds or so, whether others wait or
    not.
    """
    from riverrun.bench.recommend import Load, measure, request_fields, require_wrk
    from riverrun.bench.server import running_server, wait_until_embedded

    more = request_fields(fields)
    require_wrk()
    table = Table(
        "load", "requests/s", "p50 ms", "p99 ms", "failed", title=escape(f"/v1/recommend {{{more}")
    )
    loads = [Load(1), Load(8), Load(32), Load.steady(rate)]
    folder = home or default_home(items)
    with ExitStack() as stack:
        server, users, item_ids = stack.enter_context(trained_shop(home, items))
        file = write_users(folder, users)
        say("waiting until the users of the import are embedded")
        wait_until_embedded(server.url)
        servers = [running_server(folder, "serve") for _ in range(replicas)]
        urls = [server.url, *(stack.enter_context(each).url for each in servers)]
        measure(urls, file, Load(8), 5, more)  # the first requests compile and fill caches
        for load in loads:
            result = measure(urls, file, load, seconds, more)
            pace = f"{load.rate} requests/s asked" if load.rate else "as fast as answered"
            table.add_row(
                f"{load.connections} connections, {pace}",
                f"{result.per_second:.0f}",
                f"{result.p50_ms:.1f}",
                f"{result.p99_ms:.1f}",
                str(result.failed),
            )
    print_figures(table, len(item_ids))


@app.command()
def freshness(
    items: Items = SMALL,
    rate: Annotated[
        list[int] | None,
        typer.Option(
            help="Events a second beside the measurement; may be repeated.  [default: 0 and 500, "
            "with --kafka 0, 1000 and 5000]"
        ),
    ] = None,
    load_users: Annotated[
        int, typer.Option("--users", min=1, help="Whose the events beside are.")
    ] = 20_000,
    samples: Annotated[int, typer.Option(min=10, help="Clicks, and new items.")] = 200,
    kafka: KafkaUrl = None,
    redis: RedisUrl = DEFAULT_REDIS,
    replicas: Annotated[int, typer.Option(min=1, help="Servers, with --kafka.")] = 2,
    home: ShopHome = None,
) -> None:
    """From the sending of an event to the first list that reflects it, idle and loaded.

    The event is a view of the first item of a user's list. The clock runs from before it is sent
    until the first list, asked for with `exclude_seen`, from which that item is gone.

    Also from the sending of a new item to the moment it can be retrieved. Embedded,
    events are posted to the API; with --kafka they are produced to its topics, one
    `riverrun stream` learns from them, and all servers must know the new item.
    """
    from riverrun.bench.freshness import event_freshness, item_freshness
    from riverrun.bench.kafka_shop import running_replicas, running_worker
    from riverrun.bench.senders import HttpSender, KafkaSender, Sender, SteadyLoad

    table = Table("", "events/s beside", "samples", "p50 ms", "p99 ms", "never", title="freshness")
    with ExitStack() as stack:
        make: Callable[[], Sender]
        if kafka is None:
            folder = home or default_home(items)
            copy = stack.enter_context(copied_shop(folder, items))
            server, users, item_ids = stack.enter_context(trained_shop(copy, items))
            make, urls = partial(HttpSender, server.url), [server.url]
            learner = server.url
        else:
            shop, users, item_ids = stack.enter_context(
                trained_kafka_shop(home, items, kafka, redis)
            )
            worker = stack.enter_context(running_worker(shop))
            learner = worker.url
            servers = stack.enter_context(running_replicas(shop, replicas))
            make, urls = partial(KafkaSender, shop.connection), [each.url for each in servers]
        load = partial(SteadyLoad, make, _people(load_users), item_ids)
        results = [
            event_freshness(
                make, urls[0], users, load(each), samples=samples, seed=7, learner=learner
            )
            for each in rate or ([0, 500] if kafka is None else [0, 1_000, 5_000])
        ]
        results.append(item_freshness(make, urls, samples=samples))
    for result in results:
        table.add_row(
            result.what,
            f"{result.rate:.0f}",
            str(result.samples),
            f"{result.p50_ms:.0f}",
            f"{result.p99_ms:.0f}",
            str(result.lost),
        )
    print_figures(table, len(item_ids))
    for shortfall in filter(None, (result.shortfall for result in results)):
        out.print(shortfall)


@app.command()
def stream(
    kafka: Annotated[
        str, typer.Option(metavar="URL", help="A Kafka: kafka://HOST:PORT.")
    ] = "kafka://127.0.0.1:9092",
    redis: RedisUrl = DEFAULT_REDIS,
    events: Annotated[int, typer.Option(min=1_000, help="How many go through.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Whose they are.")] = 20_000,
    partitions: Annotated[int, typer.Option(min=1, help="Of the topics.")] = 4,
    items: Items = SMALL,
    home: ShopHome = None,
) -> None:
    """Events a second of one `riverrun stream`: Kafka, state, embeddings, Redis, commit.

    Beside it what kafka-python alone does, and where the worker's time goes.
    """
    from riverrun.bench.stream import measure_stream

    with trained_kafka_shop(home, items, kafka, redis, partitions) as (shop, _, item_ids):
        result = measure_stream(shop, _people(users), item_ids, events=events, seed=7)
    table = Table("", "events/s", title=f"{events:,} events of {users:,} users")
    table.add_row("kafka-python alone, produced", f"{result.produced_per_second:,.0f}")
    table.add_row("kafka-python alone, consumed", f"{result.consumed_per_second:,.0f}")
    table.add_row("riverrun stream, the whole path", f"{result.applied_per_second:,.0f}")
    print_figures(table, len(item_ids))
    out.print(f"CPU of the worker: {result.cpu_seconds:.2f} s for 10,000 events")
    shares = Table("stage", "share of time", title="where the worker's threads spend it")
    for stage, share in result.stages:
        shares.add_row(stage, f"{share:.0%}")
    out.print(shares)


@app.command()
def swap(
    items: Items = SMALL,
    rate: Annotated[int, typer.Option(min=1, help="Requests a second.")] = 200,
    swaps: Annotated[int, typer.Option(min=1, help="How often another model is promoted.")] = 10,
    home: ShopHome = None,
) -> None:
    """Failed requests and latency while another model begins to serve, beside those outside.

    Two trained models are promoted in turn while wrk (`apt-get install wrk`) asks at a steady rate.
    A swap lasts from the promotion until the new model answers: its loading, its warming and the
    items that it catches up with are all in it. Latency counts from the moment that a request was
    due, also where the answer before it was late.
    """
    from riverrun.bench.recommend import require_wrk
    from riverrun.bench.swap import measure_swaps

    require_wrk()
    folder = home or default_home(items)
    versions = prepare_versions(folder, items)
    with trained_shop(folder, items) as (server, users, item_ids):
        file = write_users(folder, users)
        result = measure_swaps(server, folder, file, versions, swaps=swaps, rate=rate, stage=say)
    pace = f"{result.per_second:.0f} of {rate} requests/s"
    title = f"{swaps} swaps at {pace}; {result.failed} failed"
    table = Table("", "requests", "p50 ms", "p99 ms", title=title)
    for what, answers in (("during swaps", result.during), ("outside", result.outside)):
        table.add_row(
            what, f"{answers.requests:,}", f"{answers.p50_ms:.1f}", f"{answers.p99_ms:.1f}"
        )
    print_figures(table, len(item_ids))
    seconds = sorted(result.swap_seconds)
    out.print(f"a swap took {seconds[len(seconds) // 2]:.1f} s, at most {seconds[-1]:.1f} s")
    memory = [f"{each / 2**20:,.0f}" for each in result.resident_bytes]
    out.print(f"memory of the server in MiB, before and after each swap: {', '.join(memory)}")


@app.command()
def memory(items: Items = LARGE, home: ShopHome = None) -> None:
    """Resident memory of `riverrun up`, once it is ready and after some requests."""
    import httpx

    table = Table("", "MiB", title="memory of riverrun up")
    with trained_shop(home, items) as (server, users, item_ids):
        table.add_row("ready", f"{server.resident_bytes / 2**20:,.0f}")
        with httpx.Client(base_url=server.url, timeout=30) as client:
            for user in users[:1000]:
                client.post("/v1/recommend", json={"user_id": user}).raise_for_status()
        table.add_row("after 1,000 requests", f"{server.resident_bytes / 2**20:,.0f}")
        table.add_row("peak, start included", f"{server.peak_resident_bytes / 2**20:,.0f}")
    print_figures(table, len(item_ids))


@app.command()
def index(
    items: Items = LARGE,
    churn: Annotated[float, typer.Option(min=0, max=0.4, help="Share of items replaced.")] = 0.2,
    home: ShopHome = None,
) -> None:
    """Recall of the live ScaNN index against exact search, its speed, and what upserts cost.

    The candidates are those of the shop's bundle, the queries its users' histories.
    """
    from riverrun.bench.index import RECALL_AT, measure_index
    from riverrun.bench.shop import trained_embeddings
    from serving.settings import ServingSettings

    folder = home or default_home(items)
    prepare_shop(folder, items)
    candidate_ids, candidates, queries = trained_embeddings(folder, users=1_000, seed=7)
    pool = ServingSettings().pool_size
    result = measure_index(
        candidate_ids, candidates, queries, pool=pool, churn=churn, seed=7, stage=say
    )
    table = Table("", "", title="the live index")
    for what, figure in (
        ("built in", f"{result.build_seconds:.1f} s"),
        (f"recall@{RECALL_AT} against exact search, {pool} asked for", f"{result.recall:.4f}"),
        ("search, p50 / p99", f"{result.idle.p50_ms:.2f} / {result.idle.p99_ms:.2f} ms"),
        ("upserts a second", f"{result.upserts_per_second:,.0f}"),
        (
            f"search beside {result.upserts_beside_searches:,.0f} upserts/s, p50 / p99",
            f"{result.beside_upserts.p50_ms:.2f} / {result.beside_upserts.p99_ms:.2f} ms",
        ),
        (
            f"recall@{RECALL_AT} after {result.churn:.0%} of the items were replaced",
            f"{result.recall_after_churn:.4f}",
        ),
        ("rebalanced in the background in", f"{result.rebuild_seconds:.1f} s"),
        (f"recall@{RECALL_AT} after it", f"{result.recall_after_rebuild:.4f}"),
    ):
        table.add_row(what, figure)
    print_figures(table, len(candidate_ids))


@app.command()
def reranking(
    items: Items = SMALL,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Places of a list.")] = 20,
    home: ShopHome = None,
) -> None:
    """Time that each part of re-ranking takes a request, for 100, 300 and 500 candidates.

    The candidates are those of the shop's bundle for histories of its users.
    """
    from datetime import UTC, datetime

    from riverrun.bench.reranking import measure_reranking
    from riverrun.bench.shop import drawn_histories
    from serving.catalogue import Catalogue
    from serving.reload import open_current

    folder = home or default_home(items)
    prepare_shop(folder, items)
    catalogue = Catalogue()
    model = open_current(folder / "bundles", catalogue).current
    histories = drawn_histories(folder, users=100, seed=7)
    table = Table("", "candidates", "p50 ms", "p99 ms", title=f"re-ranking, lists of {limit}")
    for result in measure_reranking(
        model, catalogue, histories, sizes=(100, 300, 500), limit=limit, at=datetime.now(UTC)
    ):
        table.add_row(
            result.function,
            str(result.candidates),
            f"{result.p50_ms:.2f}",
            f"{result.p99_ms:.2f}",
        )
    print_figures(table, len(known_ids(folder)[1]))


app.command()(serving)


def _people(count: int) -> list[str]:
    """Return ids of users that no shop knows."""
    return [f"bench-{number}" for number in range(count)]
