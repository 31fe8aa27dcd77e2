"""Exports every spelling in this folder, with both exporters of PyTorch. Written by: torch 2.15.0, onnxscript 0.7.2, onnx 1.23.2.

    python export.py [NAME…]    writes NAME.onnx for every function below, or for these, beside this file

A name begins with what it spells: `attention_…`, `gelu_…`; `near_…` looks like attention and is none, `no_X_…` like X. `…_ts` was exported by the
older exporter (TorchScript, opset 14, in which layer norm and gelu have no operator), the others by the newer one (opset 18).
"""

import math
import pathlib
import sys
import warnings

import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
CASES = {}
B, H, L, M, D = 2, 3, 5, 7, 4  # batch, heads, queries, keys, depth


def tensors(*shapes):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(*s, generator=generator) for s in shapes)


Q, K, V = (B, H, L, D), (B, H, M, D), (B, H, M, D)


def case(*inputs, ts=False, dynamic=None):
    """Registers a function of tensors (shapes or tensors given) under its name."""

    def register(f):
        made = tuple(tensors(i)[0] if isinstance(i, tuple) else i for i in inputs)
        CASES[f.__name__.rstrip("_")] = (f, made, ts, dynamic)
        return f

    return register


class Calls(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f
        torch.manual_seed(2)
        for name, value in getattr(f, "state", {}).items():
            if isinstance(value, nn.Module):
                setattr(self, name, value)
            elif value.dtype.is_floating_point and not name.startswith("mask"):
                setattr(self, name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def forward(self, *x):
        return self.f(self, *x)


def with_state(**state):
    def attach(f):
        f.state = state
        return f

    return attach


# --- attention ---------------------------------------------------------------------------------------------------------


@case(Q, K, V)
def attention_sdpa(self, q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


@case(Q, K, V, (B, 1, L, M))
def attention_sdpa_float_mask(self, q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@case(Q, K, V, torch.ones(B, 1, 1, M, dtype=torch.bool))
def attention_sdpa_bool_mask(self, q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@case(Q, Q, Q)
def attention_sdpa_causal(self, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@case(Q, K, V)
def attention_sdpa_scale(self, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, scale=0.2)


@case(Q, K, V, ts=True)
def attention_sdpa_ts(self, q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


@case(Q, Q, Q, ts=True)
def attention_sdpa_causal_ts(self, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@case(Q, K, V)
def attention_divided(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1) @ v


@case(Q, K, V, ts=True)
def attention_divided_ts(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1) @ v


@case(Q, K, V)
def attention_multiplied(self, q, k, v):
    return ((q @ k.transpose(-2, -1)) * D**-0.5).softmax(dim=-1) @ v


@case(Q, K, V)
def attention_queries_scaled(self, q, k, v):
    return torch.softmax((q * D**-0.5) @ k.transpose(-2, -1), -1) @ v


@case(Q, K, V)
def attention_keys_scaled(self, q, k, v):
    return torch.softmax(q @ (k / math.sqrt(D)).transpose(-2, -1), -1) @ v


@case(Q, K, V)
def attention_unscaled(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1), -1) @ v


@case(Q, (B, H, D, M), V)
def attention_keys_stored_transposed(self, q, kt, v):
    return torch.softmax(q @ kt / 2.0, -1) @ v


@case(Q, K, V, (B, 1, 1, M))
def attention_mask_added(self, q, k, v, mask):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D) + mask, -1) @ v


@case(Q, K, V, torch.ones(B, 1, 1, M), ts=True)
def attention_mask_from_ones_ts(self, q, k, v, ones):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D) + (1.0 - ones) * -10000.0, -1) @ v


@case(Q, K, V, torch.zeros(B, 1, 1, M, dtype=torch.bool))
def attention_mask_filled(self, q, k, v, hidden):
    return torch.softmax((q @ k.transpose(-2, -1) / math.sqrt(D)).masked_fill(hidden, float("-inf")), -1) @ v


@case(Q, K, V, torch.ones(L, M, dtype=torch.bool))
def attention_mask_selected(self, q, k, v, seen):
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    return torch.softmax(torch.where(seen, scores, float("-inf")), -1) @ v


@case(Q, K, V, torch.zeros(L, M, dtype=torch.bool), ts=True)
def attention_mask_selected_ts(self, q, k, v, hidden):
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    return torch.softmax(torch.where(hidden, torch.tensor(float("-inf")), scores), -1) @ v


@case(Q, Q, Q)
@with_state(mask=torch.triu(torch.ones(8, 8, dtype=torch.bool), 1))
def attention_causal_filled(self, q, k, v):
    return torch.softmax((q @ k.transpose(-2, -1) / math.sqrt(D)).masked_fill(self.mask[:L, :L], float("-inf")), -1) @ v


@case(Q, Q, Q)
@with_state(mask=torch.full((L, L), float("-inf")).triu(1))
def attention_causal_added(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D) + self.mask, -1) @ v


@case(Q, Q, Q, (B, 1, 1, L))
@with_state(mask=torch.full((1, 1, L, L), float("-inf")).triu(1))
def attention_causal_and_padding(self, q, k, v, padding):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D) + self.mask + padding, -1) @ v


@case(Q, Q, Q)
@with_state(bias=torch.randn(1, H, L, L))
def attention_position_bias(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) + self.bias, -1) @ v


@case(Q, K, V, ts=True)
def attention_einsum_ts(self, q, k, v):
    p = torch.softmax(torch.einsum("bhid,bhjd->bhij", q, k) * 0.5, -1)
    return torch.einsum("bhij,bhjd->bhid", p, v)


@case((B, L, H, D), (B, M, H, D), (B, M, H, D), ts=True)
def attention_einsum_heads_inside_ts(self, q, k, v):
    p = torch.softmax(torch.einsum("blhd,bmhd->bhlm", q, k) / math.sqrt(D), -1)
    return torch.einsum("bhlm,bmhd->blhd", p, v)


@case((B, L, H, D), (B, M, H, D), (B, M, H, D), ts=True)
def attention_einsum_keys_first_ts(self, q, k, v):
    p = torch.softmax(torch.einsum("bmhd,blhd->bhlm", k, q * 0.5), -1)
    return torch.einsum("bhlm,bmhd->blhd", p, v)


@case(Q, K, V)
def attention_values_first(self, q, k, v):
    p = torch.softmax(q @ k.transpose(-2, -1) * 0.5, -1)
    return (v.transpose(-2, -1) @ p.transpose(-2, -1)).transpose(-2, -1)


@case(Q, K, V, ts=True)
def attention_columns_ts(self, q, k, v):
    return torch.softmax(k @ q.transpose(-2, -1) * 0.5, -2).transpose(-2, -1) @ v


@case(Q, K, V)
def attention_by_log_softmax(self, q, k, v):
    return torch.exp(torch.log_softmax(q @ k.transpose(-2, -1) * 0.5, -1)) @ v


@case((B, L, 12))
@with_state(qkv=nn.Linear(12, 36), proj=nn.Linear(12, 12))
def attention_vision(self, x):
    q, k, v = self.qkv(x).reshape(B, L, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
    y = ((q * 0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
    return self.proj(y.transpose(1, 2).reshape(B, L, 12))


@case(Q, K, V, torch.ones(B, M))
def attention_bert_mask(self, q, k, v, seen):
    extended = (1.0 - seen[:, None, None, :]) * torch.finfo(torch.float32).min
    return F.softmax(q @ k.transpose(-1, -2) / math.sqrt(D) + extended, dim=-1) @ v


@case((B, L, D), (B, M, D), (B, M, D))
def attention_one_head(self, q, k, v):
    return torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)) / math.sqrt(D), -1), v)


@case((L, D), (M, D), (M, D))
def attention_one_sample(self, q, k, v):
    return torch.softmax(q @ k.T / math.sqrt(D), dim=1) @ v


@case((B, L, 12))
@with_state(qkv=nn.Linear(12, 36), out=nn.Linear(12, 12))
def attention_fused_projection(self, x):
    q, k, v = (t.view(B, L, 3, 4).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
    y = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1) @ v
    return self.out(y.transpose(1, 2).reshape(B, L, 12))


@case((B, L, 12))
@with_state(attention=nn.MultiheadAttention(12, 3, batch_first=True))
def attention_module(self, x):
    return self.attention(x, x, x, need_weights=False)[0]


@case((B, L, 12), ts=True)
@with_state(attention=nn.MultiheadAttention(12, 3, batch_first=True))
def attention_module_ts(self, x):
    return self.attention(x, x, x, need_weights=False)[0]


@case((B * H, L, D), (B * H, M, D), (B * H, M, D), (B, 1, 1, M), ts=True)
def attention_heads_merged_ts(self, q, k, v, mask):
    scores = torch.bmm(q, k.transpose(1, 2)).view(B, H, L, M) + mask
    return torch.bmm(torch.softmax(scores.view(B * H, L, M), -1), v)


@case((B, 4, L, D), (B, 2, M, D), (B, 2, M, D))
def attention_grouped(self, q, k, v):
    def repeat(t):
        return t[:, :, None].expand(B, 2, 2, M, D).reshape(B, 4, M, D)

    return torch.softmax(q @ repeat(k).transpose(2, 3) / math.sqrt(D), -1) @ repeat(v)


@case(Q, (B, 1, M, D), (B, 1, M, D))
def attention_one_key_head(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1) @ v


@case(Q, (B, H, 1, D), (B, H, 1, D), (B, H, 6, D), (B, H, 6, D))
def attention_with_cache(self, q, k, v, past_k, past_v):
    k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1) @ v, k, v


@case(Q, K, V)
def attention_capped(self, q, k, v):
    return torch.softmax(50.0 * torch.tanh(q @ k.transpose(-2, -1) / math.sqrt(D) / 50.0), -1) @ v


@case(Q, K, V)
def attention_softmax_spelled(self, q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    powers = torch.exp(scores - scores.amax(-1, keepdim=True))
    return (powers / powers.sum(-1, keepdim=True)) @ v


@case(Q, K, V, dynamic={0: "batch", 2: "length"}, ts=True)
def attention_dynamic_ts(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1) @ v


@case((B, L, 12))
@with_state(layer=nn.TransformerEncoderLayer(12, 3, 24, batch_first=True, activation="gelu"))
def attention_encoder_layer(self, x):
    return self.layer(x)


@case(Q, K, V, (B, 1, 1, M))
def attention_mask_before_scale(self, q, k, v, mask):
    return torch.softmax((q @ k.transpose(-2, -1) + mask) * D**-0.5, -1) @ v


@case(Q, K, V)
@with_state(temperature=torch.rand(H, 1, 1) + 0.5)
def attention_temperature_per_head(self, q, k, v):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return torch.softmax(q @ k.transpose(-2, -1) * self.temperature, -1) @ v


@case(Q, K, V, (1,), ts=True)
def attention_temperature_given_ts(self, q, k, v, temperature):
    return torch.softmax(q @ k.transpose(-2, -1) / temperature, -1) @ v


@case((B * H, L, D), (B * H, M, D), (B * H, M, D), (B * H, L, M), ts=True)
def attention_baddbmm_ts(self, q, k, v, bias):
    return torch.bmm(torch.softmax(torch.baddbmm(bias, q, k.transpose(1, 2), alpha=0.5), -1), v)


@case((B, L, 12), (B, M, 12), ts=True)
@with_state(q=nn.Linear(12, 12), k=nn.Linear(12, 12), v=nn.Linear(12, 12))
def attention_scaled_before_heads_ts(self, x, context):
    def heads(t):
        return t.view(B, -1, 3, 4).transpose(1, 2)

    q, k, v = heads(self.q(x) * 0.5), heads(self.k(context)), heads(self.v(context))
    return torch.softmax(q @ k.transpose(-2, -1), -1) @ v


@case(Q, K, V, torch.ones(1, 1, L, M, dtype=torch.bool), ts=True)
def attention_least_mask_selected_ts(self, q, k, v, seen):
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    return torch.softmax(torch.where(seen, scores, torch.full([], torch.finfo(torch.float32).min)), -1) @ v


# Masks by a large finite number: another function where a query sees no key, so only with --approximate.


@case(Q, K, V, torch.ones(B, 1, L, M))
def attention_finite_mask_filled(self, q, k, v, seen):
    return torch.softmax((q @ k.transpose(-2, -1) / math.sqrt(D)).masked_fill(seen == 0, -1e9), -1) @ v


@case(Q, K, V, torch.ones(B, 1, 1, M), ts=True)
def attention_finite_mask_filled_ts(self, q, k, v, seen):
    return torch.softmax((q @ k.transpose(-2, -1) * 0.5).masked_fill(seen == 0, -10000.0), -1) @ v


# --- near misses -------------------------------------------------------------------------------------------------------


@case(Q, K, V)
def near_softmax_over_queries(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -2) @ v


@case(Q, K, V)
def near_softmax_over_heads(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), 1) @ v


@case(Q, K, V, (B, 1, L, M))
def near_mask_after_softmax(self, q, k, v, mask):
    return (torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1) * mask) @ v


@case(Q, K, V, (B, 1, L, M))
def near_mask_multiplied_before_softmax(self, q, k, v, mask):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D) * mask, -1) @ v


@case(Q, K, V, torch.ones(L, M, dtype=torch.bool))
def near_mask_fills_zero(self, q, k, v, seen):
    return torch.softmax(torch.where(seen, q @ k.transpose(-2, -1), 0.0), -1) @ v


@case(Q, K, V)
def near_sigmoid(self, q, k, v):
    return torch.sigmoid(q @ k.transpose(-2, -1) / math.sqrt(D)) @ v


@case(Q, K, V)
def near_relu(self, q, k, v):
    return torch.relu(q @ k.transpose(-2, -1) / math.sqrt(D)) @ v


@case(Q, K, V)
def near_softmax_twice(self, q, k, v):
    return torch.softmax(torch.softmax(q @ k.transpose(-2, -1), -1) * 2.0, -1) @ v


@case(Q, K, V)
def near_log_softmax(self, q, k, v):
    return torch.log_softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1) @ v


@case(Q, K, V)
@with_state(temperature=torch.rand(H, 1, 1) + 0.5)
def near_bias_after_softmax(self, q, k, v):
    return (torch.softmax(q @ k.transpose(-2, -1), -1) + self.temperature) @ v


@case(Q, Q, Q)
def near_shares_transposed(self, q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1).transpose(-2, -1) @ v


@case(Q, K, V)
def near_not_normalised(self, q, k, v):
    return torch.exp(q @ k.transpose(-2, -1) / math.sqrt(D)) @ v


@case(Q, K, V)
def near_normalised_by_values(self, q, k, v):
    powers = torch.exp(q @ k.transpose(-2, -1))
    return (powers / powers.sum(-2, keepdim=True)) @ v


@case(Q, K, V)
def near_cap_over_sum(self, q, k, v):
    return torch.softmax(2.0 * torch.tanh(q @ k.transpose(-2, -1) / 3.0) + torch.tanh(q @ k.transpose(-2, -1)), -1) @ v


# --- activations -------------------------------------------------------------------------------------------------------

X = (3, 8)


@case(X)
def gelu_exact(self, x):
    return F.gelu(x)


@case(X, ts=True)
def gelu_exact_ts(self, x):
    return F.gelu(x)


@case(X)
def gelu_approximate(self, x):
    return F.gelu(x, approximate="tanh")


@case(X, ts=True)
def gelu_approximate_ts(self, x):
    return F.gelu(x, approximate="tanh")


@case(X)
def gelu_by_hand(self, x):
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


@case(X, ts=True)
def gelu_by_hand_last_half_ts(self, x):
    return x * (torch.erf(x * math.sqrt(0.5)) + 1) / 2


@case(X, ts=True)
def gelu_tanh_by_power_ts(self, x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


@case(X)
def gelu_tanh_by_products(self, x):
    return 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


@case(X)
def swish_quick_gelu(self, x):
    return x * torch.sigmoid(1.702 * x)


@case(X)
def silu(self, x):
    return F.silu(x)


@case(X, ts=True)
def silu_by_quotient_ts(self, x):
    return x / (1 + torch.exp(-x))


@case(X)
def mish_by_hand(self, x):
    return x * torch.tanh(F.softplus(x))


@case(X, ts=True)
def mish_ts(self, x):
    return F.mish(x)


@case(X)
def mish_by_logarithm(self, x):
    return x * torch.tanh(torch.log(1 + torch.exp(x)))


@case(X)
def hard_swish_by_relu6(self, x):
    return x * F.relu6(x + 3) / 6


@case(X, ts=True)
def hard_swish_by_clamp_ts(self, x):
    return x * torch.clamp(x + 3, 0, 6) * (1 / 6)


# --- softmax and norms -------------------------------------------------------------------------------------------------


@case(X)
def softmax_by_hand(self, x):
    return torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)


@case(X, ts=True)
def softmax_shifted_ts(self, x):
    powers = torch.exp(x - x.max(dim=-1, keepdim=True)[0])
    return powers / powers.sum(dim=-1, keepdim=True)


@case(X)
def log_softmax_by_log(self, x):
    return torch.log(torch.softmax(x, -1))


@case(X, ts=True)
def log_softmax_by_log_sum_ts(self, x):
    return x - torch.logsumexp(x, -1, keepdim=True)


@case((2, 3, 8), ts=True)
@with_state(norm=nn.LayerNorm(8))
def layer_norm_ts(self, x):
    return self.norm(x)


@case((2, 3, 8), ts=True)
def layer_norm_plain_ts(self, x):
    return F.layer_norm(x, (8,))


@case((2, 3, 8))
@with_state(weight=torch.randn(8), bias=torch.randn(8))
def layer_norm_by_hand(self, x):
    d = x - x.mean(-1, keepdim=True)
    return d * torch.rsqrt(d.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight + self.bias


@case((2, 3, 8), ts=True)
@with_state(weight=torch.randn(8), bias=torch.randn(8))
def layer_norm_by_moments_ts(self, x):
    # As Keras does, by way of batch normalisation.
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    slope = torch.rsqrt(variance + 1e-3) * self.weight
    return x * slope + (self.bias - mean * slope)


@case((2, 3, 8))
@with_state(weight=torch.randn(8))
def rms_norm_llama(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


@case((2, 3, 8), ts=True)
@with_state(weight=torch.randn(8))
def rms_norm_quotient_ts(self, x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.weight


@case((2, 6, 4, 4))
@with_state(norm=nn.GroupNorm(3, 6))
def group_norm(self, x):
    return self.norm(x)


@case((2, 6, 4, 4), ts=True)
@with_state(norm=nn.GroupNorm(3, 6))
def group_norm_ts(self, x):
    return self.norm(x)


@case((2, 3, 4, 5))
@with_state(weight=torch.randn(3, 1, 1), bias=torch.randn(3, 1, 1))
def instance_norm_by_hand(self, x):
    d = x - x.mean((2, 3), keepdim=True)
    return d / torch.sqrt((d * d).mean((2, 3), keepdim=True) + 1e-5) * self.weight + self.bias


# --- spellings of whole modules ----------------------------------------------------------------------------------------


@case((B, 4, L, D), (B, 2, M, D), (B, 2, M, D))
def attention_grouped_interleaved(self, q, k, v):
    k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
    return torch.softmax(q @ k.transpose(2, 3) / math.sqrt(D), -1) @ v


@case((B, 4, L, D), (B, 2, M, D), (B, 2, M, D))
def attention_sdpa_grouped(self, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


@case(*(t.half() for t in tensors(Q, K, V)))
def attention_half(self, q, k, v):
    p = torch.softmax(q @ k.transpose(-2, -1) * 0.5, -1, dtype=torch.float32).to(q.dtype)
    return p @ v


@case(*(t.half() for t in tensors(Q, K, V)), torch.zeros(B, 1, L, M), ts=True)
def attention_half_masked_ts(self, q, k, v, mask):
    return torch.softmax((q @ k.transpose(-2, -1)).float() * 0.5 + mask, -1).to(q.dtype) @ v


def rotated(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


LLAMA = dict(
    q=nn.Linear(16, 16, bias=False),
    k=nn.Linear(16, 8, bias=False),
    v=nn.Linear(16, 8, bias=False),
    o=nn.Linear(16, 16, bias=False),
    cos=torch.cos(torch.arange(L * D) * 0.1).view(L, D),
    sin=torch.sin(torch.arange(L * D) * 0.1).view(L, D),
)
LLAMA_INPUTS = (B, L, 16), torch.zeros(B, 1, L, 6 + L), (B, 2, 6, D), (B, 2, 6, D)


@case(*LLAMA_INPUTS)
@with_state(**LLAMA)
def attention_llama(self, x, mask, past_k, past_v):
    q, k, v = (w(x).view(B, L, -1, D).transpose(1, 2) for w in (self.q, self.k, self.v))
    q, k = rotated(q, self.cos, self.sin), rotated(k, self.cos, self.sin)
    k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    repeated = [t[:, :, None].expand(B, 2, 2, 6 + L, D).reshape(B, 4, 6 + L, D) for t in (k, v)]
    p = torch.softmax(q @ repeated[0].transpose(2, 3) / math.sqrt(D) + mask, -1, dtype=torch.float32).to(q.dtype)
    return self.o((p @ repeated[1]).transpose(1, 2).reshape(B, L, 16)), k, v


@case(*LLAMA_INPUTS, ts=True)
@with_state(**LLAMA)
def attention_llama_ts(self, *inputs):
    return attention_llama(self, *inputs)


def neox(self, x):
    """Heads with queries, keys and values beside each other, of which the first half of the depth is rotated."""
    q, k, v = self.qkv(x).view(B, L, 3, 6 * D).transpose(1, 2).chunk(3, -1)
    turned = [torch.cat([rotated(t[..., :D], self.cos, self.sin), t[..., D:]], -1) for t in (q, k)]
    return *turned, v


NEOX = dict(
    qkv=nn.Linear(12, 3 * 6 * D),
    cos=torch.cos(torch.arange(L * D) * 0.1).view(L, D),
    sin=torch.sin(torch.arange(L * D) * 0.1).view(L, D),
)


@case((B, L, 12), (B, 1, L, L))
@with_state(**NEOX)
def attention_neox(self, x, mask):
    q, k, v = neox(self, x)
    return torch.softmax(q @ k.transpose(2, 3) * (2 * D) ** -0.5 + mask, -1) @ v


@case((B, L, 12), (B, 1, L, L), ts=True)
@with_state(**NEOX)
def attention_neox_ts(self, x, mask):
    return attention_neox(self, x, mask)


@case((B, L, 12), (B, 1, L, L), ts=True)
@with_state(**NEOX)
def near_softmax_of_rotated_over_queries_ts(self, x, mask):
    q, k, v = neox(self, x)
    return torch.softmax(q @ k.transpose(2, 3) * (2 * D) ** -0.5 + mask, -2) @ v


@case((B, L, 12), torch.ones(B, L, dtype=torch.bool))
@with_state(attention=nn.MultiheadAttention(12, 3, batch_first=True))
def attention_module_padded(self, x, hidden):
    return self.attention(x, x, x, key_padding_mask=hidden, need_weights=False)[0]


@case((B, L, 12), ts=True)
@with_state(layer=nn.TransformerEncoderLayer(12, 3, 24, batch_first=True, norm_first=True))
def attention_norm_first_ts(self, x):
    return self.layer(x)


@case(Q, K, V)
def attention_divided_after_values(self, q, k, v):
    powers = torch.exp(q @ k.transpose(-2, -1) * 0.5)
    return (powers @ v) / powers.sum(-1, keepdim=True)


@case((2, 3, 8))
@with_state(norm=nn.RMSNorm(8, eps=1e-6))
def rms_norm_module(self, x):
    return self.norm(x)


@case((2, 3, 8), ts=True)
@with_state(weight=torch.randn(8))
def rms_norm_of_halves_ts(self, x):
    y = x.float()
    return self.weight * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x)


@case((2, 3, 8), ts=True)
def rms_norm_by_length_ts(self, x):
    return x * (x.norm(dim=-1, keepdim=True) ** 2 / 8 + 1e-6).rsqrt()


@case((2, 3, 8))
@with_state(weight=torch.randn(8), bias=torch.randn(8))
def layer_norm_by_var(self, x):
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * self.weight + self.bias


@case((2, 3, 8), ts=True)
@with_state(weight=torch.randn(8), bias=torch.randn(8))
def layer_norm_by_squares_ts(self, x):
    mean = x.mean(-1, keepdim=True)
    variance = (x * x).mean(-1, keepdim=True) - mean**2
    return (x - mean) * torch.rsqrt(variance + 1e-5) * self.weight + self.bias


@case((2, 6, 4, 4))
@with_state(weight=torch.randn(1, 6, 1, 1), bias=torch.randn(1, 6, 1, 1))
def group_norm_by_hand(self, x):
    g = x.view(2, 3, -1)
    g = (g - g.mean(-1, keepdim=True)) / torch.sqrt(g.var(-1, keepdim=True, unbiased=False) + 1e-5)
    return g.view(2, 6, 4, 4) * self.weight + self.bias


@case((2, 4, 4, 6))
@with_state(norm=nn.GroupNorm(3, 6))
def group_norm_moved(self, x):
    return self.norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@case(X)
def silu_by_tanh(self, x):
    return 0.5 * x * (1 + torch.tanh(0.5 * x))


@case(X, ts=True)
def gelu_by_sum_ts(self, x):
    half = 0.5 * x
    return half + half * torch.erf(x / math.sqrt(2.0))


@case(X)
def mish_by_logaddexp(self, x):
    return x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x)))


@case(X)
def log_softmax_by_logsumexp(self, x):
    return x - torch.logsumexp(x, -1, keepdim=True)


@case(X)
def softmax_by_logsumexp(self, x):
    return torch.exp(x - torch.logsumexp(x, -1, keepdim=True))


@case((2, 3, 8))
def no_layer_norm_sample_variance(self, x):
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-5)


@case(X)
def no_gelu_of_doubled(self, x):
    return x * 0.5 * (1.0 + torch.erf(x * math.sqrt(2.0)))


def strip(graph):
    """Leaves out what is no part of a graph's meaning, in the bodies of loops too."""
    del graph.value_info[:]
    del graph.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                strip(attribute.g)
    for value in [*graph.input, *graph.output, *graph.initializer]:
        del value.metadata_props[:]


def main():
    warnings.filterwarnings("ignore")
    for name in sys.argv[1:] or CASES:
        f, inputs, ts, dynamic = CASES[name]
        model = Calls(f).eval()
        names = [f"x{i}" for i in range(len(inputs))]
        options = dict(dynamo=False, opset_version=14) if ts else dict(dynamo=True, opset_version=18)
        if dynamic:
            options["dynamic_axes"] = {n: dynamic for n in names}
        path = HERE / f"{name}.onnx"
        torch.onnx.export(model, inputs, str(path), input_names=names, verbose=False, **options)
        stripped = onnx.load(str(path))
        # What differs from machine to machine, or is long, is no part of a spelling.
        del stripped.metadata_props[:]
        stripped.doc_string = ""
        strip(stripped.graph)
        onnx.save(stripped, str(path))
        (HERE / f"{name}.onnx.data").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
