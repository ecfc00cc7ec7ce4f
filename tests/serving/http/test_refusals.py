"""What is wrong with a request is a problem that names the field and the value."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

DEEP = b'{"in": [' + str(10**20).encode() + b", " + b"[" * 1000 + b"]" * 1000 + b"]}"
"""No reader of JSON goes so deep."""


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"limit": 0}, "limit", 0),
        ({"limit": 501}, "limit", 501),
        ({"limit": "many"}, "limit", "many"),
        ({"offset": -1}, "offset", -1),
        ({"offset": 10_001}, "offset", 10_001),
        ({"diversity": 1.5}, "diversity", 1.5),
        ({"exploration": 1.1}, "exploration", 1.1),
        ({"calibration": -0.5}, "calibration", -0.5),
        ({"category_cap": 0}, "category_cap", 0),
        ({"brand_cap": 501}, "brand_cap", 501),
        ({"exclude_item_ids": ["i1"] * 1001}, "exclude_item_ids", None),
        ({"context_item_ids": ["i1"] * 501}, "context_item_ids", None),
        ({"session": [{"item_id": "i1"}] * 501}, "session", None),
        ({"request_id": ""}, "request_id", None),
        ({"filter": "price <"}, "filter", "price <"),
        ({"filter": "colour_of_the_moon = 1"}, "filter", "colour_of_the_moon = 1"),
        ({"user": "u1"}, "user", "u1"),
        ({"session": [{"event_type": "view"}]}, "session.0.item_id", None),
        (
            {"session": [{"item_id": "i1", "timestamp": "2099-01-01T00:00:00Z"}]},
            "session.0.timestamp",
            "2099-01-01T00:00:00+00:00",
        ),
        ({"filter": "20 < price < 30"}, "filter", "20 < price < 30"),
        ({"exclude_seen": ["Purchase"]}, "exclude_seen", "['Purchase']"),
        ({"exclude_seen": 1}, "exclude_seen", 1),
        ({"exclude_seen": None}, "exclude_seen", None),
    ],
)
def test_a_bad_question_is_a_problem_that_names_field_and_value(
    client: TestClient, body: dict[str, Any], field: str, value: Any
) -> None:
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    (error,) = problem["errors"]
    assert error["field"] == field
    if value is not None:
        assert error["value"] == value
        assert str(value) in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "field", "value"),
    [
        ("GET", "/v1/nothing", 404, "path", "/v1/nothing"),
        ("GET", "/static/nothing.js", 404, "path", "/static/nothing.js"),
        ("GET", "/v1/items/unheard-of", 404, "item_id", "unheard-of"),
        ("GET", "/v1/items/unheard-of/similar", 404, "item_id", "unheard-of"),
        ("GET", "/v1/users/unheard-of", 404, "user_id", "unheard-of"),
        ("DELETE", "/v1/items/with%0Aa-line-break", 422, "item_id", "with\na-line-break"),
        ("DELETE", "/v1/recommend", 405, "method", "DELETE"),
        ("GET", "/v1/items?limit=1&limit=2", 422, "limit", "1, 2"),
        ("GET", "/v1/trending?offset=0&limit=1&limit=1", 422, "limit", "1, 1"),
        ("DELETE", "/v1/users/u1?wait=applied&wait=applied", 422, "wait", "applied, applied"),
        ("GET", "/v1/items?page=2", 422, "page", "2"),
        ("GET", "/v1/items/i1?page=2", 422, "page", "2"),
    ],
)
def test_a_request_for_what_is_not_there_is_a_problem_that_names_field_and_value(
    client: TestClient, method: str, path: str, status: int, field: str, value: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == (field, value)
    assert error["message"]


def test_methods_that_no_route_has_share_a_label_of_the_metrics(client: TestClient) -> None:
    odd = {"PROPFIND", "LOCK", "QUERY"}
    for method in odd:
        assert client.request(method, "/v1/events").status_code == 405
    series = r'^riverrun_http_request_seconds_count\{method="(.*?)"'
    labels = set(re.findall(series, client.get("/metrics").text, re.MULTILINE))
    assert "other" in labels
    assert not labels & odd


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/"])
def test_probes_and_scrapers_may_add_parameters_of_their_own(client: TestClient, path: str) -> None:
    assert client.get(path, params={"probe": "1"}).status_code == 200


@pytest.mark.parametrize(
    ("content", "media_type", "status", "field", "value"),
    [
        (b"{", "application/json", 400, "body", "{"),
        (b"user_id=u1", "text/plain", 415, "Content-Type", "text/plain"),
        (b" " * (8 * 2**20 + 1), "application/json", 413, "body", "8388609"),
        (b"\xff[" + b"1" * 1000, "application/json", 400, "body", f"\ufffd[{'1' * 198}..."),
    ],
)
@pytest.mark.parametrize("path", ["/v1/events", "/v1/recommend"])
def test_a_body_that_cannot_be_read_is_refused_by_field_and_value(
    client: TestClient,
    path: str,
    content: bytes,
    media_type: str,
    status: int,
    field: str,
    value: str,
) -> None:
    answer = client.post(path, content=content, headers={"content-type": media_type})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == (field, value)
    assert error["message"] in problem["detail"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/recommend"])
def test_a_body_that_is_nested_too_deeply_is_refused(client: TestClient, path: str) -> None:
    answer = client.post(path, content=DEEP, headers={"content-type": "application/json"})
    # As Python 3.11 or 3.12 reads events: the latter reads it, and refuses the one record.
    assert answer.status_code in (400, 422)
    (error,) = answer.json()["errors"]
    assert error["field"] in ("body", "0.body")
    assert "must not be nested so deeply" in error["message"] or "recursion" in error["message"]


def test_a_wrong_method_is_told_which_are_right(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    right = {path: ", ".join(sorted(each.upper() for each in paths[path])) for path in paths}
    # A file's are these, whatever else has the rest of its path.
    right |= dict.fromkeys(["/static/shop.js", "/static/", "/static/v1/items"], "GET, HEAD")
    for path, methods in right.items():
        answer = client.patch(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods), path
        assert methods in answer.json()["errors"][0]["message"]
