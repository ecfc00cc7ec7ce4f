"""Requests that TensorFlow Serving answers when it loads a model, before it serves it.

https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
"""Within a SavedModel."""

LENGTHS = (8, 128)
"""Lengths of histories, since TensorFlow optimises for each of a few shapes."""


def write_warmup(saved_model: Path, signatures: Mapping[str, Any]) -> None:
    """Write blank requests for every signature, concrete functions by name, to the model."""
    file = saved_model / FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, signature in sorted(signatures.items()):
            parameters = signature.function_type.parameters.values()
            specs = {each.name: each.type_constraint for each in parameters}
            varies = any(spec.shape.rank > 1 for spec in specs.values())
            for length in LENGTHS if varies else (1,):
                writer.write(_request(name, specs, length).SerializeToString())


def _request(name: str, specs: Mapping[str, Any], length: int) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = name
    for argument, spec in specs.items():
        # The batch size is 1; the other free axes are lengths of histories.
        free = iter((1, length))
        shape = [next(free) if size is None else size for size in spec.shape]
        blank = tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)
        request.inputs[argument].CopyFrom(tf.make_tensor_proto(blank))
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
