"""ONNX to our own model file: read, fold, lower each operator to the op set, write."""
