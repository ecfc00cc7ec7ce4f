"""TensorFlow Serving's own messages about a model; REST renders them, gRPC sends them."""

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusResponse,
    ModelVersionStatus,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.live_model import LiveModel
from serving.prediction.predictor import version_number
from serving.prediction.served_signature import ServedSignature

PREDICT_METHOD = "tensorflow/serving/predict"
SIGNATURE_DEF = "signature_def"


def model_spec(model_name: str, model: LiveModel, signature_name: str = "") -> Any:
    """Return the `ModelSpec` that says which model has answered."""
    spec = ModelSpec(name=model_name, signature_name=signature_name)
    spec.version.value = version_number(model.bundle_version)
    return spec


def model_status(model: LiveModel) -> Any:
    """Return the `GetModelStatusResponse` of the one version that serves."""
    status = ModelVersionStatus(
        version=version_number(model.bundle_version), state=ModelVersionStatus.AVAILABLE
    )
    status.status.error_code = 0
    return GetModelStatusResponse(model_version_status=[status])


def signature_defs(model: LiveModel) -> Any:
    """Return the `SignatureDefMap` of a model."""
    return SignatureDefMap(
        signature_def={
            name: _signature_def(name, signature) for name, signature in model.signatures.items()
        }
    )


def model_metadata(model_name: str, model: LiveModel) -> Any:
    """Return the `GetModelMetadataResponse` with the signatures of a model."""
    packed = AnyMessage()
    packed.Pack(signature_defs(model))
    return GetModelMetadataResponse(
        model_spec=model_spec(model_name, model), metadata={SIGNATURE_DEF: packed}
    )


def _signature_def(name: str, signature: ServedSignature) -> Any:
    def described(specs: Any) -> dict[str, Any]:
        return {
            key: TensorInfo(
                name=f"{name}_{key}:0",
                dtype=spec.dtype.as_datatype_enum,
                tensor_shape=spec.shape.as_proto(),
            )
            for key, spec in specs.items()
        }

    return SignatureDef(
        inputs=described(signature.inputs),
        outputs=described(signature.outputs),
        method_name=PREDICT_METHOD,
    )
