"""TensorFlow Serving's REST API, as its documentation describes it."""

import base64
import gzip
import json
import re
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from riverrun.embedded import EmbeddedShop
from serving.http import tensorflow_json
from tests.support.garbage import without_garbage_collection
from tests.support.waiting import wait_until

MODEL = "/v1/models/riverrun"
# 2026-01-02T03:04:05Z in seconds x 65,536, and the token 0000 of the tiny bundle.
VERSION = 1767323045 * 65536
HISTORY = {
    "item_ids": ["i1", "i6"],
    "event_types": ["view", "view"],
    "timestamps": [1, 2],
    "query_text": "",
}
COLUMNS = {name: [value] for name, value in HISTORY.items()}


def predicted(client: TestClient, body: Any, path: str = MODEL) -> Any:
    answer = client.post(f"{path}:predict", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document.keys() == {"error"}
    message: str = document["error"]
    return message


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/{VERSION}", f"{MODEL}/labels/stable"])
def test_status_metadata_and_predict_by_name_version_and_label(
    client: TestClient, path: str
) -> None:
    assert client.get(path).json() == {
        "model_version_status": [
            {
                "version": str(VERSION),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    metadata = client.get(f"{path}/metadata").json()
    assert metadata["model_spec"] == {
        "name": "riverrun",
        "version": str(VERSION),
        "signature_name": "",
    }
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    timestamps = signatures["encode_query"]["inputs"]["timestamps"]
    assert timestamps["dtype"] == "DT_INT64"
    assert [axis["size"] for axis in timestamps["tensor_shape"]["dim"]] == ["-1", "-1"]
    (row,) = predicted(client, {"instances": [HISTORY]}, path)["predictions"]
    assert row.keys() == {"item_ids", "scores"}
    assert len(row["item_ids"]) == len(row["scores"]) == 60
    assert {"i1", "i6"} <= set(row["item_ids"][:15])


def test_rows_and_columns_have_the_same_answer(client: TestClient) -> None:
    (row,) = predicted(client, {"instances": [HISTORY]})["predictions"]
    columns = predicted(client, {"inputs": COLUMNS})["outputs"]
    assert {name: column[0] for name, column in columns.items()} == row


def test_a_single_input_and_a_single_output_need_no_names(client: TestClient) -> None:
    bodies: list[dict[str, Any]] = [
        {"instances": ["red shoes", "kettle"]},
        {"instances": [{"texts": "red shoes"}, {"texts": "kettle"}]},
        {"instances": [{"b64": base64.b64encode(b"red shoes").decode()}, "kettle"]},
        {"inputs": ["red shoes", "kettle"]},
        {"inputs": {"texts": ["red shoes", {"b64": base64.b64encode(b"kettle").decode()}]}},
    ]
    answers = []
    for body in bodies:
        answer = predicted(client, body | {"signature_name": "encode_text"})
        answers.append(answer["predictions" if "instances" in body else "outputs"])
    for answer in answers:
        np.testing.assert_array_equal(np.float32(answer), np.float32(answers[0]))
    assert np.shape(answers[0]) == (2, 384)
    np.testing.assert_allclose(np.linalg.norm(answers[0], axis=1), 1, atol=1e-5)


def test_an_unknown_price_is_nan_as_tensorflow_serving_writes_it(client: TestClient) -> None:
    names = {"item_id": "new", "text": "kettle", "category": "", "brand": "", "tags": ["new"]}
    item = names | {"age_days": -1}
    body = {"signature_name": "encode_candidate", "instances": [item | {"price": float("nan")}]}
    (embedding,) = predicted(client, body)["predictions"]
    assert np.shape(embedding) == (16,)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "JSON Parse error"),
        ("[" * 100_000, "JSON Parse error"),
        ([], "must be a JSON object"),
        ({}, "either `instances` or `inputs`"),
        ({"instances": [HISTORY], "inputs": COLUMNS}, "either `instances` or `inputs`"),
        ({"instances": []}, "must be a list that is not empty"),
        ({"instances": {"a": 1}}, "must be a list that is not empty"),
        ({"instances": ["i1"]}, "must name the inputs"),
        ({"inputs": ["i1"]}, "must name the inputs"),
        ({"instances": [{"item_ids": ["i1"]}]}, "must have the inputs"),
        ({"inputs": COLUMNS | {"colour": [1]}}, "must have the inputs"),
        ({"instances": [HISTORY, "i1"]}, r"`instances\[1\]` must be an object"),
        ({"instances": [HISTORY | {"timestamps": [1, 1.5]}]}, "`timestamps` must be an integer"),
        ({"instances": [HISTORY | {"timestamps": [1, True]}]}, "`timestamps` must be an integer"),
        ({"instances": [HISTORY | {"timestamps": [1, 2**63]}]}, "`timestamps` must be an integer"),
        ({"instances": [HISTORY | {"item_ids": ["i1", 6]}]}, "`item_ids` must be a string"),
        ({"instances": [HISTORY | {"item_ids": ["i1", {"b64": "?"}]}]}, "must be base64"),
        ({"instances": [HISTORY | {"item_ids": ["i1", "\ud800"]}]}, "must be Unicode text"),
        ({"instances": [HISTORY | {"item_ids": ["i1", ["i6"]]}]}, "`item_ids` must be a string"),
        ({"instances": [HISTORY | {"item_ids": "i1"}]}, r"`item_ids` must have shape \[\?, \?\]"),
        ({"instances": [HISTORY | {"item_ids": ["i1"]}]}, "must have the size of .* along axis 1"),
        ({"instances": [HISTORY, HISTORY | {"item_ids": ["i1"]}]}, "lists of equal lengths: 2"),
        ({"inputs": COLUMNS | {"query_text": ["", ""]}}, "must have the size of .* along axis 0"),
        ({"inputs": COLUMNS | {"query_text": ""}}, r"`query_text` must have shape \[\?\]"),
        ({"instances": [HISTORY] * 1025}, r"at most 1024 rows\. Received: 1025\."),
        ({"signature_name": 1, "instances": [HISTORY]}, "`signature_name` must be a string"),
        ({"signature_name": "dream", "instances": [HISTORY]}, '"dream" not found in signature def'),
        (
            {"signature_name": "encode_text", "inputs": [[[[[[[[[["deep"]]]]]]]]]]},
            "nested at most 8 deep",
        ),
    ],
)
def test_what_does_not_fit_is_an_invalid_argument(
    client: TestClient, body: Any, message: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = client.post(f"{MODEL}:predict", content=content)
    assert re.search(message, refused(answer, 400))


@pytest.mark.parametrize("suffix", ["/metadata", ":predict"])
@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/other", 404, "Servable not found for request: Latest(other)"),
        (f"{MODEL}/versions/7", 404, "Servable not found for request: Specific(riverrun, 7)"),
        (f"{MODEL}/versions/new", 400, "Failed to convert version: new to numeric."),
        (f"{MODEL}/versions/{'9' * 5000}", 400, "Failed to convert version"),
        (f"{MODEL}/labels/canary", 400, "Unrecognized servable version label: canary"),
    ],
)
def test_a_model_that_does_not_serve_is_named(
    client: TestClient, path: str, suffix: str, status: int, message: str
) -> None:
    method = "POST" if suffix == ":predict" else "GET"
    assert message in refused(client.request(method, path + suffix), status)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/other", 404, "Could not find any versions of model other"),
        ("/v1/models/other/versions/7", 404, "Could not find version 7 of model other"),
        (f"{MODEL}/versions/7", 404, "Could not find version 7 of model riverrun"),
        (f"{MODEL}/versions/new", 400, "Failed to convert version: new to numeric."),
        (f"{MODEL}/labels/canary", 400, "Unrecognized servable version label: canary"),
    ],
)
def test_the_status_of_what_does_not_serve_has_words_of_its_own(
    client: TestClient, path: str, status: int, message: str
) -> None:
    assert message in refused(client.get(path), status)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", f"{MODEL}:predict"),
        ("POST", MODEL),
        ("POST", f"{MODEL}:classify"),
        ("DELETE", f"{MODEL}/versions/1/more"),
    ],
)
def test_what_is_no_request_of_the_api_is_malformed(
    client: TestClient, method: str, path: str
) -> None:
    message = refused(client.request(method, path), 400)
    assert message == f"Malformed request: {method} {path}"


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    answer = client.post(f"{MODEL}:predict", content=b" " * (128 * 2**20 + 1))
    assert "at most 134217728 bytes" in refused(answer, 429)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_a_body_may_be_compressed_by_gzip(client: TestClient, encoding: str) -> None:
    body = json.dumps({"instances": [HISTORY]}).encode()
    headers = {"content-encoding": encoding}
    path = f"{MODEL}:predict"
    answer = client.post(path, content=gzip.compress(body), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.content == client.post(path, content=body).content


# Without the time of day, which is in names of tests otherwise.
WHOLE = gzip.compress(json.dumps({"instances": [HISTORY]}).encode(), mtime=0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": []}', "incorrect header check"),
        (b"", "it is cut off"),
        (WHOLE[:-1], "it is cut off"),
        (WHOLE[:-8] + bytes(8), "incorrect data check"),
        (WHOLE + WHOLE, "something follows its end"),
        (gzip.compress(b"{", mtime=0), "JSON Parse error"),
    ],
    ids=["plain", "empty", "cut", "damaged", "twice", "no JSON"],
)
def test_what_is_not_gzip_though_its_header_says_so_is_an_invalid_argument(
    client: TestClient, body: bytes, message: str
) -> None:
    answer = client.post(f"{MODEL}:predict", content=body, headers={"content-encoding": "gzip"})
    assert message in refused(answer, 400)


def test_a_body_that_gzip_made_small_is_refused_as_one_that_is_large(client: TestClient) -> None:
    """A thousandth of it is sent, and all of it would be parsed while nobody else is answered."""
    small = gzip.compress(b" " * (8 * 2**20 + 1))
    answer = client.post(f"{MODEL}:predict", content=small, headers={"content-encoding": "gzip"})
    assert "at most 8388608 bytes once it is decompressed" in refused(answer, 429)


def test_several_lines_of_encodings_are_one_list(client: TestClient) -> None:
    body = json.dumps({"instances": [HISTORY]}).encode()
    headers = [("content-encoding", "identity"), ("content-encoding", "gzip")]
    answer = client.post(f"{MODEL}:predict", content=gzip.compress(body), headers=headers)
    assert answer.status_code == 200, answer.text


class Document(dict[str, Any]):
    """A JSON object that can be asked whether it is still in memory."""


@pytest.mark.parametrize("inputs", [{"colour": ["red"]}, COLUMNS | {"query_text": "x"}])
def test_what_a_refused_call_was_read_from_is_freed_once_it_is_answered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]
) -> None:
    read: list[weakref.ref[Document]] = []

    def document_of(members: dict[str, Any]) -> Document:
        document = Document(members)
        read.append(weakref.ref(document))
        return document

    loads = partial(json.loads, object_hook=document_of)
    monkeypatch.setattr(tensorflow_json, "json", SimpleNamespace(loads=loads))
    with without_garbage_collection():
        for _ in range(3):
            refused(client.post(f"{MODEL}:predict", json={"inputs": inputs}), 400)
        assert len(read) == 6
        wait_until(lambda: not any(document() for document in read), seconds=30)


def test_64_callers_at_once_are_answered(client: TestClient) -> None:
    def ask(number: int) -> int:
        body = {"signature_name": "encode_text", "instances": [f"shoes {number % 8}"]}
        (embedding,) = predicted(client, body)["predictions"]
        return len(embedding)

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(ask, range(128))) == {384}


def test_a_failure_is_an_error_of_this_api_too(
    client: TestClient, shop: EmbeddedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**inputs: Any) -> Any:
        raise RuntimeError("the model is broken")

    signature = shop.holder.current.signatures["encode_text"]
    monkeypatch.setattr(signature, "_function", broken)
    body = {"signature_name": "encode_text", "instances": ["red shoes"]}
    answer = client.post(f"{MODEL}:predict", json=body)
    assert refused(answer, 500) == "The server failed; its log says why."
