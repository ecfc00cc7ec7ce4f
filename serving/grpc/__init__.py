"""The gRPC edge: TensorFlow Serving's services on the model that serves."""
