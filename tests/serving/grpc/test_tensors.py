"""Tensors as they are sent: what may be left out of them."""

import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.grpc.tensors import array_of
from serving.prediction.errors import Code, PredictionError


@pytest.mark.parametrize("sent", [["x" * 32], ["y" * 10_000, "x" * 32], ["x" * 10_000] * 1024])
def test_strings_that_are_short_or_sent_are_taken(sent: list[str]) -> None:
    places = 1024 * (1 if len(sent) == 1024 else 128)
    tensor = tf.make_tensor_proto(sent)
    tensor.tensor_shape.dim[0].size = places
    taken = array_of("ids", tensor)
    assert taken.shape == (places,)
    assert taken[-1].decode() == sent[-1]


@pytest.mark.parametrize("sent", [["x" * 33], ["", "x" * 8192], ["x" * 2**20] * 2])
def test_a_long_string_is_not_repeated(sent: list[str]) -> None:
    tensor = tf.make_tensor_proto(sent)
    tensor.tensor_shape.dim[0].size = 1024 * 128
    message = f"`ids` must have a value .* of {len(sent[-1])} bytes, is too long to be repeated"
    with pytest.raises(PredictionError, match=message):
        array_of("ids", tensor)


@pytest.mark.parametrize("content", [b"", b"abc", bytes(16)])
@pytest.mark.parametrize("dtype", [0, 20, 21, 59, 120, 121, 10_000])
def test_a_dtype_that_no_array_has_is_an_invalid_argument(dtype: int, content: bytes) -> None:
    tensor = TensorProto(dtype=dtype, tensor_content=content)
    tensor.tensor_shape.dim.add(size=1)
    with pytest.raises(PredictionError, match="`ids` must be") as caught:
        array_of("ids", tensor)
    assert caught.value.code is Code.INVALID_ARGUMENT
