"""`PredictionService` and `ModelService` of TensorFlow Serving.

https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis

Methods that are not offered here (`Classify`, `Regress`, `MultiInference`,
`HandleReloadConfigRequest`) answer UNIMPLEMENTED, as the published base classes do.
"""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import grpc
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceServicer
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceServicer

from serving.grpc.tensors import array_of, tensor_of
from serving.prediction import messages
from serving.prediction.errors import PredictionError, UnknownSignatureError, failure, invalid
from serving.prediction.predictor import ModelName, Predictor, predict, signature_of
from serving.signatures import RECOMMEND

Method = Callable[[Any, Any, grpc.ServicerContext], Any]


def _answering(method: Method) -> Method:
    """Return `method`, so that a `PredictionError` ends the call with its code and message."""

    @wraps(method)
    def answered(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except UnknownSignatureError as error:
            message = f'Serving signature key "{error.name}" not found.'
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)
        except PredictionError as error:
            context.abort(grpc.StatusCode[error.code.name], error.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered
            unexpected = failure(method.__name__, error)
            context.abort(grpc.StatusCode[unexpected.code.name], unexpected.message)

    return answered


def _time_left(context: grpc.ServicerContext) -> float | None:
    """Return the seconds until the call's deadline; None where it has none."""
    seconds: float | None = context.time_remaining()
    # Without a deadline gRPC gives centuries, longer than any lock can wait.
    return None if seconds is None or seconds > threading.TIMEOUT_MAX else seconds


class PredictionService(PredictionServiceServicer):
    """Calls the model's signatures."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @_answering
    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Return the outputs of a signature for the inputs of a `PredictRequest`.

        A call whose deadline passes while it waits for other calls is given up unanswered.
        """
        model = self._predictor.model(_asked(request.model_spec))
        name = request.model_spec.signature_name or RECOMMEND
        signature = signature_of(model, name)
        # Before any array is made: a few bytes can stand for a MiB, and there may be many names.
        signature.check_names(request.inputs)
        inputs = {key: array_of(key, tensor) for key, tensor in request.inputs.items()}
        outputs = predict(
            signature, inputs, only=request.output_filter, timeout=_time_left(context)
        )
        return PredictResponse(
            model_spec=messages.model_spec(self._predictor.model_name, model, name),
            outputs={key: tensor_of(array) for key, array in outputs.items()},
        )

    @_answering
    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Return the signatures, which are the only `metadata_field` offered."""
        model = self._predictor.model(_asked(request.model_spec))
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != messages.SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        return messages.model_metadata(self._predictor.model_name, model)


class ModelService(ModelServiceServicer):
    """Says which version serves."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @_answering
    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Return the version that serves as available; other versions are not known."""
        return messages.model_status(self._predictor.status(_asked(request.model_spec)))


def _asked(spec: Any) -> ModelName:
    if not spec.name:
        raise invalid("Missing ModelSpec.name")
    choice = spec.WhichOneof("version_choice")
    return ModelName(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )
