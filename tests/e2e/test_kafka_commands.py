"""The real commands on a Kafka and a Redis: a replica that is killed, a worker that is stopped."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import numpy as np
import pytest

from feature_repo.event_log import EVENTS, ITEM_EMBEDDINGS, Message
from feature_repo.online_features import UserEmbedding
from feature_repo.open_online_features import open_online_features
from feature_repo.schema import User
from riverrun.bench.server import free_port, metric_totals
from riverrun.settings import load_settings
from serving.bundle import Manifest
from serving.item_changelog import ItemDeletion, ItemUpsert, encode_change
from serving.published_bundles import current_version
from streaming.redis_state import RedisState
from streaming.worker import TOPICS
from tests.support.forked_command import stopped
from tests.support.kafka_server import KafkaServer
from tests.support.kafka_stream import KafkaShop, wait_until
from tests.support.redis_server import database
from tests.support.stream import event
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.timeout(600),
]

STOP_SECONDS = 10.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of the module's own, to be stopped and started again."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def shop(tmp_path: Path, broker: KafkaServer, redis_url: str) -> Iterator[KafkaShop]:
    shop = KafkaShop(
        tmp_path / "shop", broker.address, database(redis_url, 2),
        max_history=128, timeout_seconds=2.0,
    )  # fmt: skip
    yield shop
    shop.close()


def answer(client: httpx.Client, path: str) -> int:
    """Return the status of the answer, and 0 where there is none."""
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return 0


def answers(clients: Sequence[httpx.Client], path: str) -> list[int]:
    return [answer(client, path) for client in clients]


def told(port: str, metric: str, label: str) -> dict[str, float]:
    """Return what the worker says of a metric by label, and nothing before it serves any."""
    try:
        return metric_totals(f"http://127.0.0.1:{port}", metric, label)
    except httpx.TransportError:
        return {}


def test_a_replica_that_was_killed_is_ready_once_it_has_caught_up(
    shop: KafkaShop, broker: KafkaServer
) -> None:
    bundle = build_tiny_bundle(load_settings(shop.settings_file).bundles)
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_bytes())
    ports = [str(free_port()) for _ in range(2)]
    (new,) = tiny_items(1, start=60)
    vector = np.full(manifest.dimension, manifest.dimension**-0.5, np.float32)
    change = ItemUpsert(new, vector, manifest.version)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30))
            for port in ports
        ]
        client = clients[0]
        with shop.started("serve", "--port", ports[0]):
            wait_until(lambda: answer(client, "/readyz") == 200, "the replica is not ready")
            assert answer(client, "/v1/items/i60") == 404
        shop.log.append(ITEM_EMBEDDINGS, [encode_change(change)])
        with shop.disconnected():
            broker.stop()
            # It comes back, and another beside it.
            for port in ports:
                stack.enter_context(shop.started("serve", "--port", port))
            wait_until(lambda: 0 not in answers(clients, "/readyz"), "a replica does not answer")
            assert answers(clients, "/readyz") == [503, 503]
            broker.start()
            ready = [200, 200]
            wait_until(lambda: answers(clients, "/readyz") == ready, "they are not ready again")
            assert answers(clients, "/v1/items/i60") == [200, 200]
            assert answers(clients, "/v1/items/i60/similar") == [200, 200]
        shop.log.append(ITEM_EMBEDDINGS, [encode_change(ItemDeletion("i60"))])
        gone = [404, 404]
        wait_until(lambda: answers(clients, "/v1/items/i60") == gone, "the item is there still")


def test_a_worker_that_is_told_to_stop_stops_in_good_order(shop: KafkaShop) -> None:
    build_tiny_bundle(load_settings(shop.settings_file).bundles)
    events = [event(n, f"u{n % 50}", f"i{n % 60}", n % 600) for n in range(6_000)]
    shop.log.append(
        EVENTS, [Message(each.user_id, each.model_dump_json().encode()) for each in events]
    )
    with shop.started("stream") as worker:
        wait_until(lambda: shop.reached() > 0, "the worker commits nothing")
        assert stopped(worker, signal.SIGTERM, STOP_SECONDS) == 0, shop.output()
    # What was read is pushed and archived.
    with closing(RedisState(shop.redis_url)) as state:
        assert state.count_unpushed() == 0
    assert sum(shop.archive.positions.read().values()) > 0


def test_what_is_imported_beside_a_worker_is_learned_once_another_starts(shop: KafkaShop) -> None:
    build_tiny_bundle(load_settings(shop.settings_file).bundles)
    events = [event(n, f"u{n % 5}", f"i{n % 60}", n) for n in range(400)]
    port = str(free_port())
    with closing(RedisState(shop.redis_url)) as state:

        def learned() -> int:
            return sum(len(each.events) for some in state.all_histories() for each in some)

        with shop.started("stream", "--metrics-port", port) as first:
            for each in events[:20]:
                message = Message(each.user_id, each.model_dump_json().encode())
                shop.log.append(EVENTS, [message])
            wait_until(lambda: learned() == 20, "the worker learns nothing")
            wait_until(
                lambda: told(port, "riverrun_stream_records_total", "result").get("applied") == 20,
                "the worker does not say how many records it has applied",
            )
            wait_until(
                lambda: told(port, "riverrun_stream_lag", "topic") == dict.fromkeys(TOPICS, 0.0),
                "the worker does not say that it is behind by nothing",
            )
            shop.archive.write_users("import-users", [User(user_id="u1", attributes={"age": 5.0})])
            shop.archive.events.write("import-events", events[20:])
            with shop.started("stream") as second:
                wait_until(lambda: learned() == 400, "what was imported is not learned")
                online = open_online_features(shop.redis_url, shop.home / "registry.db")
                with closing(online):
                    wait_until(
                        lambda: online.get(User, ["u1"]) != [None], "the profile is not known"
                    )
                assert stopped(second, signal.SIGTERM, STOP_SECONDS) == 0, shop.output()
            assert stopped(first, signal.SIGTERM, STOP_SECONDS) == 0, shop.output()
        assert learned() == 400
        counted = sum(sum(each.week) for some in state.all_statistics() for each in some)
        assert 390 < counted <= 400  # each once, and decayed by some hours


def test_a_worker_takes_the_next_model_and_embeds_whom_it_knows_anew(shop: KafkaShop) -> None:
    bundles = load_settings(shop.settings_file).bundles
    build_tiny_bundle(bundles)
    users = [f"u{n}" for n in range(5)]
    events = [event(n, user, f"i{n}", n) for n, user in enumerate(users)]

    def embedded_by() -> set[str | None]:
        found = online.get(UserEmbedding, users)
        return {None if each is None else each.bundle_version for each in found}

    with (
        closing(open_online_features(shop.redis_url, shop.home / "registry.db")) as online,
        shop.started("stream") as worker,
    ):
        shop.log.append(
            EVENTS, [Message(each.user_id, each.model_dump_json().encode()) for each in events]
        )
        before = {current_version(bundles)}
        wait_until(lambda: embedded_by() == before, "the users are not embedded")
        build_tiny_bundle(bundles, seed=1)
        after = {current_version(bundles)}
        assert after != before
        wait_until(lambda: embedded_by() == after, "they are embedded by the former model")
        assert stopped(worker, signal.SIGTERM, STOP_SECONDS) == 0, shop.output()
