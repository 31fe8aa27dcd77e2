//! `attention`: softmax of scaled query-key products, applied to values.   y = softmax(cap(q·kᵀ·scale) + bias)·v
//!
//! Shapes: `q: [batch, heads, queries, d]`, `k: [batch, kv_heads, keys, d]`, `v: [batch, kv_heads, keys, e]`,
//! `mask` broadcastable to `[batch, heads, queries, keys]` if `has_mask`, `lengths: [batch]` integers if `has_lengths`
//! → `[batch, heads, queries, e]`, then `[batch, heads, queries, keys]` if `scores` asks for them.
//! Head h reads key head ⌊h·kv_heads/heads⌋. `scale` is 1/√d unless given; cap(s) = softcap·tanh(s/softcap).
//! The bias is `mask`, and −∞ where a query must not see a key: query i stands at p = i + `past`, or i + lengths − queries
//! with `has_lengths`; it sees key j if (causal) j ≤ p, (`left_window`) p − j ≤ left_window, (`right_window`) j − p ≤ right_window,
//! and (`has_lengths`) j < lengths. A query whose bias is −∞ throughout, or that scores −∞ throughout, has probabilities 0 and gives 0.
//! 16-bit floats are computed in f32.
//! Constraints: (C0) three operands and those the attributes announce. (C1) one floating element type; `lengths` are integers.
//! (C2) `q`, `k` and `v` have four axes. (C3) batch, d, keys and kv_heads agree. (C4) kv_heads divides heads.
//! (C5) `mask` broadcasts to the scores, `lengths` is `[batch]`. (C6) `softcap` is positive.
//! Source: Vaswani et al. 2017; ONNX Attention-25 (`past` is the length of its past_key, `lengths` its nonpad_kv_seqlen).

use super::expansion::{scaled, size, widen};
use super::reference::{broadcast_position, largest};
use super::shape::{broadcasts_to, floating, operands, same_dtype};
use super::{Dot, Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::tensor::{indices, ravel};
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

crate::mode! {
    /// Which intermediate values are a second result.
    pub enum AttentionScores {
        /// q·kᵀ·scale
        Raw = "raw",
        /// After the cap.
        Capped = "capped",
        /// After the bias.
        Biased = "biased",
        /// The probabilities.
        Probabilities = "probabilities",
    }
}

op! {
    /// See the head of this file.
    pub struct Attention {
        /// Factor of the products; 1/√d if absent.
        pub scale: Option<Real>,
        /// Bound of the scores, softly enforced.
        pub softcap: Option<Real>,
        /// Whether a query sees no later key.
        pub causal: bool,
        /// Number of keys before the first query; negative hides keys from early queries.
        pub past: Dim,
        /// How far back a query sees.
        pub left_window: Option<usize>,
        /// How far ahead a query sees.
        pub right_window: Option<usize>,
        /// Whether there is a mask to add.
        pub has_mask: bool,
        /// Whether there are numbers of valid keys.
        pub has_lengths: bool,
        /// Which intermediate values are a second result.
        pub scores: Option<AttentionScores>,
    }
}

impl Attention {
    /// Without bias, cap and second result.
    pub fn plain() -> Attention {
        Attention {
            scale: None,
            softcap: None,
            causal: false,
            past: Dim::ZERO,
            left_window: None,
            right_window: None,
            has_mask: false,
            has_lengths: false,
            scores: None,
        }
    }

    fn lengths_operand(&self) -> usize {
        3 + usize::from(self.has_mask)
    }

    /// Where queries see keys, `[1 or batch, 1, queries, keys]`; `None` if everywhere.
    fn sight(&self, b: &mut Builder, batch: &Dim, queries: &Dim, keys: &Dim, lengths: Option<Value>) -> Option<Value> {
        if !self.causal && self.left_window.is_none() && self.right_window.is_none() && lengths.is_none() {
            return None;
        }
        let plane = [Dim::ONE, Dim::ONE, queries.clone(), keys.clone()];
        let [i, j] = [2, 3].map(|axis| b.iota(DType::I64, &plane, axis));
        let lengths = lengths.map(|lengths| {
            let lengths = b.cast(lengths, DType::I64);
            b.reshape(lengths, &[batch.clone(), Dim::ONE, Dim::ONE, Dim::ONE])
        });
        let mut sight = lengths.map(|lengths| b.less(j, lengths));
        let past = match lengths {
            Some(lengths) => {
                let queries = size(b, queries, DType::I64);
                b.sub(lengths, queries)
            }
            None => size(b, &self.past, DType::I64),
        };
        let place = b.add(i, past);
        let back = b.sub(place, j);
        let bound = |b: &mut Builder, value: i64| b.constant(Tensor::i64(&[], &[value]));
        let mut conditions = Vec::new();
        if self.causal {
            let zero = bound(b, 0);
            conditions.push(b.greater_equal(back, zero));
        }
        if let Some(left) = self.left_window {
            let left = bound(b, left as i64);
            conditions.push(b.less_equal(back, left));
        }
        if let Some(right) = self.right_window {
            let right = bound(b, -(right as i64));
            conditions.push(b.greater_equal(back, right));
        }
        for condition in conditions {
            sight = Some(sight.map_or(condition, |sight| b.and(sight, condition)));
        }
        sight
    }
}

impl Operator for Attention {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, self.lengths_operand() + usize::from(self.has_lengths), "attention_c0")?;
        let (q, k, v) = (&x[0], &x[1], &x[2]);
        floating(q, "attention_c1")?;
        for other in &x[1..self.lengths_operand()] {
            same_dtype(q, other, "attention_c1")?;
        }
        if [q.rank(), k.rank(), v.rank()] != [4; 3] {
            return Err(TypeError::new("attention_c2", format!("expected four axes each, got {q}, {k} and {v}")));
        }
        for (a, i, b, j, what) in
            [(q, 0, k, 0, "batch"), (q, 0, v, 0, "batch"), (q, 3, k, 3, "features"), (k, 2, v, 2, "keys"), (k, 1, v, 1, "key heads")]
        {
            facts.equal(&a.shape[i], &b.shape[j], "attention_c3", format_args!("{what} of {a} and {b}"))?;
        }
        let shared = &k.shape[1] * q.shape[1].floor_div(&k.shape[1]);
        facts.equal(&shared, &q.shape[1], "attention_c4", format_args!("{} heads sharing {} key heads", q.shape[1], k.shape[1]))?;
        let scores = q.with_shape(vec![q.shape[0].clone(), q.shape[1].clone(), q.shape[2].clone(), k.shape[2].clone()]);
        if self.has_mask {
            broadcasts_to(&x[3], &scores, facts, "attention_c5")?;
        }
        if self.has_lengths {
            let lengths = &x[self.lengths_operand()];
            if !lengths.dtype.is_int() {
                return Err(TypeError::new("attention_c1", format!("lengths are integers, got {lengths}")));
            }
            if lengths.rank() != 1 {
                return Err(TypeError::new("attention_c5", format!("expected one length per sample, got {lengths}")));
            }
            facts.equal(&lengths.shape[0], &q.shape[0], "attention_c5", "lengths and batch")?;
        }
        if self.softcap.is_some_and(|cap| cap.0.is_nan() || cap.0 <= 0.0) {
            return Err(TypeError::new("attention_c6", "the cap is not positive"));
        }
        let mut y = q.clone();
        y.shape[3] = v.shape[3].clone();
        Ok([y].into_iter().chain(self.scores.map(|_| scores)).collect())
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (q, k, v) = (x[0].floats(), x[1].floats(), x[2].floats());
        let mask = self.has_mask.then(|| x[3].floats());
        let lengths = self.has_lengths.then(|| x[self.lengths_operand()].ints());
        let [batch, heads, queries, d] = [0, 1, 2, 3].map(|a| x[0].shape()[a]);
        let (kv_heads, keys, e) = (x[1].shape()[1], x[1].shape()[2], x[2].shape()[3]);
        let scale = self.scale.map_or(1.0 / (d as f64).sqrt(), |s| s.0);
        let past = i128::from(self.past.as_const().ok_or_else(|| format!("past {} is not known", self.past))?);
        let (mut y, mut scores) = (Vec::new(), Vec::new());
        for index in indices(&[batch, heads, queries]) {
            let (n, h, i) = (index[0], index[1], index[2]);
            let shared = h * kv_heads / heads;
            let place = i as i128 + lengths.as_ref().map_or(past, |l| l[n] - queries as i128);
            let bias = |j: usize| {
                let back = place - j as i128;
                let sees = (!self.causal || back >= 0)
                    && self.left_window.is_none_or(|left| back <= left as i128)
                    && self.right_window.is_none_or(|right| -back <= right as i128)
                    && lengths.as_ref().is_none_or(|l| (j as i128) < l[n]);
                let given = mask.as_ref().map_or(0.0, |m| m[broadcast_position(&[n, h, i, j], x[3].shape())]);
                if sees { given } else { f64::NEG_INFINITY }
            };
            let product = |j: usize| {
                let (at, to) = (ravel(&[n, h, i, 0], x[0].shape()), ravel(&[n, shared, j, 0], x[1].shape()));
                (0..d).map(|f| q[at + f] * k[to + f]).sum::<f64>() * scale
            };
            let raw: Vec<f64> = (0..keys).map(product).collect();
            let capped: Vec<f64> = raw.iter().map(|s| self.softcap.map_or(*s, |cap| cap.0 * (s / cap.0).tanh())).collect();
            let biases: Vec<f64> = (0..keys).map(bias).collect();
            let biased: Vec<f64> = capped.iter().zip(&biases).map(|(s, b)| s + b).collect();
            let m = largest(&biased);
            let blind = m == f64::NEG_INFINITY || biases.iter().all(|b| *b == f64::NEG_INFINITY);
            let powers: Vec<f64> = biased.iter().map(|s| (s - m).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let probabilities: Vec<f64> = powers.iter().map(|p| if blind { 0.0 } else { p / sum }).collect();
            y.extend((0..e).map(|f| (0..keys).map(|j| probabilities[j] * v[ravel(&[n, shared, j, f], x[2].shape())]).sum::<f64>()));
            scores.extend(match self.scores {
                Some(AttentionScores::Raw) => raw,
                Some(AttentionScores::Capped) => capped,
                Some(AttentionScores::Biased) => biased,
                Some(AttentionScores::Probabilities) => probabilities,
                None => Vec::new(),
            });
        }
        let dtype = x[0].dtype();
        let second = self.scores.map(|_| Tensor::from_floats(dtype, vec![batch, heads, queries, keys], scores));
        Ok([Tensor::from_floats(dtype, vec![batch, heads, queries, e], y)].into_iter().chain(second).collect())
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let dtype = b.dtype(x[0]);
        let (q, k, v) = (widen(b, x[0]), widen(b, x[1]), widen(b, x[2]));
        let [batch, heads, queries, d]: [Dim; 4] = std::array::from_fn(|a| b.shape(q)[a].clone());
        let (kv_heads, keys, e) = (b.shape(k)[1].clone(), b.shape(k)[2].clone(), b.shape(v)[3].clone());
        let k = b.reshape(k, &[batch.clone(), kv_heads.clone(), keys.clone(), d.clone()]);
        let v = b.reshape(v, &[batch.clone(), kv_heads.clone(), keys.clone(), e.clone()]);
        // Queries that share a key head form one axis more; without sharing it is left out.
        let shared = heads != kv_heads;
        let group = if shared { vec![kv_heads.clone(), heads.floor_div(&kv_heads)] } else { vec![heads.clone()] };
        let grouped = |last: [&Dim; 2]| [std::slice::from_ref(&batch), &group, &last.map(Clone::clone)].concat();
        let flat = |last: [&Dim; 2]| [batch.clone(), heads.clone(), last[0].clone(), last[1].clone()];
        let contract = 3 + usize::from(shared);
        let over = |key_axis| Dot { a_batch: vec![0, 1], b_batch: vec![0, 1], a_contract: vec![contract], b_contract: vec![key_axis] };

        let q = match (self.scale, d.as_const()) {
            (Some(scale), _) => scaled(b, q, scale.0),
            (None, Some(d)) => scaled(b, q, 1.0 / (d as f64).sqrt()),
            (None, None) => {
                let d = size(b, &d, b.dtype(q));
                let root = b.sqrt(d);
                b.div(q, root)
            }
        };
        let q = b.reshape(q, &grouped([&queries, &d]));
        let raw = b.op(over(3), &[q, k]);
        let raw = b.reshape(raw, &flat([&queries, &keys]));
        let capped = self.softcap.map_or(raw, |cap| {
            let ratio = scaled(b, raw, 1.0 / cap.0);
            let bounded = b.tanh(ratio);
            scaled(b, bounded, cap.0)
        });

        let lengths = self.has_lengths.then(|| x[self.lengths_operand()]);
        let sight = self.sight(b, &batch, &queries, &keys, lengths);
        let mask = self.has_mask.then(|| {
            let mask = widen(b, x[3]);
            let given = b.shape(mask);
            let mut shape = vec![Dim::ONE; 4];
            shape[4 - given.len()..].clone_from_slice(&given);
            let mask = b.reshape(mask, &shape);
            // Axes that the mask does not tell apart stay 1, so that rows are examined once.
            let full = flat([&queries, &keys]);
            let shape: Vec<Dim> = (0..4).map(|a| if a < 3 && shape[a].is(1) { Dim::ONE } else { full[a].clone() }).collect();
            b.broadcast_to(mask, &shape)
        });
        let bias = match (mask, sight) {
            (mask, None) => mask,
            (mask, Some(sight)) => {
                let wide = b.dtype(q);
                let (zero, never) = (b.scalar(wide, 0.0), b.scalar(wide, f64::NEG_INFINITY));
                Some(b.select(sight, mask.unwrap_or(zero), never))
            }
        };
        let biased = bias.map_or(capped, |bias| b.add(capped, bias));

        let m = b.reduce_max(biased, &[3], true);
        let (zero, one, never) = (b.like(m, 0.0), b.like(m, 1.0), b.like(m, f64::NEG_INFINITY));
        let nothing = b.equal(m, never);
        let finite = b.select(nothing, zero, m);
        let difference = b.sub(biased, finite);
        let powers = b.exp(difference);
        let sum = b.reduce_sum(powers, &[3], true);
        let divisor = b.select(nothing, one, sum);
        let mut probabilities = b.div(powers, divisor);
        if let Some(bias) = bias {
            // Decided by the bias, not by the scores, which may be NaN in a row that nothing may see.
            let best = b.reduce_max(bias, &[3], true);
            let never = b.like(best, f64::NEG_INFINITY);
            let blind = b.equal(best, never);
            let zero = b.scalar(b.dtype(probabilities), 0.0);
            probabilities = b.select(blind, zero, probabilities);
        }

        let p = b.reshape(probabilities, &grouped([&queries, &keys]));
        let y = b.op(over(2), &[p, v]);
        let y = b.reshape(y, &flat([&queries, &e]));
        let second = self.scores.map(|scores| match scores {
            AttentionScores::Raw => raw,
            AttentionScores::Capped => capped,
            AttentionScores::Biased => biased,
            AttentionScores::Probabilities => probabilities,
        });
        Meaning::Composite([y].into_iter().chain(second).map(|v| b.cast(v, dtype)).collect())
    }

    fn examples() -> Vec<Example> {
        let plain = Attention::plain;
        let masked = || Attention { has_mask: true, ..plain() };
        let lengths = || Attention { has_lengths: true, ..plain() };
        let with = |scores, op: Attention| Attention { scores: Some(scores), ..op };
        let accepted = |op: Attention, inputs: &[&str]| {
            let at = op.lengths_operand();
            let example = Example::accepted(op, inputs).with_values(0, -3.0, 3.0).with_values(1, -3.0, 3.0).with_values(2, -3.0, 3.0);
            if inputs.len() > at { example.with_values(at, 0.0, 5.0) } else { example }
        };
        let same = |ty: &'static str| [ty, ty, ty];
        let small = same("f32[1, 2, 3, 4]");
        vec![
            accepted(plain(), &["f32[2, 3, 4, 8]", "f32[2, 3, 5, 8]", "f32[2, 3, 5, 6]"]),
            accepted(Attention { scale: Some(Real(0.3)), softcap: Some(Real(2.0)), ..plain() }, &same("f64[n, 2, m, 4]")),
            accepted(Attention { causal: true, ..plain() }, &["f32[n, 4, l, 8]", "f32[n, 2, m, 8]", "f32[n, 2, m, 8]"]),
            accepted(Attention { causal: true, past: Dim::symbol("m") - Dim::symbol("l"), ..masked() },
                &["f32[2, 4, l, 4]", "f32[2, 1, m, 4]", "f32[2, 1, m, 4]", "f32[l, m]"]),
            accepted(masked(), &["f32[2, 4, 3, 4]", "f32[2, 4, 5, 4]", "f32[2, 4, 5, 4]", "f32[2, 1, 1, 5]"]),
            accepted(Attention { left_window: Some(1), right_window: Some(0), ..plain() }, &same("f32[1, 2, 5, 4]")),
            accepted(Attention { causal: true, ..lengths() }, &["f32[2, 2, 3, 4]", "f32[2, 2, 5, 4]", "f32[2, 2, 5, 4]", "i64[2]"]),
            accepted(Attention { has_mask: true, left_window: Some(2), ..lengths() },
                &["f32[n, 2, 3, 4]", "f32[n, 2, 5, 4]", "f32[n, 2, 5, 4]", "f32[2, 1, 5]", "i32[n]"]),
            accepted(plain(), &["f32[n, h, l, d]", "f32[n, g, m, d]", "f32[n, g, m, e]"]),
            accepted(with(AttentionScores::Raw, plain()), &small),
            accepted(with(AttentionScores::Capped, Attention { softcap: Some(Real(1.0)), ..plain() }), &small),
            accepted(with(AttentionScores::Biased, Attention { causal: true, ..plain() }), &small),
            accepted(with(AttentionScores::Probabilities, Attention { causal: true, ..plain() }), &same("f16[1, 2, 3, 4]")),
            accepted(plain(), &["f32[1, 1, 2, 4]", "f32[1, 1, 0, 4]", "f32[1, 1, 0, 4]"]),
            Example::rejected("attention_c0", plain(), &["f32[1, 2, 3, 4]"]),
            Example::rejected("attention_c1", plain(), &["f32[1, 2, 3, 4]", "f64[1, 2, 3, 4]", "f32[1, 2, 3, 4]"]),
            Example::rejected("attention_c1", lengths(), &["f32[1, 2, 3, 4]", "f32[1, 2, 3, 4]", "f32[1, 2, 3, 4]", "f32[1]"]),
            Example::rejected("attention_c2", plain(), &same("f32[2, 3, 4]")),
            Example::rejected("attention_c3", plain(), &["f32[1, 2, 3, 4]", "f32[1, 2, 3, 5]", "f32[1, 2, 3, 4]"]),
            Example::rejected("attention_c4", plain(), &["f32[1, 3, 3, 4]", "f32[1, 2, 3, 4]", "f32[1, 2, 3, 4]"]),
            Example::rejected("attention_c5", masked(), &["f32[1, 2, 3, 4]", "f32[1, 2, 3, 4]", "f32[1, 2, 3, 4]", "f32[3, 4]"]),
            Example::rejected("attention_c5", lengths(), &["f32[1, 2, 3, 4]", "f32[1, 2, 3, 4]", "f32[1, 2, 3, 4]", "i64[2]"]),
            Example::rejected("attention_c6", Attention { softcap: Some(Real(0.0)), ..plain() }, &small),
        ]
    }
}
