"""Writes spellings of other exporters and of programs that PyTorch prints otherwise, as text. Written by: onnx 1.23.2.

    python written.py [NAME…]    writes NAME_text.onnx for every text below, or for these, beside this file

A name begins with what it spells; `near_…` looks like attention and is none, `no_X_…` looks like X and is none. The texts follow what
optimum, tf2onnx, jax2onnx and Keras 3 print: operators and their order are theirs, names and sizes are not.
"""

import pathlib
import struct
import sys

import onnx
import onnx.parser

HERE = pathlib.Path(__file__).parent
TEXTS = {}


def spelling(name, interface, body, **parameters):
    """Registers a graph; parameters are initialisers, as "type[dims] {values}"."""
    values = ", ".join(f"{ty.split(' ')[0]} {n} = {ty.split(' ', 1)[1]}" for n, ty in parameters.items())
    initialisers = f" <{values}>" if values else ""
    TEXTS[name] = f'<ir_version: 8, opset_import: ["" : 18]>\n{name} {interface}{initialisers} {{ {body} }}'


def vector(*numbers):
    return f"float[{len(numbers)}] {{{', '.join(map(str, numbers))}}}"


def number(value):
    return f"float {{{value}}}"


def halves(*numbers):
    """The parser reads the bits of 16-bit floats."""
    bits = [str(struct.unpack("<H", struct.pack("<e", n))[0]) for n in numbers]
    return f"float16{'' if len(bits) == 1 else f'[{len(bits)}]'} {{{', '.join(bits)}}}"


def integers(*numbers):
    return f"int64[{len(numbers)}] {{{', '.join(map(str, numbers))}}}"


# --- attention ---------------------------------------------------------------------------------------------------------

HEADS = "(float[2,3,5,4] q, float[2,3,7,4] k, float[2,3,7,4] v)"
HEADS_MASKED = HEADS[:-1] + ", {}) => (float[2,3,5,4] y)"
KT = "kt = Transpose<perm=[0,1,3,2]>(k) "

spelling(
    "attention_root_of_scale_on_both",
    HEADS + " => (float[2,3,5,4] y)",
    "a = Mul(q, r) b = Mul(k, r) " + "bt = Transpose<perm=[0,1,3,2]>(b) s = MatMul(a, bt) p = Softmax<axis=-1>(s) y = MatMul(p, v)",
    r=number(0.70710678),
)
spelling(
    "attention_divided_by_root_of_depth",
    HEADS + " => (float[2,3,5,4] y)",
    KT + "r = Sqrt(d) one = Div(u, r) f = Sqrt(one) a = Mul(q, f) b = Mul(kt, f) s = MatMul(a, b) p = Softmax<axis=3>(s) y = MatMul(p, v)",
    d=number(4.0),
    u=number(1.0),
)
spelling(
    "attention_mask_from_bool",
    HEADS_MASKED.format("bool[2,1,1,7] seen"),
    KT + "s = MatMul(q, kt) z = Div(s, c) n = Not(seen) f = Cast<to=1>(n) m = Mul(f, least) w = Add(z, m) p = Softmax<axis=-1>(w) y = MatMul(p, v)",
    c=number(2.0),
    least=number(-3.4028235e38),
)
spelling(
    "attention_mask_by_where_of_zero",
    HEADS_MASKED.format("bool[2,1,1,7] seen"),
    KT + "s = MatMul(q, kt) z = Mul(c, s) m = Where(seen, zero, least) w = Add(m, z) p = Softmax<axis=-1>(w) y = MatMul(p, v)",
    c=number(0.5),
    zero=number(0.0),
    least=number(-3.4028235e38),
)
spelling(
    "attention_mask_expanded_and_selected",
    HEADS_MASKED.format("bool[2,1,1,7] seen"),
    KT + "s = MatMul(q, kt) z = Mul(s, c) e = Expand(seen, size) i = Not(e) w = Where(i, least, z) p = Softmax<axis=-1>(w) y = MatMul(p, v)",
    c=number(0.5),
    size=integers(2, 3, 5, 7),
    least=number("-3.4028235e38"),
)
spelling(
    "attention_jax",
    "(float[2,5,3,4] q, float[2,7,3,4] k, float[2,7,3,4] v, bool[2,1,5,7] seen) => (float[2,5,3,4] y)",
    'a = Mul(q, c) s = Einsum<equation="BTNH,BSNH->BNTS">(a, k) w = Where(seen, s, least) x = ReduceMax<keepdims=1>(w, last) '
    "d = Sub(w, x) e = Exp(d) t = ReduceSum<keepdims=1>(e, last) p = Div(e, t) "
    'y = Einsum<equation="BNTS,BSNH->BTNH">(p, v)',
    c=number(0.5),
    least=number("-3.4028235e38"),
    last=integers(-1),
)
spelling(
    "attention_softmax_by_reciprocal",
    HEADS + " => (float[2,3,5,4] y)",
    KT + "s = MatMul(q, kt) z = Mul(s, c) x = ReduceMax<keepdims=1>(z, last) d = Sub(z, x) e = Exp(d) t = ReduceSum<keepdims=1>(e, last) "
    "r = Reciprocal(t) p = Mul(e, r) y = MatMul(p, v)",
    c=number(0.5),
    last=integers(3),
)
spelling(
    "attention_divided_after_values",
    HEADS + " => (float[2,3,5,4] y)",
    KT + "s = MatMul(q, kt) z = Mul(s, c) x = ReduceMax<keepdims=1>(z, last) d = Sub(z, x) e = Exp(d) t = ReduceSum<keepdims=1>(e, last) "
    "w = MatMul(e, v) y = Div(w, t)",
    c=number(0.5),
    last=integers(3),
)
spelling(
    "attention_half_softmax_in_float",
    "(float16[2,3,5,4] q, float16[2,3,7,4] k, float16[2,3,7,4] v) => (float16[2,3,5,4] y)",
    KT + "s = MatMul(q, kt) z = Div(s, c) w = Cast<to=1>(z) p = Softmax<axis=-1>(w) h = Cast<to=10>(p) y = MatMul(h, v)",
    c=halves(2.0),
)
spelling(
    "attention_half_with_mask_in_float",
    "(float16[2,3,5,4] q, float16[2,3,7,4] k, float16[2,3,7,4] v, float[2,1,1,7] m) => (float16[2,3,5,4] y)",
    KT + "s = MatMul(q, kt) w = Cast<to=1>(s) z = Mul(w, c) u = Add(z, m) p = Softmax<axis=-1>(u) h = Cast<to=10>(p) y = MatMul(h, v)",
    c=number(0.5),
)
spelling(
    "attention_grouped_by_tile",
    "(float[2,4,5,4] q, float[2,2,7,4] k, float[2,2,7,4] v) => (float[2,4,5,4] y)",
    "k5 = Unsqueeze(k, two) kr = Tile(k5, twice) kh = Reshape(kr, heads) v5 = Unsqueeze(v, two) vr = Tile(v5, twice) vh = Reshape(vr, heads) "
    "kt = Transpose<perm=[0,1,3,2]>(kh) s = MatMul(q, kt) z = Mul(s, c) p = Softmax<axis=-1>(z) y = MatMul(p, vh)",
    two=integers(2),
    twice=integers(1, 1, 2, 1, 1),
    heads=integers(2, 4, 7, 4),
    c=number(0.5),
)
spelling(
    "attention_grouped_by_concat",
    "(float[2,4,5,4] q, float[2,2,7,4] k, float[2,2,7,4] v) => (float[2,4,5,4] y)",
    "k5 = Unsqueeze(k, two) kr = Concat<axis=2>(k5, k5) kh = Reshape(kr, heads) v5 = Unsqueeze(v, two) vr = Concat<axis=2>(v5, v5) "
    "vh = Reshape(vr, heads) kt = Transpose<perm=[0,1,3,2]>(kh) s = MatMul(q, kt) z = Mul(s, c) p = Softmax<axis=-1>(z) y = MatMul(p, vh)",
    two=integers(2),
    heads=integers(2, 4, 7, 4),
    c=number(0.5),
)
spelling(
    "attention_grouped_by_gather",
    "(float[2,4,5,4] q, float[2,2,7,4] k, float[2,2,7,4] v) => (float[2,4,5,4] y)",
    "kh = Gather<axis=1>(k, at) vh = Gather<axis=1>(v, at) kt = Transpose<perm=[0,1,3,2]>(kh) s = MatMul(q, kt) z = Mul(s, c) "
    "p = Softmax<axis=-1>(z) y = MatMul(p, vh)",
    at=integers(0, 0, 1, 1),
    c=number(0.5),
)
spelling(
    "attention_grouped_by_queries",
    "(float[2,4,5,4] q, float[2,2,7,4] k, float[2,2,7,4] v) => (float[2,4,5,4] y)",
    "qg = Reshape(q, groups) k5 = Unsqueeze(k, two) v5 = Unsqueeze(v, two) kt = Transpose<perm=[0,1,2,4,3]>(k5) s = MatMul(qg, kt) z = Mul(s, c) "
    "p = Softmax<axis=-1>(z) o = MatMul(p, v5) y = Reshape(o, heads)",
    two=integers(2),
    groups=integers(2, 2, 2, 5, 4),
    heads=integers(2, 4, 5, 4),
    c=number(0.5),
)
spelling(
    "attention_batches_of_their_own_names",
    "(float[a,2,5,4] q, float[b,2,7,4] k, float[c,2,7,4] v) => (float[d,2,5,4] y)",
    KT + "s = MatMul(q, kt) z = Mul(s, f) p = Softmax<axis=-1>(z) y = MatMul(p, v)",
    f=number(0.5),
)
spelling(
    "attention_masked_batches_of_their_own_names",
    "(float[a,2,5,4] q, float[b,2,7,4] k, float[c,2,7,4] v, float[d,1,5,7] m) => (float[e,2,5,4] y)",
    KT + "s = MatMul(q, kt) z = Mul(s, f) w = Add(z, m) p = Softmax<axis=-1>(w) y = MatMul(p, v)",
    f=number(0.5),
)
spelling(
    "attention_by_einsum_batches_of_their_own_names",
    "(float[a,5,2,4] q, float[b,7,2,4] k, float[c,7,2,4] v) => (float[d,5,2,4] y)",
    "z = Mul(q, f) s = Einsum<equation=\"aecd,abcd->acbe\">(k, z) p = Softmax<axis=-1>(s) y = Einsum<equation=\"acbe,aecd->abcd\">(p, v)",
    f=number(0.5),
)
spelling(
    "attention_projected_batches_of_their_own_names",
    "(float[a,5,8] q, float[b,7,8] k, float[c,7,8] v, float[8,2,4] wq, float[8,2,4] wk, float[8,2,4] wv, float[2,4] o, float[2,4,8] wo) "
    "=> (float[d,5,8] y)",
    "q0 = Einsum<equation=\"abc,cde->abde\">(q, wq) q1 = Add(q0, o) z = Mul(q1, f) k0 = Einsum<equation=\"abc,cde->abde\">(k, wk) k1 = Add(k0, o) "
    "v0 = Einsum<equation=\"abc,cde->abde\">(v, wv) v1 = Add(v0, o) s = Einsum<equation=\"aecd,abcd->acbe\">(k1, z) p = Softmax<axis=-1>(s) "
    "h = Einsum<equation=\"acbe,aecd->abcd\">(p, v1) y = Einsum<equation=\"abcd,cde->abe\">(h, wo)",
    f=number(0.5),
)
spelling(
    "near_softmax_over_queries_batches_of_their_own_names",
    "(float[a,5,2,4] q, float[b,7,2,4] k, float[c,7,2,4] v) => (float[d,5,2,4] y)",
    "z = Mul(q, f) s = Einsum<equation=\"aecd,abcd->acbe\">(k, z) p = Softmax<axis=2>(s) y = Einsum<equation=\"acbe,aecd->abcd\">(p, v)",
    f=number(0.5),
)
spelling(
    "attention_by_split",
    "(float[2,5,36] x) => (float[2,5,12] y)",
    "q, k, v = Split<axis=-1, num_outputs=3>(x) qr = Reshape(q, heads) kr = Reshape(k, heads) vr = Reshape(v, heads) qh = Transpose<perm=[0,2,1,3]>(qr) "
    "kh = Transpose<perm=[0,2,3,1]>(kr) vh = Transpose<perm=[0,2,1,3]>(vr) s = MatMul(qh, kh) z = Div(s, c) p = Softmax<axis=-1>(z) "
    "o = MatMul(p, vh) t = Transpose<perm=[0,2,1,3]>(o) y = Reshape(t, whole)",
    heads=integers(2, 5, 3, 4),
    whole=integers(2, 5, 12),
    c=number(2.0),
)
spelling(
    "attention_by_gemm",
    "(float[5,4] q, float[7,4] k, float[7,3] v) => (float[5,3] y)",
    "s = Gemm<alpha=0.5, transB=1>(q, k) p = Softmax<axis=1>(s) y = Gemm(p, v)",
)
spelling(
    "attention_with_slopes",
    HEADS + " => (float[2,3,5,4] y)",
    KT + "s = MatMul(q, kt) z = Mul(s, c) b = Mul(slopes, distance) w = Add(z, b) p = Softmax<axis=-1>(w) y = MatMul(p, v)",
    c=number(0.5),
    slopes="float[3,1,1] {0.5, 0.25, 0.125}",
    distance="float[1,1,7] {0, -1, -2, -3, -4, -5, -6}",
)
spelling(
    "attention_with_cache_and_groups",
    "(float[2,4,5,4] q, float[2,2,5,4] k, float[2,2,5,4] v, float[2,2,p,4] pk, float[2,2,p,4] pv, float[2,1,5,total] m) "
    "=> (float[2,4,5,4] y, float[2,2,total,4] nk, float[2,2,total,4] nv)",
    "nk = Concat<axis=2>(pk, k) nv = Concat<axis=2>(pv, v) k5 = Unsqueeze(nk, two) sh = Shape(k5) kr = Expand(k5, grow) vr0 = Unsqueeze(nv, two) "
    "vr = Expand(vr0, grow) kh = Reshape(kr, heads) vh = Reshape(vr, heads) kt = Transpose<perm=[0,1,3,2]>(kh) s = MatMul(q, kt) z = Mul(s, c) "
    "w = Add(z, m) p = Softmax<axis=-1>(w) y = MatMul(p, vh)",
    two=integers(2),
    grow=integers(1, 1, 2, 1, 1),
    heads=integers(0, 4, -1, 4),
    c=number(0.5),
)

# --- near misses of attention --------------------------------------------------------------------------------------------

spelling(
    "near_softmax_with_one_more",
    HEADS + " => (float[2,3,5,4] y)",
    KT + "s = MatMul(q, kt) e = Exp(s) t = ReduceSum<keepdims=1>(e, last) u = Add(t, one) p = Div(e, u) y = MatMul(p, v)",
    last=integers(3),
    one=number(1.0),
)
spelling(
    "near_scale_after_softmax_by_key",
    HEADS_MASKED.format("float[2,1,1,7] w"),
    KT + "s = MatMul(q, kt) p = Softmax<axis=-1>(s) u = Mul(p, w) y = MatMul(u, v)",
)
spelling(
    "near_values_divided_by_other_sum",
    HEADS_MASKED.format("float[2,3,5,1] t"),
    KT + "s = MatMul(q, kt) e = Exp(s) w = MatMul(e, v) y = Div(w, t)",
)
spelling(
    "near_values_divided_by_sum_of_values",
    HEADS + " => (float[2,3,5,4] y)",
    KT + "s = MatMul(q, kt) e = Exp(s) w = MatMul(e, v) t = ReduceSum<keepdims=1>(w, last) y = Div(w, t)",
    last=integers(3),
)
spelling(
    "near_scores_rounded_to_integers",
    HEADS + " => (float[2,3,5,4] y)",
    KT + "s = MatMul(q, kt) i = Cast<to=6>(s) w = Cast<to=1>(i) p = Softmax<axis=-1>(w) y = MatMul(p, v)",
)

# --- norms ---------------------------------------------------------------------------------------------------------------

ROWS = "(float[2,3,8] x) => (float[2,3,8] y)"
W = vector(1.5, -0.5, 2, 0.25, 1, 1.25, -1, 0.75)
B = vector(0.5, 0, -1, 0.25, 1, -0.25, 2, 0.125)
LAST = integers(-1)

spelling(
    "layer_norm_by_power",
    ROWS,
    "m = ReduceMean<keepdims=1>(x, last) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<keepdims=1>(q, last) a = Add(v, e) r = Pow(a, h) "
    "n = Mul(d, r) s = Mul(w, n) y = Add(b, s)",
    last=LAST, e=number(1e-5), h=number(-0.5), w=W, b=B,
)
spelling(
    "layer_norm_by_quotient_of_one",
    ROWS,
    "m = ReduceMean<keepdims=1>(x, last) d = Sub(x, m) q = Pow(d, two) v = ReduceMean<keepdims=1>(q, last) a = Add(v, e) r = Sqrt(a) "
    "i = Div(one, r) g = Mul(i, w) n = Mul(d, g) y = Add(n, b)",
    last=LAST, e=number(1e-5), two=number(2.0), one=number(1.0), w=W, b=B,
)
spelling(
    "layer_norm_by_mean_of_squares",
    ROWS,
    "m = ReduceMean<keepdims=1>(x, last) q = Mul(x, x) s = ReduceMean<keepdims=1>(q, last) o = Mul(m, m) v = Sub(s, o) d = Sub(x, m) "
    "a = Add(v, e) r = Sqrt(a) n = Div(d, r) u = Mul(n, w) y = Add(u, b)",
    last=LAST, e=number(1e-5), w=W, b=B,
)
spelling(
    "layer_norm_flax",
    ROWS,
    "m = ReduceMean<keepdims=1>(x, last) q = Mul(x, x) s = ReduceMean<keepdims=1>(q, last) o = Mul(m, m) v0 = Sub(s, o) v = Max(zero, v0) "
    "d = Sub(x, m) a = Add(v, e) r0 = Sqrt(a) r = Reciprocal(r0) g = Mul(r, w) n = Mul(d, g) y = Add(n, b)",
    last=LAST, e=number(1e-6), zero=number(0.0), w=W, b=B,
)
spelling(
    "layer_norm_moments_by_sums",
    ROWS,
    "t = ReduceSum<keepdims=1>(x, last) m = Div(t, count) d = Sub(x, m) q = Mul(d, d) t2 = ReduceSum<keepdims=1>(q, last) v = Mul(t2, part) "
    "a = Add(v, e) r = Sqrt(a) n = Div(d, r) u = Mul(n, w) y = Add(u, b)",
    last=LAST, e=number(1e-5), count=number(8.0), part=number(0.125), w=W, b=B,
)
spelling(
    "layer_norm_in_float_of_halves",
    "(float16[2,3,8] x) => (float16[2,3,8] y)",
    "f = Cast<to=1>(x) m = ReduceMean<keepdims=1>(f, last) d = Sub(f, m) q = Mul(d, d) v = ReduceMean<keepdims=1>(q, last) a = Add(v, e) r = Sqrt(a) "
    "n = Div(d, r) u = Mul(n, w) z = Add(u, b) y = Cast<to=10>(z)",
    last=LAST, e=number(1e-5), w=W, b=B,
)
spelling(
    "rms_norm_by_power",
    ROWS,
    "q = Pow(x, two) v = ReduceMean<keepdims=1>(q, last) a = Add(v, e) r = Pow(a, h) n = Mul(x, r) y = Mul(w, n)",
    last=LAST, e=number(1e-6), h=number(-0.5), two=number(2.0), w=W,
)
spelling(
    "rms_norm_gemma",
    ROWS,
    "q = Mul(x, x) v = ReduceMean<keepdims=1>(q, last) a = Add(v, e) r = Sqrt(a) i = Reciprocal(r) n = Mul(x, i) g = Add(one, w) y = Mul(n, g)",
    last=LAST, e=number(1e-6), one=number(1.0), w=W,
)
spelling(
    "rms_norm_by_sum_of_squares",
    ROWS,
    "q = ReduceSumSquare<keepdims=1>(x, last) v = Div(q, count) a = Add(v, e) r = Sqrt(a) n = Div(x, r) y = Mul(n, w)",
    last=LAST, e=number(1e-6), count=number(8.0), w=W,
)
spelling(
    "rms_norm_of_halves",
    "(float16[2,3,8] x) => (float16[2,3,8] y)",
    "f = Cast<to=1>(x) q = Pow(f, two) v = ReduceMean<keepdims=1>(q, last) a = Add(v, e) r = Sqrt(a) i = Div(one, r) n = Mul(f, i) "
    "h = Cast<to=10>(n) y = Mul(h, w)",
    last=LAST, e=number(1e-6), one=number(1.0), two=number(2.0),
    w=halves(1.5, -0.5, 2, 0.25, 1, 1.25, -1, 0.75),
)
spelling(
    "group_norm_channels_last",
    "(float[2,4,5,6] x) => (float[2,4,5,6] y)",
    "g = Reshape(x, groups) m = ReduceMean<keepdims=1>(g, inside) d = Sub(g, m) q = Mul(d, d) v = ReduceMean<keepdims=1>(q, inside) a = Add(v, e) "
    "r = Sqrt(a) n = Div(d, r) z = Reshape(n, whole) u = Mul(z, w) y = Add(u, b)",
    groups=integers(2, 4, 5, 3, 2), whole=integers(2, 4, 5, 6), inside=integers(1, 2, 4), e=number(1e-3),
    w=vector(1.5, -0.5, 2, 0.25, 1, 1.25), b=vector(0.5, 0, -1, 0.25, 1, -0.25),
)
spelling(
    "group_norm_keras_moments",
    "(float[n,4,5,6] x) => (float[n,4,5,6] y)",
    "g = Reshape(x, groups) m = ReduceMean<keepdims=1>(g, inside) d = Sub(g, m) q = Mul(d, d) v = ReduceMean<keepdims=1>(q, inside) a = Add(v, e) "
    "s = Sqrt(a) r = Reciprocal(s) i = Mul(r, w) xi = Mul(g, i) mi = Mul(m, i) o = Sub(b, mi) z = Add(xi, o) y = Reshape(z, whole)",
    groups=integers(-1, 4, 5, 3, 2), whole=integers(-1, 4, 5, 6), inside=integers(1, 2, 4), e=number(1e-3),
    w="float[1,1,1,3,2] {1.5, -0.5, 2, 0.25, 1, 1.25}", b="float[1,1,1,3,2] {0.5, 0, -1, 0.25, 1, -0.25}",
)
spelling(
    "no_layer_norm_epsilon_outside",
    ROWS,
    "m = ReduceMean<keepdims=1>(x, last) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<keepdims=1>(q, last) r = Sqrt(v) a = Add(r, e) y = Div(d, a)",
    last=LAST, e=number(0.5),
)
spelling(
    "no_layer_norm_of_sample_deviation",
    ROWS,
    "m = ReduceMean<keepdims=1>(x, last) d = Sub(x, m) q = Mul(d, d) t = ReduceSum<keepdims=1>(q, last) v = Div(t, count) a = Add(v, e) r = Sqrt(a) "
    "y = Div(d, r)",
    last=LAST, e=number(1e-5), count=number(7.0),
)
spelling(
    "no_layer_norm_mean_of_other_axis",
    ROWS,
    "m = ReduceMean<keepdims=1>(x, other) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<keepdims=1>(q, last) a = Add(v, e) r = Sqrt(a) y = Div(d, r)",
    last=LAST, other=integers(1), e=number(1e-5),
)
spelling(
    "no_layer_norm_squares_of_other",
    "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y)",
    "m = ReduceMean<keepdims=1>(x, last) q = Mul(z, z) s = ReduceMean<keepdims=1>(q, last) o = Mul(m, m) v0 = Sub(s, o) v = Abs(v0) d = Sub(x, m) "
    "a = Add(v, e) r = Sqrt(a) y = Div(d, r)",
    last=LAST, e=number(1e-2),
)
spelling(
    "no_rms_norm_of_other",
    "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y)",
    "q = Mul(z, z) v = ReduceMean<keepdims=1>(q, last) a = Add(v, e) r = Sqrt(a) y = Div(x, r)",
    last=LAST, e=number(1e-6),
)

# --- softmax and activations -------------------------------------------------------------------------------------------------

spelling(
    "softmax_by_log_sum",
    ROWS,
    "m = ReduceMax<keepdims=1>(x, last) d = Sub(x, m) e = Exp(d) t = ReduceSum<keepdims=1>(e, last) l = Log(t) z = Add(l, m) u = Sub(x, z) y = Exp(u)",
    last=LAST,
)
spelling(
    "log_softmax_by_shifted_log_sum",
    ROWS,
    "m = ReduceMax<keepdims=1>(x, last) d = Sub(x, m) e = Exp(d) t = ReduceSum<keepdims=1>(e, last) l = Log(t) z = Add(l, m) y = Sub(x, z)",
    last=LAST,
)
spelling(
    "log_softmax_jax",
    ROWS,
    "m = ReduceMax<keepdims=1>(x, last) d = Sub(x, m) e = Exp(d) t = ReduceSum<keepdims=1>(e, last) l = Log(t) y = Sub(d, l)",
    last=LAST,
)
spelling(
    "log_softmax_less_both",
    ROWS,
    "m = ReduceMax<keepdims=1>(x, last) d = Sub(x, m) e = Exp(d) t = ReduceSum<keepdims=1>(e, last) l = Log(t) u = Sub(x, l) y = Sub(u, m)",
    last=LAST,
)
spelling("gelu_jax", ROWS, "z = Div(x, r) e = Erf(z) a = Add(e, one) h = Div(a, two) y = Mul(x, h)",
         r=number(1.4142135), one=number(1.0), two=number(2.0))
spelling("gelu_by_less_of_negated", ROWS, "n = Neg(x) z = Mul(n, r) e = Erf(z) a = Sub(one, e) h = Mul(half, x) y = Mul(h, a)",
         r=number(0.70710678), one=number(1.0), half=number(0.5))
spelling("gelu_tanh_jax", ROWS,
         "c = Pow(x, three) d = Mul(f, c) s = Add(x, d) z = Mul(r, s) t = Tanh(z) a = Add(one, t) h = Mul(half, a) y = Mul(x, h)",
         three=number(3.0), f=number(0.044715), r=number(0.7978846), one=number(1.0), half=number(0.5))
spelling("gelu_tanh_by_parts", ROWS,
         "q = Mul(x, x) d = Mul(q, f) s = Add(d, r) z = Mul(x, s) t = Tanh(z) h = Mul(x, half) u = Mul(h, t) y = Add(h, u)",
         f=number(0.035677408), r=number(0.7978846), half=number(0.5))
spelling("gelu_by_erf_and_sum", ROWS, "h = Mul(x, half) z = Div(x, r) e = Erf(z) u = Mul(h, e) y = Add(u, h)",
         half=number(0.5), r=number(1.4142135))
spelling("silu_by_tanh", ROWS, "h = Mul(x, half) t = Tanh(h) a = Add(t, one) y = Mul(h, a)", half=number(0.5), one=number(1.0))
spelling("silu_by_power", ROWS, "n = Neg(x) e = Exp(n) a = Add(one, e) i = Pow(a, m) y = Mul(x, i)", one=number(1.0), m=number(-1.0))
spelling("silu_of_growing_power", ROWS, "e = Exp(x) a = Add(e, one) s = Div(e, a) y = Mul(s, x)", one=number(1.0))
spelling("swish_by_quotient", ROWS, "z = Mul(x, f) n = Neg(z) e = Exp(n) a = Add(e, one) y = Div(x, a)", f=number(1.702), one=number(1.0))
spelling("hard_swish_by_minimum", ROWS, "a = Add(x, three) l = Max(a, zero) h = Min(l, six) s = Mul(h, part) y = Mul(s, x)",
         three=number(3.0), zero=number(0.0), six=number(6.0), part=number(0.16666667))
spelling("hard_swish_by_parts", ROWS, "z = Mul(x, part) a = Add(z, half) c = Clip(a, zero, one) y = Mul(x, c)",
         part=number(0.16666667), half=number(0.5), zero=number(0.0), one=number(1.0))
spelling("mish_by_stable_softplus", ROWS,
         "p = Max(x, zero) b = Abs(x) n = Neg(b) e = Exp(n) a = Add(e, one) l = Log(a) s = Add(p, l) t = Tanh(s) y = Mul(x, t)",
         zero=number(0.0), one=number(1.0))
spelling("mish_by_quotient", ROWS,
         "e = Exp(x) a = Add(e, two) n = Mul(e, a) d = Add(n, two) r = Div(n, d) y = Mul(x, r)", two=number(2.0))
spelling("no_gelu_other_factor", ROWS, "z = Div(x, two) e = Erf(z) a = Add(e, one) h = Mul(a, half) y = Mul(x, h)",
         two=number(2.0), one=number(1.0), half=number(0.5))
spelling("no_gelu_half_of_other", "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y)",
         "h = Mul(z, half) q = Div(x, r) e = Erf(q) u = Mul(h, e) y = Add(u, h)", half=number(0.5), r=number(1.4142135))
spelling("no_silu_of_other", "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y)",
         "h = Mul(z, half) t = Tanh(h) a = Add(t, one) g = Mul(x, half) y = Mul(g, a)", half=number(0.5), one=number(1.0))
spelling("no_hard_swish_lower_top", ROWS, "a = Add(x, three) c = Clip(a, zero, five) s = Mul(c, part) y = Mul(s, x)",
         three=number(3.0), zero=number(0.0), five=number(5.0), part=number(0.16666667))
spelling("no_mish_of_twice", ROWS, "d = Mul(x, two) e = Exp(d) a = Add(e, one) l = Log(a) t = Tanh(l) y = Mul(x, t)",
         two=number(2.0), one=number(1.0))
spelling("no_log_softmax_with_one_more", ROWS,
         "e = Exp(x) t = ReduceSum<keepdims=1>(e, last) u = Add(t, one) l = Log(u) y = Sub(x, l)", last=LAST, one=number(1.0))
spelling("no_softmax_of_other_sum", "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y)",
         "e = Exp(x) f = Exp(z) t = ReduceSum<keepdims=1>(f, last) y = Div(e, t)", last=LAST)


# --- recurrent layers --------------------------------------------------------------------------------------------------

MATRICES = dict(w=vector(*[0.1 * i - 0.5 for i in range(12)]).replace("float[12]", "float[3,4]"),
                r=vector(*[0.4 - 0.05 * i for i in range(16)]).replace("float[16]", "float[4,4]"), b=vector(0.1, -0.2, 0.3, -0.4))
CELL = "a = MatMul(row, w) c = MatMul(h, r) s = Add(a, c) t = Add(s, b) next = Tanh(t)"

spelling("rnn_scan_open_sizes", "(float[t,b,3] x, float[b,4] h0) => (float[b,4] last, float[t,b,4] all)",
         f"last, all = Scan<num_scan_inputs=1, body=step (float[b,4] h, float[b,3] row) => (float[b,4] next, float[b,4] slice) "
         f"{{ {CELL} slice = Identity(next) }}>(h0, x)", **MATRICES)
spelling("rnn_scan_backwards", "(float[b,t,3] x, float[b,4] h0) => (float[b,4] last, float[b,t,4] all)",
         f"last, all = Scan<num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1], scan_output_axes=[1], "
         f"scan_output_directions=[1], body=step (float[b,4] h, float[b,3] row) => (float[b,4] next, float[b,4] slice) "
         f"{{ {CELL} slice = Identity(next) }}>(h0, x)", **MATRICES)
spelling("no_rnn_scan_weights_by_step", "(float[t,2,3] x, float[2,4] h0, float[t,4,4] r) => (float[2,4] last)",
         f"last = Scan<num_scan_inputs=2, body=step (float[2,4] h, float[2,3] row, float[4,4] r) => (float[2,4] next) "
         f"{{ {CELL} }}>(h0, x, r)", w=MATRICES["w"], b=MATRICES["b"])


# --- loops that end by their condition ---------------------------------------------------------------------------------

LOOP_CELL = "row = Gather<axis=0>(x, {at}) " + CELL
LOOP = ("(float[6,2,3] x, float[2,4] h0) => (float[2,4] last{more})",
        "last{more} = Loop<body=step (int64 i, bool go{state}, float[2,4] h) => (bool still{next}, float[2,4] next) {{ {body} }}>({count}, {begin}{first}, h0)")


def loop(name, body, at="i", count="count", begin="yes", counter=None, **parameters):
    """A loop over the steps of x. A counter is (type, name of its first value)."""
    more = ", last_counter" if counter else ""
    interface = LOOP[0].format(more=f", {counter[0]} last_counter" if counter else "")
    states = dict(state=f", {counter[0]} n", next=f", {counter[0]} n_next", first=f", {counter[1]}") if counter else dict(state="", next="", first="")
    order = "last_counter, last" if counter else "last"
    text = LOOP[1].replace("last{more} =", order + " =").format(body=body + " " + LOOP_CELL.format(at=at), count=count, begin=begin, **states)
    spelling(name, interface, text, **MATRICES, **parameters)


YES, SIX, ONE = "bool {1}", "int64 {6}", "int64 {1}"
loop("rnn_loop_condition_handed_on", "still = Identity(go)", count="six", yes=YES, six=SIX)
loop("rnn_loop_while_below", "still = Less(i, six)", count="six", yes=YES, six=SIX)
loop("rnn_loop_while_next_below", "m = Add(i, one) less = Less(m, six) still = And(less, go)", count='""', yes=YES, six=SIX, one=ONE)
loop("rnn_loop_ends_by_condition", "still = Greater(three, i)", count="six", yes=YES, six=SIX, three="int64 {3}")
loop("rnn_loop_counted_in_value", "n_next = Add(n, one) still = Less(n_next, six)", at="n", count='""', counter=("int64", "zero"), yes=YES, six=SIX,
     one=ONE, zero="int64 {0}")
loop("rnn_loop_counted_from_two", "n_next = Add(n, one) a1 = LessOrEqual(n_next, five) still = And(a1, a1)", at="n", count='""',
     counter=("int32", "two"), yes=YES, five="int32 {5}", one="int32 {1}", two="int32 {2}")
spelling("rnn_loop_hands_weights_on", "(float[6,2,3] x, float[2,4] h0) => (float[2,4] last)",
         "last, w_last = Loop<body=step (int64 i, bool go, float[2,4] h, float[3,4] v) => (bool still, float[2,4] next, float[3,4] v_next) "
         f"{{ still = Identity(go) v_next = Identity(v) row = Gather<axis=0>(x, i) {CELL.replace('row, w', 'row, v')} }}>(six, yes, h0, w)",
         **MATRICES, yes=YES, six=SIX)
loop("no_rnn_loop_every_second", "n_next = Add(n, two) still = Less(n_next, six)", at="n", count='""', counter=("int64", "zero"), yes=YES, six=SIX,
     two="int64 {2}", zero="int64 {0}")
loop("no_rnn_loop_backwards", "n_next = Sub(n, one) still = GreaterOrEqual(n_next, zero)", at="n", count='""', counter=("int64", "five"), yes=YES,
     five="int64 {5}", one=ONE, zero="int64 {0}")


def main():
    for name in sys.argv[1:] or TEXTS:
        model = onnx.parser.parse_model(TEXTS[name])
        onnx.checker.check_model(model)
        onnx.save(model, str(HERE / f"{name}_text.onnx"))


main()
