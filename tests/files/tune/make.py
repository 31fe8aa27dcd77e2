"""Writes net.onnx: a small network as an exporter leaves it that keeps what training needs: a batch normalisation and a dropout in
training mode. Its batch has a name of its own, the first matrix lies transposed, the second has its bias in a node behind it.

Made with: python make.py (onnx 1.23.2, numpy 2)
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(7)
weights = {
    "first.weight": random.normal(0, 0.5, (8, 6)),
    "first.bias": random.normal(0, 0.1, 8),
    "norm.scale": random.uniform(0.5, 1.5, 8),
    "norm.bias": random.normal(0, 0.1, 8),
    "norm.mean": random.normal(0, 0.1, 8),
    "norm.variance": random.uniform(0.5, 1.5, 8),
    "head.weight": random.normal(0, 0.5, (8, 3)),
    "head.bias": random.normal(0, 0.1, 3),
}
initializers = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
initializers.append(numpy_helper.from_array(np.array(0.25, np.float32), "ratio"))
initializers.append(numpy_helper.from_array(np.array(True), "training"))
nodes = [
    helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["a"], "first", transB=1),
    helper.make_node(
        "BatchNormalization",
        ["a", "norm.scale", "norm.bias", "norm.mean", "norm.variance"],
        ["b", "mean_after", "variance_after"],
        "norm",
        training_mode=1,
        momentum=0.75,
    ),
    helper.make_node("Relu", ["b"], ["c"], "relu"),
    helper.make_node("Dropout", ["c", "ratio", "training"], ["d"], "drop"),
    helper.make_node("MatMul", ["d", "head.weight"], ["e"], "head"),
    helper.make_node("Add", ["e", "head.bias"], ["scores"], "head_bias"),
]
graph = helper.make_graph(
    nodes,
    "net",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
    initializers,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, "net.onnx")
