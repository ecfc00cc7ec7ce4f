"""Calls a SavedModel in a process of its own, with nothing of Riverrun: run as a script.

    python -I stock_process.py MODEL INPUTS OUTPUTS [OPS ...]

INPUTS is an `.npz` of arrays named `signature/argument`; OUTPUTS becomes one of
`signature/result`. Every signature is called twice: as TensorFlow Serving does, by the native
restore op and a session, and as `tf.saved_model.load` gives it. OPS are libraries of ops that are
loaded beside TensorFlow's own, as a binary of TensorFlow Serving has them linked: their Python
packages are not imported.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf


def by_session(path, inputs):
    outputs = {}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], path)
        for name, signature in meta_graph.signature_def.items():
            if name == "__saved_model_init_op":
                continue
            fed = {info.name: inputs[f"{name}/{key}"] for key, info in signature.inputs.items()}
            fetched = {key: info.name for key, info in signature.outputs.items()}
            for key, info in signature.outputs.items():
                assert not info.tensor_shape.unknown_rank, f"{name}/{key} has no shape"
            for key, value in session.run(fetched, fed).items():
                outputs[f"{name}/{key}"] = value.astype("U") if value.dtype == object else value
    return outputs


def by_functions(path, inputs):
    outputs = {}
    for name, signature in tf.saved_model.load(path).signatures.items():
        arguments = {
            key: tf.constant(inputs[f"{name}/{key}"], spec.dtype)
            for key, spec in signature.structured_input_signature[1].items()
        }
        for key, tensor in signature(**arguments).items():
            value = tensor.numpy()
            outputs[f"{name}/{key}"] = value.astype("U") if value.dtype == object else value
    return outputs


STRANGERS = {
    *("riverrun", "serving", "trainer", "feature_repo"),
    *("keras_hub", "tensorflow_recommenders", "tensorflow_text", "scann"),
}


def main(path, given, results, *libraries):
    for library in libraries:
        tf.load_op_library(library)
    inputs = np.load(given)
    outputs, others = by_session(path, inputs), by_functions(path, inputs)
    assert outputs.keys() == others.keys(), (outputs.keys(), others.keys())
    for name, value in outputs.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, others[name], atol=1e-5, err_msg=name)
    assert not STRANGERS & sys.modules.keys(), STRANGERS & sys.modules.keys()
    np.savez(results, **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
