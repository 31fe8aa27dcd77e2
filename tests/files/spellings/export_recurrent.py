"""Exports recurrent layers written step by step, with both exporters of PyTorch. Written by: torch 2.15.0, onnxscript 0.7.2, onnx 1.23.2.

    python export_recurrent.py [NAME…]    writes NAME.onnx for every function below, or for these, beside this file

Names are as in export.py, whose cases and exporting these share.
"""

import torch
import torch.nn as nn
from torch._higher_order_ops.scan import scan

from export import CASES, case, main, with_state

CASES.clear()

B, T, F, H = 2, 4, 3, 4  # batch, steps, features, hidden
X, S = (B, T, F), (B, H)
TIME_FIRST = (T, B, F)


def cell(kind, *sizes, seed=3, **options):
    torch.manual_seed(seed)
    return kind(*sizes, **options)


def weights(*shapes):
    generator = torch.Generator().manual_seed(4)
    return {f"w{i}": 0.5 * torch.randn(*s, generator=generator) for i, s in enumerate(shapes)}


def twice(f, name):
    """The same function through the older exporter too."""
    inputs, dynamic = CASES[name][1], CASES[name][3]

    def older(self, *x):
        return f(self, *x)

    older.state = getattr(f, "state", {})
    older.__name__ = f"{name}_ts"
    case(*inputs, ts=True, dynamic=dynamic)(older)


def both(*inputs, dynamic=None):
    def register(f):
        case(*inputs, dynamic=dynamic)(f)
        twice(f, f.__name__)
        return f

    return register


@both(X, S, S)
@with_state(cell=cell(nn.LSTMCell, F, H))
def lstm_cells(self, x, h, c):
    outputs = []
    for t in range(T):
        h, c = self.cell(x[:, t], (h, c))
        outputs.append(h)
    return torch.stack(outputs, 1), h, c


@case(X, S, S, dynamic={0: "batch"}, ts=True)
@with_state(cell=cell(nn.LSTMCell, F, H, bias=False))
def lstm_cells_open_batch_ts(self, x, h, c):
    for t in range(T):
        h, c = self.cell(x[:, t], (h, c))
    return h, c


@both(TIME_FIRST)
@with_state(cell=cell(nn.LSTMCell, F, H))
def lstm_cells_from_zeros_backwards(self, x):
    h, c = torch.zeros(B, H), torch.zeros(B, H)
    outputs = []
    for step in reversed(x.unbind(0)):
        h, c = self.cell(step, (h, c))
        outputs.insert(0, h)
    return torch.stack(outputs)


@both(X, S)
@with_state(cell=cell(nn.GRUCell, F, H))
def gru_cells(self, x, h):
    outputs = []
    for t in range(T):
        h = self.cell(x[:, t], h)
        outputs.append(h)
    return torch.stack(outputs, 1)


@both(X, S)
@with_state(cell=cell(nn.RNNCell, F, H, nonlinearity="relu"))
def rnn_cells(self, x, h):
    for t in range(T):
        h = self.cell(x[:, t], h)
    return h


def lstm_step(gates, c, order="ifgo"):
    of = dict(zip(order, gates.chunk(4, -1)))
    c = torch.sigmoid(of["f"]) * c + torch.sigmoid(of["i"]) * torch.tanh(of["g"])
    return torch.sigmoid(of["o"]) * torch.tanh(c), c


@both(X, S, S)
@with_state(**weights((F + H, 4 * H), (4 * H,)))
def lstm_of_joined_rows(self, x, h, c):
    for t in range(T):
        h, c = lstm_step(torch.cat([x[:, t], h], -1) @ self.w0 + self.w1, c, "igfo")
    return h


@both(X, S, S)
@with_state(**weights((F, 4 * H), (H, 4 * H), (4 * H,)))
def lstm_projected_before(self, x, h, c):
    projected = x @ self.w0 + self.w2
    for t in range(T):
        h, c = lstm_step(projected[:, t] + h @ self.w1, c)
    return h, c


@both(X, S)
@with_state(**weights(*[(F, H), (H, H), (H,)] * 3))
def gru_reset_before_product(self, x, h):
    for t in range(T):
        step = x[:, t]
        z = torch.sigmoid(step @ self.w0 + h @ self.w1 + self.w2)
        r = torch.sigmoid(step @ self.w3 + h @ self.w4 + self.w5)
        n = torch.tanh(step @ self.w6 + (r * h) @ self.w7 + self.w8)
        h = (1 - z) * n + z * h
    return h


@both(X, S, S, S)
@with_state(below=cell(nn.GRUCell, F, H), above=cell(nn.LSTMCell, H, H))
def lstm_above_gru(self, x, g, h, c):
    for t in range(T):
        g = self.below(x[:, t], g)
        h, c = self.above(g, (h, c))
    return h


@torch.jit.script
def elman(x: torch.Tensor, h: torch.Tensor, w: torch.Tensor, r: torch.Tensor):
    for t in range(x.size(0)):
        h = torch.tanh(x[t] @ w + h @ r)
    return h


@case(TIME_FIRST, S, dynamic=None, ts=True)
@with_state(**weights((F, H), (H, H)))
def rnn_loop_scripted_ts(self, x, h):
    return elman(x, h, self.w0, self.w1)


@case(TIME_FIRST, S, S)
@with_state(**weights((F, 4 * H), (H, 4 * H), (4 * H,)))
def lstm_scan(self, x, h, c):
    def step(carried, row):
        h, c = lstm_step(row @ self.w0 + carried[0] @ self.w1 + self.w2, carried[1])
        return [h, c], h.clone()

    last, all_steps = scan(step, [h, c], x)
    return all_steps, *last


@case((B, T, F), S)
@with_state(cell=cell(nn.GRUCell, F, H))
def gru_scan_backwards(self, x, h):
    def step(h, row):
        h = self.cell(row, h)
        return h, h.clone()

    last, all_steps = scan(step, h, x, dim=1, reverse=True)
    return all_steps, last


@case(TIME_FIRST, S, S)
@with_state(**weights((F, 4 * H), (H, 4 * H), (4 * H,)))
def lstm_scan_projected_before(self, x, h, c):
    def step(carried, row):
        h, c = lstm_step(row + carried[0] @ self.w1, carried[1])
        return [h, c], h.clone()

    last, all_steps = scan(step, [h, c], x @ self.w0 + self.w2)
    return all_steps, *last


@case(TIME_FIRST, S)
@with_state(**weights((F, H), (H, H)))
def no_rnn_scan_of_first_step(self, x, h):
    def step(h, row):
        h = torch.tanh(x[0] @ self.w0 + h @ self.w1)
        return h, row.clone()

    return scan(step, h, x)


@case(TIME_FIRST, S)
@with_state(**weights((F, H), (H, H)))
def no_rnn_scan_of_other_slices(self, x, h):
    def step(h, row):
        following = torch.tanh(row @ self.w0 + h @ self.w1)
        return following, h.clone()

    return scan(step, h, x)


@case(X, S, S)
@with_state(a=cell(nn.LSTMCell, F, H), b=cell(nn.LSTMCell, F, H, seed=5))
def no_lstm_weights_differ(self, x, h, c):
    for t in range(T):
        h, c = (self.a, self.b)[t % 2](x[:, t], (h, c))
    return h


@case(X, S, S)
@with_state(cell=cell(nn.LSTMCell, F, H))
def no_lstm_state_skipped(self, x, h, c):
    older = h
    for t in range(T):
        (h, c), older = self.cell(x[:, t], (older, c)), h
    return h


@case(X, S, S)
@with_state(cell=cell(nn.LSTMCell, F, H))
def no_lstm_steps_skipped(self, x, h, c):
    for t in (0, 2, 0, 2):
        h, c = self.cell(x[:, t], (h, c))
    return h


@case(X, S, S)
@with_state(cell=cell(nn.LSTMCell, F, H))
def no_lstm_memory_read_between(self, x, h, c):
    total = 0
    for t in range(T):
        h, c = self.cell(x[:, t], (h, c))
        total = total + c
    return h, total


@case(X, S, S)
@with_state(**weights((F, 4 * H), (H, 4 * H)))
def no_lstm_other_gate(self, x, h, c):
    for t in range(T):
        i, f, g, o = (x[:, t] @ self.w0 + h @ self.w1).chunk(4, -1)
        c = torch.tanh(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return h


@case(X, S)
@with_state(cell=cell(nn.GRUCell, F, H))
def no_gru_of_first_step(self, x, h):
    for t in range(T):
        h = self.cell(x[:, 0], h)
    return h


@case(X, S)
@with_state(cell=cell(nn.RNNCell, F, H))
def no_rnn_order_of_steps(self, x, h):
    for t in (2, 0, 3, 1):
        h = self.cell(x[:, t], h)
    return h


if __name__ == "__main__":
    main()
