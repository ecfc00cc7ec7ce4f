"""`riverrun bench serving`: TensorFlow Serving's `Predict` on a real server."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from riverrun.cli.bench_figures import rows_as_measured
from riverrun.cli.bench_making import prepare_shop
from riverrun.cli.bench_options import SMALL, Items, Seconds, ShopHome
from riverrun.cli.bench_shops import default_home, known_ids

if TYPE_CHECKING:
    from riverrun.bench.serving import Transport

COLUMNS = {"": 11, "load": 16, "batch": 5, "calls/s": 8, "p50 ms": 8, "p99 ms": 8, "failed": 6}


def serving(items: Items = SMALL, seconds: Seconds = 5, home: ShopHome = None) -> None:
    """TensorFlow Serving's `Predict` over gRPC and REST, with micro-batching and without.

    Query encoding and top-k for users' histories, by 1, 8 and 64 callers, and at 200 calls a
    second. Each row is printed once it is measured; Ctrl-C keeps those that are there.
    """
    from riverrun.bench.serving import CallLoad, Question, Transport, measure_calls, request_bodies
    from riverrun.bench.shop import drawn_histories
    from serving.settings import BatchingSettings

    folder = home or default_home(items)
    prepare_shop(folder, items)
    histories = drawn_histories(folder, users=500, seed=7)
    batches = (1, BatchingSettings().max_rows)
    loads = [CallLoad(1), CallLoad(8), CallLoad(64), CallLoad(8, rate=200)]
    total = len(batches) * len(Question) * len(Transport) * len(loads)
    num_items = len(known_ids(folder)[1])
    with rows_as_measured(COLUMNS, total, num_items) as (measuring, add_row):
        for max_rows in batches:
            measuring(f"starting riverrun up, batches of up to {max_rows}")
            with _server(folder, max_rows) as addresses:
                for question, transport in product(Question, Transport):
                    what = f"{question.name.replace('_', '-').lower()}, {transport.value}"
                    bodies = request_bodies(histories, question, transport)
                    address = addresses[transport]
                    measure_calls(address, transport, bodies, CallLoad(8), 1)  # fills caches
                    for load in loads:
                        by = f"{load.callers} callers" + (f", {load.rate}/s" if load.rate else "")
                        measuring(f"{what}, {by}, batches of up to {max_rows}")
                        result = measure_calls(address, transport, bodies, load, seconds)
                        add_row(
                            what,
                            by,
                            f"≤ {max_rows}",
                            f"{result.per_second:.0f}",
                            f"{result.p50_ms:.1f}",
                            f"{result.p99_ms:.1f}",
                            str(result.failed),
                        )


@contextmanager
def _server(folder: Path, max_rows: int) -> "Iterator[dict[Transport, str]]":
    """Start a server with micro-batches of up to `max_rows`; give its addresses."""
    from riverrun.bench.server import free_port, running_server
    from riverrun.bench.serving import Transport, host_and_port

    port = free_port()
    environment = {
        "RIVERRUN_GRPC__PORT": str(port),
        "RIVERRUN_SERVING__BATCHING__MAX_ROWS": str(max_rows),
    }
    with running_server(folder, environment=environment) as server:
        yield {
            Transport.GRPC: host_and_port(server.url, port),
            Transport.REST: server.url.removeprefix("http://"),
        }
