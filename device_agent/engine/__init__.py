"""The tensor engine: compiled models, tensors with strides, kernels chosen at run time."""
