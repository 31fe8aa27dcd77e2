"""Trains the digits network on MNIST and writes `digits.onnx` beside this file.

    python train.py DATA_DIR [--epochs N] [--output FILE]

DATA_DIR holds the four MNIST files (`train-images-idx3-ubyte.gz`, ...). Needs numpy, torch and onnx; under a minute an
epoch on one core, no GPU. The seed is fixed, so the same torch on the same machine gives the same weights.
"""
import argparse
import json
import pathlib
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from mnist import read_split
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SEED = 20
BATCH = 128
PEAK_LEARNING_RATE = 2e-3
# The last weights of a run wobble; their running average is steadier and costs nothing at run time.
AVERAGE_DECAY = 0.998


class Digits(nn.Module):
    """Logits `[batch, 10]` of images `[batch, 1, 28, 28]`.   Features: 28 → 26 → 13 → 11 → 5 → 3 pixels a side, 64·3·3 = 576."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.dense1 = nn.Linear(576, 64)
        self.dense2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x)).flatten(1)
        x = F.dropout(x, 0.3, self.training)
        return self.dense2(F.relu(self.dense1(x)))


def distort(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Each image turned, sheared, scaled and moved a little: other people's handwriting, at no cost in data."""
    count = len(images)

    def uniform(low, high):
        return low + (high - low) * torch.rand(count, generator=random)

    angle, shear = uniform(-0.22, 0.22), uniform(-0.2, 0.2)
    width, height = uniform(0.85, 1.2), uniform(0.85, 1.2)
    shift_x, shift_y = uniform(-0.16, 0.16), uniform(-0.16, 0.16)  # half a side is 1: about two pixels
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([width * cosine, width * (shear * cosine - sine), shift_x], 1),
        torch.stack([height * sine, height * (shear * sine + cosine), shift_y], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images whose largest logit is the label's."""
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in zip(images.split(1000), labels.split(1000)))
    return right / len(labels)


def train(folder: str, epochs: int) -> nn.Module:
    """The averaged model after `epochs` passes over the training images."""
    torch.manual_seed(SEED)
    random = torch.Generator().manual_seed(SEED)
    images, labels = (torch.from_numpy(a) for a in read_split(folder, "train"))
    test_images, test_labels = (torch.from_numpy(a) for a in read_split(folder, "t10k"))
    model = Digits()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY))
    steps = epochs * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        start, total = time.time(), 0.0
        model.train()
        order = torch.randperm(len(images), generator=random)
        for batch in order[: len(images) // BATCH * BATCH].split(BATCH):
            loss = F.cross_entropy(model(distort(images[batch], random)), labels[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            average.update_parameters(model)
            total += loss.item()
        score = accuracy(average.module, test_images, test_labels)
        print(f"epoch {epoch + 1:2}  loss {total / (len(images) // BATCH):.4f}  test accuracy {score:.4f}  {time.time() - start:.0f} s", flush=True)
    return average.module


def to_onnx(model: nn.Module) -> onnx.ModelProto:
    """The network with softmax as plain ONNX, written node by node so that names are stable and `batch` is the only symbol."""
    nodes, source = [], "image"
    # Plain contiguous float32: a channels-last stride would otherwise be stored as if it were row-major.
    parameters = {name: np.ascontiguousarray(value.detach().numpy(), np.float32) for name, value in model.named_parameters()}

    def add(op_type: str, name: str, operands: tuple[str, ...] = (), **attributes):
        nonlocal source
        output = "probabilities" if op_type == "Softmax" else name
        nodes.append(helper.make_node(op_type, [source, *operands], [output], name=name, **attributes))
        source = output

    for layer in (1, 2, 3):
        add("Conv", f"conv{layer}", (f"conv{layer}.weight", f"conv{layer}.bias"), kernel_shape=[3, 3])
        add("Relu", f"conv{layer}.relu")
        if layer < 3:
            add("MaxPool", f"conv{layer}.pool", kernel_shape=[2, 2], strides=[2, 2])
    add("Flatten", "flatten", axis=1)
    add("Gemm", "dense1", ("dense1.weight", "dense1.bias"), transB=1)
    add("Relu", "dense1.relu")
    add("Gemm", "dense2", ("dense2.weight", "dense2.bias"), transB=1)
    add("Softmax", "softmax", axis=-1)

    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value, name) for name, value in parameters.items()],
        doc_string="Handwritten digits, white on black, 28 × 28. Trained on MNIST by train.py.",
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="kiln-examples")
    # How a picture becomes `image`, and what the ten outputs are called: read by `kiln` and kept in compiled programs.
    picture = {"input": "image", "layout": "nchw", "channels": 1, "scale": 1 / 255, "resize": "pad"}
    helper.set_model_props(proto, {"kiln.image": json.dumps(picture), "kiln.labels": json.dumps([str(digit) for digit in range(10)])})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def main():
    parser = argparse.ArgumentParser(description="Trains the digits network on MNIST and writes it as ONNX.")
    parser.add_argument("data", help="folder with the four MNIST .gz files")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="the last bits of the weights depend on it")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).with_name("digits.onnx"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = train(arguments.data, arguments.epochs)
    onnx.save(to_onnx(model), arguments.output)
    print(f"wrote {arguments.output} ({arguments.output.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
