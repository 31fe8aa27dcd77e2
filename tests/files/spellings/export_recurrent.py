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


# --- other ways to write a step ----------------------------------------------------------------------------------------


def gates3(self, row, h):
    z = torch.sigmoid(row @ self.w0 + h @ self.w1 + self.w2)
    r = torch.sigmoid(row @ self.w3 + h @ self.w4 + self.w5)
    return z, torch.tanh(row @ self.w6 + r * (h @ self.w7) + self.w8)


THREE_GATES = weights(*[(F, H), (H, H), (H,)] * 3)


@both(X, S)
@with_state(**THREE_GATES)
def gru_update_is_share_of_new(self, x, h):
    # As Cho et al. 2014 write it, and the first PyTorch tutorials: z·n + (1 − z)·h.
    for t in range(T):
        z, n = gates3(self, x[:, t], h)
        h = z * n + (1 - z) * h
    return h


@both(X, S)
@with_state(**THREE_GATES)
def gru_goes_towards_new(self, x, h):
    for t in range(T):
        z, n = gates3(self, x[:, t], h)
        h = h + z * (n - h)
    return h


@both(X, S)
@with_state(**THREE_GATES)
def gru_goes_back_to_old(self, x, h):
    for t in range(T):
        z, n = gates3(self, x[:, t], h)
        h = n - z * (n - h)
    return h


@case(X, S)
@with_state(**THREE_GATES)
def no_gru_update_by_tanh(self, x, h):
    for t in range(T):
        z, n = gates3(self, x[:, t], h)
        z = torch.tanh(x[:, t] @ self.w0 + h @ self.w1)
        h = z * n + (1 - z) * h
    return h


@case(X, S)
@with_state(**THREE_GATES)
def no_gru_shares_exceed_one(self, x, h):
    for t in range(T):
        z, n = gates3(self, x[:, t], h)
        h = z * n + (2 - z) * h
    return h


PEEPHOLES = weights((F, 4 * H), (H, 4 * H), (4 * H,), (H,), (H,), (H,))


def peephole_step(self, row, h, c, of_output):
    i, f, g, o = (row @ self.w0 + h @ self.w1 + self.w2).chunk(4, -1)
    i, f = torch.sigmoid(i + self.w3 * c), torch.sigmoid(f + self.w4 * c)
    new = f * c + i * torch.tanh(g)
    return torch.sigmoid(o + self.w5 * (new if of_output else c)) * torch.tanh(new), new


@both(X, S, S)
@with_state(**PEEPHOLES)
def lstm_peepholes(self, x, h, c):
    for t in range(T):
        h, c = peephole_step(self, x[:, t], h, c, True)
    return h, c


@case(X, S, S)
@with_state(**PEEPHOLES)
def no_lstm_output_gate_sees_old_memory(self, x, h, c):
    for t in range(T):
        h, c = peephole_step(self, x[:, t], h, c, False)
    return h, c


@both(X, S, S)
@with_state(**weights((F, 4 * H), (H, 4 * H), (4 * H,)))
def lstm_clipped(self, x, h, c):
    for t in range(T):
        h, c = lstm_step(torch.clamp(x[:, t] @ self.w0 + h @ self.w1 + self.w2, -0.5, 0.5), c)
    return h, c


@both(X, S)
@with_state(**weights((F, H), (H, H)))
def rnn_clipped(self, x, h):
    for t in range(T):
        h = torch.tanh(torch.clamp(x[:, t] @ self.w0 + h @ self.w1, -0.75, 0.75))
    return h


@case(X, S, S)
@with_state(**weights((F, 4 * H), (H, 4 * H), (4 * H,)))
def no_lstm_memory_clipped(self, x, h, c):
    for t in range(T):
        h, c = lstm_step(x[:, t] @ self.w0 + h @ self.w1 + self.w2, c.clamp(-0.25, 0.25))
    return h, c


@case(X, S)
@with_state(**weights((F, H), (H, H)))
def no_rnn_bounds_differ(self, x, h):
    for t in range(T):
        h = torch.tanh(torch.clamp(x[:, t] @ self.w0 + h @ self.w1, -0.75, 0.5))
    return h


# One sample, without an axis of the batch.


@both((T, F), (H,), (H,))
@with_state(cell=cell(nn.LSTMCell, F, H))
def lstm_cells_of_one_sample(self, x, h, c):
    outputs = []
    for t in range(T):
        h, c = self.cell(x[t], (h, c))
        outputs.append(h)
    return torch.stack(outputs), h, c


@both((T, F), (H,))
@with_state(cell=cell(nn.GRUCell, F, H))
def gru_cells_of_one_sample(self, x, h):
    for step in x:
        h = self.cell(step, h)
    return h


@both((T, F), (H,))
@with_state(**weights((H, F), (H, H), (H,)))
def rnn_matrices_times_vectors(self, x, h):
    outputs = []
    for t in range(T):
        h = torch.tanh(self.w0 @ x[t] + self.w1 @ h + self.w2)
        outputs.append(h)
    return torch.stack(outputs)


@both((T, F), (H,))
@with_state(**THREE_GATES)
def gru_vectors_times_matrices(self, x, h):
    for t in range(T):
        z, n = gates3(self, x[t], h)
        h = (1 - z) * n + z * h
    return h


@both((1, T, F), (1, H))
@with_state(cell=cell(nn.GRUCell, F, H))
def gru_cells_batch_of_one(self, x, h):
    for t in range(T):
        h = self.cell(x[:, t], h)
    return h


@case((T, F), (H,))
def rnn_scan_of_one_sample(self, x, h):
    w, r = self.w0, self.w1

    def step(h, row):
        h = torch.tanh(row @ w + h @ r)
        return h, h.clone()

    return scan(step, h, x)


rnn_scan_of_one_sample.state = weights((F, H), (H, H))


# Several cells in one loop.


@case(TIME_FIRST, S, S, S)
@with_state(below=cell(nn.GRUCell, F, H), above=cell(nn.LSTMCell, H, H))
def lstm_above_gru_scan(self, x, g, h, c):
    def step(carried, row):
        g = self.below(row, carried[0])
        h, c = self.above(g, (carried[1], carried[2]))
        return [g, h, c], h.clone()

    last, all_steps = scan(step, [g, h, c], x)
    return all_steps, *last


@case(TIME_FIRST, S)
@with_state(cell=cell(nn.GRUCell, F, H), out=nn.Linear(H, 2))
def gru_scan_with_output(self, x, h):
    def step(h, row):
        h = self.cell(row, h)
        return h, torch.softmax(self.out(h), -1)

    return scan(step, h, x)


@case(TIME_FIRST, S, S)
@with_state(**weights((F, H), (H, H), (F, H), (H, H)))
def no_rnn_scan_of_two_that_see_each_other(self, x, h, g):
    def step(carried, row):
        h, g = carried
        h, g = torch.tanh(row @ self.w0 + g @ self.w1), torch.tanh(row @ self.w2 + h @ self.w3)
        return [h, g], h.clone()

    last, all_steps = scan(step, [h, g], x)
    return all_steps, *last


# Loops whose end is in their condition.


@torch.jit.script
def elman_while(x: torch.Tensor, h: torch.Tensor, w: torch.Tensor, r: torch.Tensor):
    t = 0
    while t < 4:
        h = torch.tanh(x[t] @ w + h @ r)
        t += 1
    return h


@case(TIME_FIRST, S, ts=True)
@with_state(**weights((F, H), (H, H)))
def rnn_loop_while_scripted_ts(self, x, h):
    return elman_while(x, h, self.w0, self.w1)


if __name__ == "__main__":
    main()
