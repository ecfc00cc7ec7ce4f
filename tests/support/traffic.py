"""What a shop sends: new, repeated and late events, changes of items and users, and rubbish."""

import random

from feature_repo.event_log import EVENTS, ITEMS, USERS
from tests.support.stream import event, item, user

USERS_IN_SHOP = 12
ITEMS_IN_SHOP = 15

Record = tuple[str, str, bytes | None]


def make_requests(count: int, seed: int) -> list[list[Record]]:
    """Requests of one to eight records. Nobody asks to be erased."""
    draw = random.Random(seed)
    requests: list[list[Record]] = []
    sent: list[Record] = []
    for number in range(count):
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


def with_erasures(requests: list[list[Record]], seed: int) -> list[list[Record]]:
    """Put a request to erase a user, alone, in the place of every sixtieth.

    For a repeated request may not repeat what came before the erasure.
    """
    draw = random.Random(seed)
    erasure = [[(USERS, f"u{draw.randrange(USERS_IN_SHOP)}", None)] for _ in requests]
    return [
        erasure[number] if number % 60 == 59 else request for number, request in enumerate(requests)
    ]
