"""What /docs shows: an example of every request and every answer, which is one."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from fastapi import FastAPI

Content = dict[str, Any]


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def contents(document: dict[str, Any]) -> Iterator[tuple[str, Content]]:
    """Give each request and each answer of the API by name, as it is documented."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            parts = {"request": operation.get("requestBody", {}), **operation["responses"]}
            for part, described in parts.items():
                for media_type, content in described.get("content", {}).items():
                    yield f"{name}: {part}: {media_type}", content


def examples_of(content: Content, document: dict[str, Any]) -> list[Any]:
    if "example" in content:
        return [content["example"]]
    if "examples" in content:
        return [each["value"] for each in content["examples"].values()]
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    examples: list[Any] = document["components"]["schemas"].get(name, {}).get("examples", [])
    return examples


def test_every_request_and_every_answer_has_an_example_that_its_schema_allows(
    document: dict[str, Any],
) -> None:
    found = dict(contents(document))
    assert {name for name, content in found.items() if not examples_of(content, document)} == set()
    for name, content in found.items():
        schema = {**content["schema"], "components": document["components"]}
        for example in examples_of(content, document):
            assert jsonschema_rs.is_valid(schema, example), (name, example)


def test_examples_of_answers_say_all_that_an_answer_can(document: dict[str, Any]) -> None:
    """Nobody should have to look elsewhere for how a field looks."""
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            assert example.keys() == schema["properties"].keys(), name
