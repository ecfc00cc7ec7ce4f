"""Feature records as Feast's protobuf values, and back, exactly."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import (
    CoVisitation,
    FeatureRecord,
    ItemEmbedding,
    ItemStatistics,
    UserEmbedding,
)
from feature_repo.schema import Item, User
from feature_repo.times import microseconds, moment_of

Values = dict[str, Any]
"""Feast's protobuf values by feature."""

ViewRows = tuple[Any, Iterable[tuple[str, Values]]]
"""A feature view whose entity is one string, and rows of it: the string and the values."""

_NO_VALUE = Value()
_NO_EVENTS: tuple[tuple[Any, ...], ...] = ((),) * len(HistoryEvent._fields)


@dataclass(frozen=True, slots=True)
class View:
    """How one kind of record is stored: its feature view, its key's name, and both directions."""

    name: str
    join_key: str
    encode: Callable[[Any], Values]
    decode: Callable[[str, Mapping[str, Any]], Any]


def entity_key(join_key: str, key: str) -> Any:
    """Return Feast's message of an entity whose key is one string."""
    return EntityKey(join_keys=[join_key], entity_values=[Value(string_val=key)])


def _encode_history(history: UserHistory) -> Values:
    columns = tuple(zip(*history.events, strict=True)) or _NO_EVENTS
    timestamps, event_ids, item_ids, event_types, values = columns
    return {
        "timestamps": _int64s(timestamps),
        "event_ids": _strings(event_ids),
        "item_ids": _strings(item_ids),
        "event_types": _strings(event_types),
        "values": _doubles(values),
    }


def _decode_history(user_id: str, values: Mapping[str, Any]) -> UserHistory:
    columns = zip(
        values["timestamps"].int64_list_val.val,
        values["event_ids"].string_list_val.val,
        values["item_ids"].string_list_val.val,
        values["event_types"].string_list_val.val,
        values["values"].double_list_val.val,
        strict=True,
    )
    return UserHistory(user_id, tuple(HistoryEvent(*event) for event in columns))


def _encode_user_embedding(embedding: UserEmbedding) -> Values:
    return {
        "vector": _floats(embedding.vector),
        "bundle_version": Value(string_val=embedding.bundle_version),
        "history_timestamp": Value(int64_val=embedding.history_timestamp),
        "left_out": _strings(embedding.left_out),
    }


def _decode_user_embedding(user_id: str, values: Mapping[str, Any]) -> UserEmbedding:
    return UserEmbedding(
        user_id,
        np.array(values["vector"].float_list_val.val, dtype=np.float32),
        values["bundle_version"].string_val,
        values["history_timestamp"].int64_val,
        # A row of before there was this field has none.
        tuple(values.get("left_out", _NO_VALUE).string_list_val.val),
    )


def _encode_item_embedding(embedding: ItemEmbedding) -> Values:
    return {
        "vector": _floats(embedding.vector),
        "bundle_version": Value(string_val=embedding.bundle_version),
    }


def _decode_item_embedding(item_id: str, values: Mapping[str, Any]) -> ItemEmbedding:
    vector = np.array(values["vector"].float_list_val.val, dtype=np.float32)
    return ItemEmbedding(item_id, vector, values["bundle_version"].string_val)


def _encode_statistics(statistics: ItemStatistics) -> Values:
    return {
        "as_of": Value(int64_val=statistics.timestamp),
        "event_types": _strings(statistics.event_types),
        "hour": _doubles(statistics.hour),
        "day": _doubles(statistics.day),
        "week": _doubles(statistics.week),
    }


def _decode_statistics(item_id: str, values: Mapping[str, Any]) -> ItemStatistics:
    return ItemStatistics(
        item_id,
        values["as_of"].int64_val,
        tuple(values["event_types"].string_list_val.val),
        tuple(values["hour"].double_list_val.val),
        tuple(values["day"].double_list_val.val),
        tuple(values["week"].double_list_val.val),
    )


def _encode_co_visitation(co_visitation: CoVisitation) -> Values:
    return {
        "as_of": Value(int64_val=co_visitation.timestamp),
        "neighbour_ids": _strings(co_visitation.neighbour_ids),
        "weights": _doubles(co_visitation.weights),
    }


def _decode_co_visitation(item_id: str, values: Mapping[str, Any]) -> CoVisitation:
    return CoVisitation(
        item_id,
        values["as_of"].int64_val,
        tuple(values["neighbour_ids"].string_list_val.val),
        tuple(values["weights"].double_list_val.val),
    )


def _encode_user(user: User) -> Values:
    return {"attributes": _json(user.attributes)}


def _decode_user(user_id: str, values: Mapping[str, Any]) -> User:
    return User(user_id=user_id, attributes=orjson.loads(values["attributes"].string_val))


def _encode_item(item: Item) -> Values:
    published = item.published_at
    return {
        "title": Value(string_val=item.title),
        "description": Value(string_val=item.description),
        "categories": _strings(item.categories),
        "brand": Value(string_val=item.brand),
        "price": Value() if item.price is None else Value(double_val=item.price),
        "tags": _strings(item.tags),
        "attributes": _json(item.attributes),
        "available": Value(bool_val=item.available),
        "published_at": (
            Value() if published is None else Value(int64_val=microseconds(published))
        ),
    }


def _decode_item(item_id: str, values: Mapping[str, Any]) -> Item:
    published = values["published_at"]
    price = values["price"]
    return Item(
        item_id=item_id,
        title=values["title"].string_val,
        description=values["description"].string_val,
        categories=tuple(values["categories"].string_list_val.val),
        brand=values["brand"].string_val,
        price=price.double_val if price.HasField("double_val") else None,
        tags=tuple(values["tags"].string_list_val.val),
        attributes=orjson.loads(values["attributes"].string_val),
        available=values["available"].bool_val,
        published_at=(moment_of(published.int64_val) if published.HasField("int64_val") else None),
    )


def _strings(values: Any) -> Any:
    return Value(string_list_val=_list(values))


def _int64s(values: Any) -> Any:
    return Value(int64_list_val=_list(values))


def _doubles(values: Any) -> Any:
    return Value(double_list_val=_list(values))


def _floats(values: Any) -> Any:
    return Value(float_list_val=_list(values.tolist()))


def _list(values: Any) -> Any:
    """Return what a list message is filled from in place; a message itself would be copied."""
    return {"val": values}


def _json(document: Mapping[str, Any]) -> Any:
    return Value(string_val=orjson.dumps(document).decode())


VIEWS: Mapping[type[FeatureRecord], View] = {
    UserHistory: View("user_history", "user_id", _encode_history, _decode_history),
    UserEmbedding: View(
        "user_embedding", "user_id", _encode_user_embedding, _decode_user_embedding
    ),
    User: View("user_profile", "user_id", _encode_user, _decode_user),
    Item: View("item_profile", "item_id", _encode_item, _decode_item),
    ItemEmbedding: View(
        "item_embedding", "item_id", _encode_item_embedding, _decode_item_embedding
    ),
    ItemStatistics: View("item_statistics", "item_id", _encode_statistics, _decode_statistics),
    CoVisitation: View("co_visitation", "item_id", _encode_co_visitation, _decode_co_visitation),
}
