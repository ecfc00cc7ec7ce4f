"""The client and the OpenAPI document say the same: operations, and the arguments of each."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import TypeAdapter

from riverrun.client import AsyncClient, Client, EventBody, Item, User, calls
from riverrun.client.calls import Call
from tests.support.tiny_shop import tiny_shop

Build = Callable[..., Call[Any]]
Schema = Mapping[str, Any]
Kinds = frozenset[tuple[str, Any]]

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
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Schema]:
    home: Path = tmp_path_factory.mktemp("shop")
    with tiny_shop(home) as shop:
        yield shop.app.openapi()


@dataclass(frozen=True)
class Argument:
    """An argument of an operation. kinds: of JSON that it may be, see `kinds_of`."""

    required: bool
    default: Any
    kinds: Kinds


def kinds_of(schema: Schema, models: Schema) -> Kinds:
    """Return what JSON a schema lets through: types, values of enumerations, and what is within.

    Bounds and patterns are left out: the client builds its requests with the server's own models.
    """
    if "$ref" in schema:
        return kinds_of(models[schema["$ref"].rpartition("/")[2]], models)
    if alternatives := schema.get("anyOf"):
        return frozenset().union(*(kinds_of(each, models) for each in alternatives))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return frozenset(("value", value) for value in values)
    match schema.get("type", "anything"):
        case "array":
            return frozenset({("array", kinds_of(schema["items"], models))})
        case "object" if "properties" in schema:
            return frozenset({("object", frozenset(fields_of(schema, models).items()))})
        case "object":
            return frozenset({("object", kinds_of(schema["additionalProperties"], models))})
        case other:
            return frozenset({(other, None)})


def fields_of(schema: Schema, models: Schema) -> dict[str, Argument]:
    """Return the fields of an object by name."""
    required = schema.get("required", ())
    return {
        name: Argument(name in required, frozen(field.get("default")), kinds_of(field, models))
        for name, field in schema["properties"].items()
    }


def frozen(default: Any) -> Any:
    """Return a default so that a list and a tuple are the same, and an object can be hashed."""
    return json.dumps(default)


def documented_arguments(operation: Schema, path: str, models: Schema) -> dict[str, Argument]:
    """Return the parameters of an operation and the fields of its body, by name."""
    arguments = {
        parameter["name"]: Argument(
            parameter["required"],
            frozen(parameter["schema"].get("default")),
            kinds_of(parameter["schema"], models),
        )
        for parameter in operation.get("parameters", [])
    }
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        if "$ref" in schema:
            return arguments | fields_of(models[schema["$ref"].rpartition("/")[2]], models)
        # An array of records, named as its route is, or one of them.
        several, one = schema["anyOf"]
        assert several["items"] == one
        name = path.rpartition("/")[2]
        arguments[name] = Argument(body["required"], frozen(None), kinds_of(several, models))
    return arguments


def offered_arguments(build: Build) -> dict[str, Argument]:
    """Return the arguments of a method of the client by name."""
    types = get_type_hints(build, include_extras=True)
    arguments = {}
    for name, parameter in inspect.signature(build).parameters.items():
        schema = TypeAdapter(types[name]).json_schema()
        required = parameter.default is inspect.Parameter.empty
        default = frozen(None if required else parameter.default)
        arguments[name] = Argument(required, default, kinds_of(schema, schema.get("$defs", {})))
    return arguments


def test_every_operation_has_a_method_with_its_arguments(document: Schema) -> None:
    """By name, type and default, those of records too: what one has the other has."""
    models = document["components"]["schemas"]
    documented = {
        f"{method.upper()} {path}": documented_arguments(operation, path, models)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    offered = {built(build).operation: offered_arguments(build) for build in BUILDERS.values()}
    assert offered.keys() == documented.keys()
    for operation, arguments in documented.items():
        assert offered[operation] == arguments, operation
    assert len(offered) == len(BUILDERS)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_method_returns_what_its_operation_answers(name: str, document: Schema) -> None:
    build = BUILDERS[name]
    verb, _, path = built(build).operation.partition(" ")
    responses = document["paths"][path][verb.lower()]["responses"]
    ((kind, content),) = next(
        answer["content"].items() for status, answer in responses.items() if status.startswith("2")
    )
    (returned,) = get_args(get_type_hints(build)["return"])
    if kind == "text/plain":
        assert returned is str
        return
    schema = TypeAdapter(returned).json_schema(mode="serialization")
    assert kinds_of(schema, schema.get("$defs", {})) == kinds_of(
        content["schema"], document["components"]["schemas"]
    )


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
