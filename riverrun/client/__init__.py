"""A typed client of Riverrun's HTTP API, for code that runs elsewhere.

    from riverrun.client import Client, EventBody

    with Client("http://127.0.0.1:8080") as shop:
        shop.post_events([EventBody(user_id="u42", item_id="i7", event_type="view")])
        for item in shop.recommend(user_id="u42", limit=10).items:
            print(item.item_id, item.score)

`AsyncClient` has the same methods to be awaited. Answers are the models that the server answers
with; errors are the tree of `riverrun.client.errors`. Importing it brings no TensorFlow.
"""

from feature_repo.schema import Item, User
from riverrun.client.client import AsyncClient, Client
from riverrun.client.errors import (
    ClientError,
    InvalidRequestError,
    NotFoundError,
    ProblemError,
    ServerFailedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from riverrun.client.retries import Retries
from serving.http.models import (
    AcceptedAnswer,
    AliveAnswer,
    CatalogueAnswer,
    EventBody,
    ListAnswer,
    ReadyAnswer,
    SessionEvent,
    UserAnswer,
)

__all__ = [
    "AcceptedAnswer",
    "AliveAnswer",
    "AsyncClient",
    "CatalogueAnswer",
    "Client",
    "ClientError",
    "EventBody",
    "InvalidRequestError",
    "Item",
    "ListAnswer",
    "NotFoundError",
    "ProblemError",
    "ReadyAnswer",
    "Retries",
    "ServerFailedError",
    "SessionEvent",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "User",
    "UserAnswer",
]
