"""A network that is written down step by step and saved as an ONNX file, with weights and inputs that a seed gives."""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class OnnxNetwork:
    """A graph, to which nodes are added in their order. Values are `(name, shape)`, weights and constants names."""

    def __init__(self, name, opset=17):
        self.name, self.limits = name, {}
        self.random = np.random.default_rng(0)
        # Weights go straight into the file's message: they are large, and what assembles one from parts copies them.
        self.model = helper.make_model(helper.make_graph([], name, [], []), opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        self.graph = self.model.graph

    def input(self, *shape, name=None):
        value = (name or f"x{len(self.graph.input)}", list(shape))
        self.graph.input.append(helper.make_tensor_value_info(value[0], TensorProto.FLOAT, shape))
        return value

    def indices(self, *shape, below, name=None):
        """An input of whole numbers from 0, which are smaller than `below`."""
        value = (name or f"x{len(self.graph.input)}", list(shape))
        self.graph.input.append(helper.make_tensor_value_info(value[0], TensorProto.INT64, shape))
        self.limits[value[0]] = below
        return value

    def output(self, *values):
        for value in values:
            self.graph.output.append(helper.make_tensor_value_info(value[0], TensorProto.FLOAT, value[1]))

    def constant(self, values):
        name = f"w{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def weight(self, *shape, terms):
        """Weights of variance `1 / terms`: those of a sum of that many terms keep its variance at 1."""
        values = self.random.standard_normal(shape, dtype=np.float32)
        values *= np.float32((1.0 / terms) ** 0.5)
        return self.constant(values)

    def integers(self, *values):
        return self.constant(np.array(values, np.int64))

    def node(self, op, inputs, shape, **attributes):
        name = f"{op.lower()}{len(self.graph.node)}"
        names = [value if isinstance(value, str) else value[0] for value in inputs]
        self.graph.node.append(helper.make_node(op, names, [name], name=name, **attributes))
        return (name, list(shape))

    def element_wise(self, op, *values):
        return self.node(op, values, values[0][1])

    def matmul(self, x, columns):
        return self.node("MatMul", [x, self.weight(x[1][-1], columns, terms=x[1][-1])], [*x[1][:-1], columns])

    def save(self, directory):
        """Writes `NAME.onnx`, and inputs for it to `NAME.npz`."""
        onnx.save(self.model, str(directory / f"{self.name}.onnx"))
        arrays = {}
        for value in self.graph.input:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            if value.name in self.limits:
                arrays[value.name] = self.random.integers(0, self.limits[value.name], shape)
            else:
                arrays[value.name] = self.random.standard_normal(shape, dtype=np.float32)
        np.savez(directory / f"{self.name}.npz", **arrays)


def write_networks(networks, usage):
    """The program `OUT_DIRECTORY [NAME ...]`: writes those of `networks`, functions by name, that are asked for, or all."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(usage)
        return
    if len(sys.argv) < 2:
        sys.exit(usage)
    unknown = [name for name in sys.argv[2:] if name not in networks]
    if unknown:
        sys.exit(f"no network {', '.join(unknown)} among {', '.join(networks)}")
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or networks:
        networks[name]().save(directory)
