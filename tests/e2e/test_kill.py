"""kill -9 at random moments: nothing acknowledged is lost, and no trace of the kills is left."""

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEM_EMBEDDINGS, ITEMS, USERS
from feature_repo.history import UserHistory
from feature_repo.online_features import ItemEmbedding, ItemStatistics, UserEmbedding
from feature_repo.open_online_features import open_online_features
from feature_repo.schema import Item, User
from streaming.dead_letters import dead_letters
from streaming.sqlite_state import SqliteState
from tests.support.stream import comparable, event, item, user
from tests.support.stream_process import FINISH, StreamProcess, log_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 20260102
KILLS = 24
USERS_IN_SHOP = 12
ITEMS_IN_SHOP = 15
VIEWS = (UserHistory, UserEmbedding, User, Item, ItemEmbedding, ItemStatistics)

Record = tuple[str, str, bytes | None]


def make_requests(count: int) -> list[list[Record]]:
    """Requests of new, repeated and late events, changes of items and users, and rubbish."""
    draw = random.Random(SEED)
    requests: list[list[Record]] = []
    sent: list[Record] = []
    for number in range(count):
        if number % 60 == 59:  # alone, for a repeated request may not repeat what came before it
            requests.append([(USERS, f"u{draw.randrange(USERS_IN_SHOP)}", None)])
            continue
        request: list[Record] = []
        for _ in range(draw.randint(1, 8)):
            chance = draw.random()
            if chance < 0.15 and sent:
                request.append(draw.choice(sent[-200:]))
                continue
            if chance < 0.25:
                which = draw.randrange(ITEMS_IN_SHOP)
                made = item(which, draw.choice(["kettle", "lamp", "tent"]))
                gone = draw.random() < 0.2
                record = (ITEMS, made.item_id, None if gone else made.model_dump_json().encode())
            elif chance < 0.3:
                person = user(draw.randrange(USERS_IN_SHOP), draw.randint(18, 80))
                record = (USERS, person.user_id, person.model_dump_json().encode())
            elif chance < 0.33:
                record = (EVENTS, "u0", draw.choice([b"\xff", b"{}", b"[]"]))
            else:
                late = draw.random() < 0.2
                happened = event(
                    len(sent) + 1_000 * number,
                    f"u{draw.randrange(USERS_IN_SHOP)}",
                    f"i{draw.randrange(ITEMS_IN_SHOP)}",
                    number - (draw.uniform(0, 60) if late else 0.0),
                    draw.choice(["view", "cart", "purchase"]),
                )
                record = (EVENTS, happened.user_id, happened.model_dump_json().encode())
                sent.append(record)
            request.append(record)
        requests.append(request)
    return requests


def run(home: Path, requests: list[list[Record]], kills: int) -> None:
    """Send every request until it is acknowledged, killing the process `kills` times."""
    home.mkdir()
    draw = random.Random(SEED + 1)
    # The moments of the kills are spread over the requests; each comes some ms after its request.
    doomed = set(draw.sample(range(len(requests)), kills))
    stream = StreamProcess(home)
    waiting = True
    killed = 0
    position = 0
    while position < len(requests):
        timer = None
        try:
            if waiting:
                assert stream.pipe.recv() == "ready"
                waiting = False
            if position in doomed:
                doomed.discard(position)
                timer = threading.Timer(draw.uniform(0, 0.05), stream.kill)
                timer.start()
            request = requests[position]
            assert stream.ask(request) == len(request)
            position += 1
            if timer is not None:
                timer.join()
                stream.pipe.recv()  # acknowledged, then killed: it must not be lost
        except (EOFError, OSError):
            if timer is not None:
                timer.join()
            stream.join()
            killed += 1
            stream = StreamProcess(home)
            while draw.random() < 0.3:
                time.sleep(draw.uniform(0, 0.4))  # while it recovers from the last kill
                stream.kill()
                stream.join()
                killed += 1
                stream = StreamProcess(home)
            waiting = True
    if waiting:
        assert stream.pipe.recv() == "ready"
    assert stream.ask(FINISH) == "finished"
    stream.join()
    assert killed >= kills


def final_state(home: Path) -> dict[str, Any]:
    online = open_online_features(f"sqlite://{home / 'online.sqlite'}", home / "registry.db")
    checkpoint = SqliteState(home / "checkpoint.sqlite")
    archive = Archive(home / "archive")
    log = log_of(home)
    keys = [f"u{n}" for n in range(USERS_IN_SHOP)] + [f"i{n}" for n in range(ITEMS_IN_SHOP)]
    changelog = {r.key: r.value for r in log.consumer(None, [ITEM_EMBEDDINGS]).poll(100_000, 0.0)}
    state: dict[str, Any] = {
        "histories": {each.user_id: each for some in checkpoint.all_histories() for each in some},
        "statistics": {each.item_id: each for some in checkpoint.all_statistics() for each in some},
        "unpushed": checkpoint.count_unpushed(),
        "changelog": changelog,
        "events": archive.scan_events().sort("timestamp", "event_id").collect().rows(),
        "items": archive.items(),
        "users": archive.users(),
        "dead": sorted(letter.record.value or b"" for letter in dead_letters(log)),
    }
    for view in VIEWS:
        records = online.get(view, keys)
        state[view.__name__] = [None if r is None else comparable(r) for r in records]
    checkpoint.close()
    online.close()
    log.close()
    return state


def test_killed_at_random_moments_it_ends_as_if_never_killed(tmp_path: Path) -> None:
    requests = make_requests(400)
    run(tmp_path / "undisturbed", requests, 0)
    run(tmp_path / "killed", requests, KILLS)
    expected, got = final_state(tmp_path / "undisturbed"), final_state(tmp_path / "killed")
    # A request that was killed before its acknowledgement is sent again, rubbish included.
    assert set(got.pop("dead")) == set(expected.pop("dead"))
    for part, value in expected.items():
        assert got[part] == value, part
    assert expected["unpushed"] == 0
    assert expected["histories"]
    assert expected["events"]
