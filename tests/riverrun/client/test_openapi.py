"""The client and the OpenAPI document say the same: operations, and the arguments of each."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from riverrun.client import AsyncClient, Client, EventBody, Item, User, calls
from riverrun.client.calls import Call
from tests.support.tiny_shop import tiny_shop

Build = Callable[..., Call[Any]]

ARGUMENTS: dict[str, Any] = {
    "events": [EventBody(user_id="u", item_id="i", event_type="view")],
    "items": [Item(item_id="i")],
    "users": [User(user_id="u")],
    "item_id": "i",
    "user_id": "u",
}


def methods_of(client: type) -> dict[str, Any]:
    own = {"close", "send"}
    return {
        name: method
        for name, method in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_") and name not in own
    }


def built(build: Build) -> Call[Any]:
    required = [
        name
        for name, parameter in inspect.signature(build).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    return build(**{name: ARGUMENTS[name] for name in required})


BUILDERS: dict[str, Build] = {name: getattr(calls, name) for name in methods_of(Client)}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    home: Path = tmp_path_factory.mktemp("shop")
    with tiny_shop(home) as shop:
        yield shop.app.openapi()


def arguments_of(operation: dict[str, Any], path: str, document: dict[str, Any]) -> set[str]:
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        if "$ref" in schema:
            model = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            names |= model["properties"].keys()
        else:  # an array of records, named as its route is
            names.add(path.rpartition("/")[2])
    return names


def test_every_operation_has_a_method_with_its_arguments(document: dict[str, Any]) -> None:
    documented = {
        f"{method.upper()} {path}": arguments_of(operation, path, document)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    offered = {
        built(build).operation: set(inspect.signature(build).parameters)
        for build in BUILDERS.values()
    }
    assert offered == documented
    assert len(offered) == len(BUILDERS)


@pytest.mark.parametrize("name", BUILDERS)
def test_both_clients_have_the_arguments_of_the_call(name: str) -> None:
    expected = dict(inspect.signature(BUILDERS[name]).parameters)
    for client in (Client, AsyncClient):
        received = dict(inspect.signature(getattr(client, name)).parameters)
        received.pop("self", None)
        assert received == expected
    assert inspect.iscoroutinefunction(getattr(AsyncClient, name))
    assert not inspect.iscoroutinefunction(getattr(Client, name))


def test_both_clients_have_the_same_methods() -> None:
    assert methods_of(Client).keys() == methods_of(AsyncClient).keys()
