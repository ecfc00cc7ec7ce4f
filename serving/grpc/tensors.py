"""Tensors of a request as arrays, and arrays as tensors of an answer."""

from math import prod
from typing import Any

import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DataType

from serving.prediction.errors import invalid

_MAX_REPEATED = 2**17
"""At most so many places may go without a value of their own: 1,024 histories of 128 events."""
_MAX_REPEATED_BYTES = 32 * _MAX_REPEATED
"""At most so many bytes of strings are repeated: the longest event type in each such place."""


def array_of(name: str, tensor: Any) -> npt.NDArray[Any]:
    """Return a `TensorProto` as an array; strings as `bytes` objects.

    Raises `PredictionError` where its shape and its values contradict each other, or no array
    has its dtype.
    """
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid(f"`{name}` must have a shape that is known. Received: {shape}.")
    if max(_MAX_REPEATED, tensor.ByteSize()) < prod(shape):
        # TensorFlow repeats the last value where there are too few: a few bytes could take all
        # memory.
        raise invalid(f"`{name}` must have a value for every place of its shape {shape}.")
    if _repeated_bytes(tensor, prod(shape)) > _MAX_REPEATED_BYTES:
        raise invalid(
            f"`{name}` must have a value for every place of its shape {shape}, since its last one, "
            f"of {len(tensor.string_val[-1])} bytes, is too long to be repeated."
        )
    try:
        array: npt.NDArray[Any] = tf.make_ndarray(tensor)
    except KeyError:  # of a variant, or a number that stands for no dtype
        dtype = DataType.Name(tensor.dtype) if tensor.dtype in DataType.values() else tensor.dtype
        raise invalid(f"`{name}` must be of a dtype that has arrays. Received: {dtype}.") from None
    except (TypeError, ValueError) as error:
        raise invalid(f"`{name}` must be a tensor: {error}") from None
    return array


def _repeated_bytes(tensor: Any, places: int) -> int:
    """Return how many bytes TensorFlow would copy into places without a string of their own."""
    if not tensor.string_val:
        return 0
    return len(tensor.string_val[-1]) * max(0, places - len(tensor.string_val))


def tensor_of(array: npt.NDArray[Any]) -> Any:
    """Return an array as a `TensorProto`, numbers as `tensor_content`."""
    return tf.make_tensor_proto(array, shape=array.shape)
