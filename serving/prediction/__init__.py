"""Calls of the bundle's SavedModel as TensorFlow Serving has them, whatever the transport."""
