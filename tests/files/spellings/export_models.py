"""Exports what families of models write, with both exporters of PyTorch. Written by: torch 2.15.0, onnxscript 0.7.2, onnx 1.23.2.

    python export_models.py [NAME…]    writes NAME.onnx for every function below, or for these, beside this file

Names are as in export.py, whose cases and exporting these share.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from export import CASES, case, main, with_state

CASES.clear()

B, H, L, M, D = 2, 4, 5, 7, 4  # batch, heads, queries, keys, depth
KV = 2  # heads of keys
GROUPED = (B, H, L, D), (B, KV, M, D), (B, KV, M, D)
X = (3, 8)


def both(*inputs, dynamic=None):
    """Registers a function for both exporters."""

    def register(f):
        name = f.__name__.rstrip("_")

        def older(self, *x):
            return f(self, *x)

        older.state = getattr(f, "state", {})
        older.__name__ = f"{name}_ts"
        case(*inputs, dynamic=dynamic)(f)
        case(*inputs, ts=True, dynamic=dynamic)(older)
        return f

    return register


def rotate_every_two(x):
    """As GPT-J does: neighbours are the two parts of a number."""
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)


def angles(depth, length=L):
    steps = torch.arange(length).float()[:, None] * 10.0 ** (-torch.arange(0, depth, 2) / depth)
    return steps


GPTJ = dict(
    q=nn.Linear(12, H * D, bias=False),
    k=nn.Linear(12, H * D, bias=False),
    v=nn.Linear(12, H * D, bias=False),
    sin=torch.sin(angles(D)).repeat_interleave(2, -1),
    cos=torch.cos(angles(D)).repeat_interleave(2, -1),
)


@both((B, L, 12), (B, 1, L, L))
@with_state(**GPTJ)
def attention_gptj(self, x, mask):
    q, k, v = (w(x).view(B, L, H, D) for w in (self.q, self.k, self.v))
    sin, cos = self.sin[None, :, None], self.cos[None, :, None]
    q, k = (t * cos + rotate_every_two(t) * sin for t in (q, k))
    q, k, v = (t.permute(0, 2, 1, 3) for t in (q, k, v))
    weights = torch.matmul(q, k.transpose(-1, -2)) / torch.sqrt(torch.tensor(float(D))) + mask
    return torch.matmul(torch.softmax(weights, -1), v).permute(0, 2, 1, 3).reshape(B, L, H * D)


@both((B, L, 12), (B, 1, L, L))
@with_state(**GPTJ)
def attention_rotated_pairs_of_half(self, x, mask):
    # Complex numbers by real arithmetic, for half of the depth: x and y beside each other.
    def turned(t):
        some, rest = t[..., :2], t[..., 2:]
        a, b = some.reshape(B, L, H, 1, 2).unbind(-1)
        sin, cos = self.sin[None, :, None, :2:2], self.cos[None, :, None, :2:2]
        pairs = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(3)
        return torch.cat([pairs, rest], -1)

    q, k, v = (w(x).view(B, L, H, D) for w in (self.q, self.k, self.v))
    q, k, v = (t.transpose(1, 2) for t in (turned(q), turned(k), v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


LLAMA = dict(
    q=nn.Linear(16, 16, bias=False),
    k=nn.Linear(16, 8, bias=False),
    v=nn.Linear(16, 8, bias=False),
    cos=torch.cos(angles(D)).repeat(1, 2),
    sin=torch.sin(angles(D)).repeat(1, 2),
)


def half_rotated(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def llama(self, x):
    q, k, v = (w(x).view(B, L, -1, D).transpose(1, 2) for w in (self.q, self.k, self.v))
    return half_rotated(q, self.cos, self.sin), half_rotated(k, self.cos, self.sin), v


@both((B, L, 16), (B, 1, L, L))
@with_state(**LLAMA)
def attention_grouped_rotated_interleaved(self, x, mask):
    q, k, v = llama(self, x)
    k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
    return torch.softmax(q @ k.transpose(2, 3) / math.sqrt(D) + mask, -1) @ v


@both((B, L, 16), (B, 1, L, L))
@with_state(**LLAMA, heads=torch.tensor([0, 0, 1, 1]))
def attention_grouped_rotated_by_index(self, x, mask):
    q, k, v = llama(self, x)
    k, v = k[:, self.heads], v.index_select(1, self.heads)
    return torch.softmax(q @ k.transpose(2, 3) / math.sqrt(D) + mask, -1) @ v


@both((B, L, 16), (B, 1, L, L))
@with_state(**LLAMA)
def attention_grouped_rotated_expanded(self, x, mask):
    q, k, v = llama(self, x)
    k, v = (t[:, :, None].expand(B, KV, 2, L, D).reshape(B, H, L, D) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@both((B, L, 16), (B, 1, L, L))
@with_state(**LLAMA)
def attention_grouped_repeated_before_heads_move(self, x, mask):
    # Mistral in vLLM and in JAX: heads are repeated where they stand behind time.
    q, k, v = (w(x).view(B, L, -1, D) for w in (self.q, self.k, self.v))
    k, v = (t.repeat_interleave(2, dim=2) for t in (k, v))
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    return torch.softmax(q @ k.transpose(2, 3) / math.sqrt(D) + mask, -1) @ v


@both((B, 4, L, D), (B, 4, M, D), (B, 4, M, D))
@with_state(slopes=2.0 ** -(2.0 * torch.arange(1, 5)).view(4, 1, 1))
def attention_alibi(self, q, k, v):
    distance = torch.arange(M)[None, :] - torch.arange(L)[:, None]
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D) + self.slopes * distance, -1) @ v


@both((B, L, 16))
@with_state(
    q=nn.Linear(16, 16, bias=False), k=nn.Linear(16, 16, bias=False), v=nn.Linear(16, 16, bias=False), bias=nn.Embedding(8, 4)
)
def attention_t5(self, x):
    q, k, v = (w(x).view(B, L, 4, D).transpose(1, 2) for w in (self.q, self.k, self.v))
    place = (torch.arange(L)[None] - torch.arange(L)[:, None]).abs().clamp(max=7)
    bias = self.bias(place).permute(2, 0, 1).unsqueeze(0)
    return (torch.softmax(q @ k.transpose(3, 2) + bias, -1) @ v).transpose(1, 2).reshape(B, L, 16)


W = 4  # windows


def swin(self, x, mask, scores):
    qkv = self.qkv(x).reshape(B * W, L, 3, 4, D).permute(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]
    s = scores(q, k) + self.table[self.index.view(-1)].view(L, L, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
    if mask is not None:
        s = s.view(B, W, 4, L, L) + mask.unsqueeze(1).unsqueeze(0)
        s = s.view(-1, 4, L, L)
    return self.proj((torch.softmax(s, -1) @ v).transpose(1, 2).reshape(B * W, L, 16))


SWIN = dict(
    qkv=nn.Linear(16, 48),
    proj=nn.Linear(16, 16),
    table=torch.randn(9, 4),
    index=(torch.arange(L)[None] - torch.arange(L)[:, None] + L - 1),
)


@both((B * W, L, 16), (W, L, L))
@with_state(**SWIN)
def attention_swin_windows_masked(self, x, mask):
    return swin(self, x, mask, lambda q, k: (q * D**-0.5) @ k.transpose(-2, -1))


@both((B * W, L, 16))
@with_state(**SWIN)
def attention_swin_windows(self, x):
    return swin(self, x, None, lambda q, k: (q * D**-0.5) @ k.transpose(-2, -1))


def cosine(self, q, k):
    s = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    return s * torch.clamp(self.scale, max=math.log(1.0 / 0.01)).exp()


@both((B * W, L, 16))
@with_state(**SWIN, scale=torch.log(torch.tensor([10.0, 7.0, 12.0, 9.0]).view(4, 1, 1)))
def attention_swin_cosine(self, x):
    return swin(self, x, None, lambda q, k: cosine(self, q, k))


@both((B * W, L, 16), (W, L, L))
@with_state(**SWIN, scale=torch.log(torch.tensor([10.0, 7.0, 12.0, 9.0]).view(4, 1, 1)))
def attention_swin_cosine_masked(self, x, mask):
    return swin(self, x, mask, lambda q, k: cosine(self, q, k))


@both((B * 2, 6, 4), (B * 2, 6, 4), (B * 2, 6, 4))
@with_state(rows=torch.randn(3, 3, 4), columns=torch.randn(2, 2, 4))
def attention_sam_rows_and_columns(self, q, k, v):
    # Decomposed relative positions of pictures of 3 x 2: rows and columns are added where they are axes of their own.
    places = q.reshape(B * 2, 3, 2, 4)
    rows = torch.einsum("bhwc,hkc->bhwk", places, self.rows)
    columns = torch.einsum("bhwc,wkc->bhwk", places, self.columns)
    s = (q * 0.5) @ k.transpose(-2, -1)
    s = (s.view(B * 2, 3, 2, 3, 2) + rows[:, :, :, :, None] + columns[:, :, :, None, :]).view(B * 2, 6, 6)
    return s.softmax(-1) @ v


@both((B * W, L, 16), (W, L, L))
@with_state(**SWIN)
def near_swin_mask_times_scores(self, x, mask):
    qkv = self.qkv(x).reshape(B * W, L, 3, 4, D).permute(2, 0, 3, 1, 4)
    s = (qkv[0] @ qkv[1].transpose(-2, -1)).view(B, W, 4, L, L) * mask.unsqueeze(1).unsqueeze(0)
    return torch.softmax(s.view(-1, 4, L, L), -1) @ qkv[2]


@both((B, L, 12))
@with_state(attention=nn.MultiheadAttention(12, 3, batch_first=True))
def attention_module_with_weights(self, x):
    # The weights go on, so the softmax stays; but they are a result of their own.
    return self.attention(x, x, x, need_weights=True, average_attn_weights=False)[0]


@both((L, B, 12))
@with_state(attention=nn.MultiheadAttention(12, 3))
def attention_module_time_first(self, x):
    return self.attention(x, x, x, need_weights=True)[0]


@both((B, L, 12), (B, M, 12))
@with_state(layer=nn.TransformerDecoderLayer(12, 3, 24, batch_first=True).self_attn)
def attention_module_of_others(self, x, y):
    return self.layer(x, y, y, need_weights=False)[0]


@both((B, 4, L, D), (B, 4, M, D), (B, 4, M, D))
@with_state(mix=torch.randn(4, 4), mix2=torch.randn(4, 4))
def near_talking_heads(self, q, k, v):
    s = torch.einsum("bhqk,hg->bgqk", q @ k.transpose(-2, -1) / math.sqrt(D), self.mix)
    p = torch.einsum("bhqk,hg->bgqk", torch.softmax(s, -1), self.mix2)
    return p @ v


@both((B, 4, L, D), (B, 4, M, D), (B, 4, M, D))
def near_sigmoid_with_bias(self, q, k, v):
    return torch.sigmoid(q @ k.transpose(-2, -1) / math.sqrt(D) - math.log(M)) @ v


@both((B, 4, L, D), (B, 4, M, D), (B, 4, M, D))
def near_rotated_shares(self, q, k, v):
    return rotate_every_two(torch.softmax(q @ k.transpose(-2, -1), -1)[..., :6]) @ v[:, :, :6]


@both(GROUPED[0], *GROUPED[1:])
@with_state(heads=torch.tensor([0, 1, 0, 1]))
def attention_heads_in_other_order(self, q, k, v):
    # Neighbours do not share a head of keys: attention of what was picked.
    return torch.softmax(q @ k[:, self.heads].transpose(2, 3) / math.sqrt(D), -1) @ v[:, self.heads]


# --- norms


N = (2, 3, 8)


@both(N)
@with_state(weight=torch.randn(8))
def rms_norm_t5(self, x):
    variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
    return self.weight * (x * torch.rsqrt(variance + 1e-6))


@both(N)
@with_state(weight=torch.randn(8))
def rms_norm_gemma(self, x):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6) * (1.0 + self.weight.float())).type_as(x)


@both(N)
@with_state(weight=torch.randn(8))
def rms_norm_by_root_of_width(self, x):
    # F.normalize(x) * sqrt(n) * w, as lucidrains writes it; without epsilon but for a bound that is no part of the norm.
    return x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) / 8 + 1e-6) * self.weight


@both(N)
@with_state(weight=torch.randn(8))
def rms_norm_axis_inserted_after(self, x):
    return x * torch.rsqrt(x.pow(2).mean(-1) + 1e-6)[..., None] * self.weight


@both(N)
@with_state(weight=torch.randn(8), bias=torch.randn(8))
def layer_norm_axis_inserted_after(self, x):
    mean = x.mean(-1)[..., None]
    deviation = torch.sqrt(((x - mean) ** 2).mean(-1) + 1e-5).unsqueeze(-1)
    return (x - mean) / deviation * self.weight + self.bias


@both(N)
@with_state(weight=torch.randn(8))
def no_rms_norm_by_bounded_length(self, x):
    # The length is bounded, nothing is added to its square.
    return F.normalize(x, dim=-1, eps=0.1) * math.sqrt(8) * self.weight


@both((4, 6, 3))
def no_layer_norm_of_batch(self, x):
    # As batch normalisation does while it trains.
    d = x - x.mean((0, 2), keepdim=True)
    return d / torch.sqrt((d * d).mean((0, 2), keepdim=True) + 1e-5)


@both((2, 6, 4, 4))
@with_state(norm=nn.LayerNorm(6))
def layer_norm_permuted(self, x):
    return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@both((2, 6, 4, 4))
@with_state(weight=torch.randn(6), bias=torch.randn(6))
def layer_norm_convnext(self, x):
    u = x.mean(1, keepdim=True)
    s = (x - u).pow(2).mean(1, keepdim=True)
    x = (x - u) / torch.sqrt(s + 1e-6)
    return self.weight[:, None, None] * x + self.bias[:, None, None]


@both((2, 6, 4, 4))
@with_state(weight=torch.randn(1, 6, 1, 1), bias=torch.randn(1, 6, 1, 1))
def layer_norm_over_channels_by_var(self, x):
    var = torch.var(x, dim=1, unbiased=False, keepdim=True)
    mean = torch.mean(x, dim=1, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * self.weight + self.bias


@both((2, 6, 4, 4))
@with_state(norm=nn.InstanceNorm2d(6, affine=True))
def instance_norm_module(self, x):
    return self.norm(x)


@both((2, 6, 4, 4))
@with_state(norm=nn.InstanceNorm2d(6))
def instance_norm_module_plain(self, x):
    return self.norm(x)


@both((2, 6, 4, 4))
@with_state(norm=nn.GroupNorm(1, 6))
def group_norm_one_group(self, x):
    return self.norm(x)


# --- activations


@both(X)
def gelu_new(self, x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


@both(X)
def gelu_fast(self, x):
    return 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


@both(X)
def swish_quick_gelu_of_clip(self, x):
    return x * torch.sigmoid(1.702 * x)


@both(X)
def no_gelu_by_four_digits(self, x):
    # Apart by more than f32 rounds.
    return x * 0.5 * (1.0 + torch.erf(x * 0.7071))


@both(X)
def gelu_by_erf_after(self, x):
    return 0.5 * (x + x * torch.erf(x / math.sqrt(2.0)))


@both(X)
def silu_module(self, x):
    return nn.SiLU()(x)


@both(X)
def hard_swish_module(self, x):
    return nn.Hardswish()(x)


@both(X)
def hard_swish_by_hardsigmoid(self, x):
    return x * F.hardsigmoid(x)


@both(X)
def mish_module(self, x):
    return nn.Mish()(x)


@both(X)
def mish_by_softplus_module(self, x):
    return x * nn.Softplus()(x).tanh()


@both(X)
def log_softmax_stable(self, x):
    y = x - x.max(-1, keepdim=True)[0]
    return y - y.exp().sum(-1, keepdim=True).log()


@both(X)
def log_softmax_nll(self, x):
    return x - x.exp().sum(-1).log().unsqueeze(-1)


@both(X)
def softmax_of_log_softmax(self, x):
    return torch.log_softmax(x, -1).exp()


if __name__ == "__main__":
    main()
