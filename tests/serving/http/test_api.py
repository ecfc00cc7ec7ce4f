"""API v1 as a client sees it, over a whole shop in this process."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

APPLIED = {"wait": "applied"}


def recommended(client: TestClient, **body: Any) -> list[str]:
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def post_events(client: TestClient, *events: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/events", params=APPLIED, json=list(events))
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


def trending(client: TestClient) -> list[str]:
    answer = client.get("/v1/trending", params={"limit": 1}).json()
    return [item["item_id"] for item in answer["items"]]


def view(user_id: str, item_id: str, **fields: Any) -> dict[str, Any]:
    return {"user_id": user_id, "item_id": item_id, "event_type": "view", **fields}


@pytest.fixture
def user_id() -> str:
    return f"user-{uuid4().hex}"


def test_an_event_counts_in_the_next_list(client: TestClient, user_id: str) -> None:
    post_events(client, *(view(user_id, item) for item in ("i1", "i6", "i11")))
    assert [event["item_id"] for event in client.get(f"/v1/users/{user_id}").json()["history"]] == [
        "i1",
        "i6",
        "i11",
    ]
    kettles = client.get("/v1/items/i1").json()["categories"]
    first = recommended(client, user_id=user_id, limit=3, exclude_seen=True)
    assert not {"i1", "i6", "i11"} & set(first)
    for item_id in first:
        assert client.get(f"/v1/items/{item_id}").json()["categories"][0] == kettles[0]


def test_one_event_may_come_without_an_array_and_twice(client: TestClient, user_id: str) -> None:
    event = view(user_id, "i1", event_id=f"once-{user_id}")
    for _ in range(2):
        answer = client.post("/v1/events", params=APPLIED, json=event)
        assert answer.json()["event_ids"] == [event["event_id"]]
    assert post_events(client, event, event)["duplicates"] == 1
    assert len(client.get(f"/v1/users/{user_id}").json()["history"]) == 1


def test_two_users_may_send_events_of_one_id(client: TestClient, user_id: str) -> None:
    users = [user_id, f"{user_id}-2"]
    events = [view(each, "i1", event_id=f"once-{user_id}") for each in users]
    answer = post_events(client, *events)
    assert (answer["accepted"], answer["duplicates"]) == (2, 0)
    for each in users:
        assert len(client.get(f"/v1/users/{each}").json()["history"]) == 1


def test_a_bad_record_is_named_and_the_others_are_accepted(
    client: TestClient, user_id: str
) -> None:
    far = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    answer = post_events(
        client,
        view(user_id, "i1"),
        view(user_id, "i2", timestamp="yesterday"),
        view(user_id, "i3", timestamp=far),
        view(user_id, "i4", colour="red"),
    )
    assert answer["accepted"] == 1
    errors = {each["index"]: each["error"] for each in answer["rejected"]}
    assert {index: error["field"] for index, error in errors.items()} == {
        1: "timestamp",
        2: "timestamp",
        3: "colour",
    }
    assert errors[1]["value"] == "yesterday"


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
@pytest.mark.parametrize("path", ["items", "users"])
def test_an_attribute_of_no_kind_has_one_error(client: TestClient, path: str, value: Any) -> None:
    record = {f"{path.removesuffix('s')}_id": "q", "attributes": {"x": value, "y": 1.5}}
    answer = client.post(f"/v1/{path}", json=record)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "0.attributes.x"
    assert error["message"] == "must be a text, a number, or true or false."


def test_a_session_counts_for_one_answer(client: TestClient, user_id: str) -> None:
    session = [{"item_id": "i1", "event_type": "view"}, {"item_id": "i6", "event_type": "view"}]
    with_session = recommended(client, user_id=user_id, session=session, limit=10)
    assert with_session != recommended(client, user_id=user_id, limit=10)
    assert client.get(f"/v1/users/{user_id}").status_code == 404


def test_lists_obey_filters_exclusions_and_pages(client: TestClient, user_id: str) -> None:
    post_events(client, view(user_id, "i1"), view(user_id, "i2", event_type="purchase"))
    everything = recommended(client, user_id=user_id, limit=40)
    assert len(set(everything)) == 40
    pages = [recommended(client, user_id=user_id, limit=10, offset=at) for at in (0, 10, 20, 30)]
    assert [item for page in pages for item in page] == everything
    cheap = recommended(client, user_id=user_id, filter="price < 20 AND brand = 'acme'", limit=40)
    assert cheap
    for item_id in cheap:
        item = client.get(f"/v1/items/{item_id}").json()
        assert item["price"] < 20
        assert item["brand"] == "acme"
    kept = recommended(
        client, user_id=user_id, exclude_item_ids=everything[:5], exclude_seen=["purchase"]
    )
    assert not {*everything[:5], "i2"} & set(kept)


def test_an_answer_explains_itself(client: TestClient, user_id: str) -> None:
    post_events(client, view(user_id, "i1"))
    body = {"user_id": user_id, "explain": True, "limit": 3, "exclude_seen": True}
    answer = client.post("/v1/recommend", json=body).json()
    assert answer["request_id"]
    assert answer["model_version"] == client.get("/readyz").json()["model_version"]
    assert [item["score"] for item in answer["items"]] == sorted(
        (item["score"] for item in answer["items"]), reverse=True
    )
    assert all(item["sources"] for item in answer["items"])
    assert "because you viewed" in answer["items"][0]["reason"]
    explanation = answer["items"][0]["explanation"]
    assert [each["item_id"] for each in explanation["history"]] == ["i1"]
    assert explanation["history"][0]["event_type"] == "view"
    # The bundle has no ranker.
    assert explanation["features"] == []
    plain = client.post("/v1/recommend", json=body | {"explain": False}).json()
    assert all(item.keys() == {"item_id", "score", "sources"} for item in plain["items"])


def test_a_source_can_be_asked_alone(client: TestClient, user_id: str) -> None:
    post_events(client, view(user_id, "i1"))
    body = {"user_id": user_id, "sources": ["buy_again"]}
    items = client.post("/v1/recommend", json=body).json()["items"]
    assert [(item["item_id"], item["sources"]) for item in items] == [("i1", ["buy_again"])]
    refused = client.post("/v1/recommend", json=body | {"sources": ["ease", "easy"]})
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert (error["field"], error["value"]) == ("sources.1", "easy")


def test_what_people_do_with_a_list_is_counted_for_its_sources(
    client: TestClient, user_id: str
) -> None:
    def total(series: str) -> float:
        lines = re.findall(rf"^riverrun_source_{series}.* (.*)$", metrics(), re.MULTILINE)
        return sum(map(float, lines))

    def metrics() -> str:
        return client.get("/metrics").text

    post_events(client, view(user_id, "i1"))
    places, acts = total("places_total"), total("acts_total")
    answer = client.post("/v1/recommend", json={"user_id": user_id, "limit": 7}).json()
    assert total("places_total") == pytest.approx(places + 7)
    shown, request_id = answer["items"][0]["item_id"], answer["request_id"]
    for _ in range(2):
        post_events(client, view(user_id, shown, request_id=request_id))
    post_events(client, view(user_id, "not-shown", request_id=request_id))
    assert total("acts_total") == pytest.approx(acts + 1)


def test_an_item_comes_is_changed_and_goes(client: TestClient) -> None:
    item = {"item_id": "späť/1 ☂", "title": "kettles kettles of copper", "price": 12.5}
    assert client.post("/v1/items", params=APPLIED, json=item).json()["accepted"] == 1
    path = "/v1/items/sp%C3%A4%C5%A5/1%20%E2%98%82"
    assert client.get(path).json()["price"] == 12.5
    similar = client.get(f"{path}/similar", params={"limit": 3}).json()["items"]
    first = client.get(f"/v1/items/{similar[0]['item_id']}").json()
    assert first["categories"][0] == "kettles"
    client.post("/v1/items", params=APPLIED, json=item | {"price": 9.0, "available": False})
    assert client.get(path).json()["price"] == 9.0
    everything = recommended(client, limit=500)
    assert everything
    assert item["item_id"] not in everything
    assert client.delete(path, params=APPLIED).status_code == 202
    assert client.get(path).status_code == 404


def test_who_waits_sees_their_own_change_though_another_was_on_its_way(client: TestClient) -> None:
    path, item = "/v1/items/contested", {"item_id": "contested", "title": "kettle"}
    user_path, user = "/v1/users/contested", {"user_id": "contested"}
    for number in range(10):
        client.post("/v1/items", json=item | {"price": 1.0})
        client.post("/v1/items", params=APPLIED, json=item | {"price": 2.0 + number})
        assert client.get(path).json()["price"] == 2.0 + number
        client.post("/v1/items", json=item)
        client.delete(path, params=APPLIED)
        assert client.get(path).status_code == 404
        client.post("/v1/users", json=user | {"attributes": {"n": 0}})
        client.post("/v1/users", params=APPLIED, json=user | {"attributes": {"n": number}})
        assert client.get(user_path).json()["attributes"] == {"n": number}
        client.post("/v1/users", json=user)
        client.delete(user_path, params=APPLIED)
        assert client.get(user_path).status_code == 404


def test_a_record_that_no_log_would_take_is_rejected_and_the_others_are_not(
    client: TestClient, user_id: str
) -> None:
    long = view(user_id, "i1", context={"note": "x" * 2**19})
    answer = client.post("/v1/events", json=[view(user_id, "i6"), long]).json()
    assert answer["accepted"] == 1
    (rejected,) = answer["rejected"]
    assert rejected["index"] == 1
    assert rejected["error"]["message"] == "must have at most 524288 bytes."
    assert client.post("/v1/events", json=long).status_code == 422


def test_what_ends_like_a_list_has_an_address_or_is_refused(client: TestClient) -> None:
    """Of an item, that would be the address of a list; nobody is refused their erasure."""
    refused = client.post("/v1/items", json={"item_id": "a/similar", "title": "kettle"})
    assert refused.status_code == 422
    assert "must not end in '/similar'" in refused.json()["errors"][0]["message"]
    post_events(client, view("a/similar", "i1"))
    path = "/v1/users/a%2Fsimilar"
    assert [event["item_id"] for event in client.get(path).json()["history"]] == ["i1"]
    assert client.delete(path, params=APPLIED).status_code == 202
    assert client.get(path).status_code == 404


def test_a_user_is_erased(client: TestClient, user_id: str) -> None:
    profile = {"user_id": user_id, "attributes": {"country": "FR"}}
    client.post("/v1/users", params=APPLIED, json=profile)
    post_events(client, view(user_id, "i1"))
    known = client.get(f"/v1/users/{user_id}").json()
    assert known["attributes"] == {"country": "FR"}
    assert len(known["history"]) == 1
    client.delete(f"/v1/users/{user_id}", params=APPLIED)
    assert client.get(f"/v1/users/{user_id}").status_code == 404


def test_trending_follows_what_people_do(client: TestClient) -> None:
    buyers = [f"buyer-{uuid4().hex}" for _ in range(30)]
    post_events(client, *(view(buyer, "i17", event_type="purchase") for buyer in buyers))
    # Statistics are published once a second.
    deadline = time.monotonic() + 10
    while trending(client) != ["i17"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert trending(client) == ["i17"]
    assert recommended(client, user_id="nobody has seen me", limit=1) == ["i17"]


def test_a_request_id_draws_the_places_to_explore(client: TestClient, user_id: str) -> None:
    post_events(client, view(user_id, "i1"))

    def explored(**body: Any) -> tuple[str, list[int]]:
        body |= {"user_id": user_id, "exploration": 0.5}
        answer = client.post("/v1/recommend", json=body).json()
        found = [item["sources"][-1] == "exploration" for item in answer["items"]]
        first = body.get("offset", 0)
        return answer["request_id"], [first + place for place, is_ in enumerate(found) if is_]

    request_id, places = explored()
    assert 0 < len(places) <= 10
    # What trends may change meanwhile, but not where the list explores.
    assert explored(request_id=request_id) == (request_id, places)
    _, rest = explored(request_id=request_id, offset=10, limit=10)
    assert rest == [place for place in places if place >= 10]
    assert explored()[0] != request_id
