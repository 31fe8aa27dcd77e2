"""Exports what layers of Keras become, by tf2onnx. Written by: tensorflow 2.15.1 (Keras 2.15), tf2onnx 1.16.1, onnx 1.15.0.

    python export_keras.py [NAME…]    writes NAME_tf.onnx for every function below, or for these, beside this file

A name begins with what it spells; `near_…` looks like attention and is none. Batches are of any size.
"""

import os
import pathlib
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import onnx
import tensorflow as tf
import tf2onnx
from tensorflow import keras
from tensorflow.keras import layers

HERE = pathlib.Path(__file__).parent
CASES = {}
L, M, D = 5, 7, 8  # queries, keys, width
RANDOM = keras.initializers.RandomUniform(-1, 1, seed=1)


def case(*shapes, batches=False):
    """Registers a function of symbolic tensors under its name; shapes are without the batch. With `batches` each has one of its own."""

    def register(f):
        CASES[f.__name__.rstrip("_")] = (f, shapes, batches)
        return f

    return register


# --- norms -------------------------------------------------------------------------------------------------------------


@case((L, D))
def layer_norm_keras(x):
    return layers.LayerNormalization(beta_initializer="ones")(x)


@case((L, D))
def layer_norm_keras_plain(x):
    return layers.LayerNormalization(center=False, scale=False)(x)


@case((4, 6, D))
def layer_norm_keras_two_axes(x):
    return layers.LayerNormalization(axis=[2, 3])(x)


@case((L, D))
def layer_norm_moments(x):
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-6)


@case((L, D))
def rms_norm_by_square(x):
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 1e-6)


@case((L, D))
def rms_norm_divided(x):
    return x / tf.sqrt(tf.reduce_mean(x * x, -1, keepdims=True) + 1e-6) * tf.range(1.0, D + 1.0)


@case((4, 5, 6))
def group_norm_keras(x):
    return layers.GroupNormalization(groups=3, beta_initializer="ones")(x)


@case((8, 6))
def group_norm_keras_sequence(x):
    return layers.GroupNormalization(groups=2, beta_initializer=RANDOM, gamma_initializer=RANDOM)(x)


@case((6, 4, 5))
def group_norm_keras_channels_first(x):
    return layers.GroupNormalization(groups=3, axis=1, gamma_initializer=RANDOM)(x)


# --- activations -------------------------------------------------------------------------------------------------------


@case((L, D))
def gelu_keras(x):
    return keras.activations.gelu(x)


@case((L, D))
def gelu_keras_approximate(x):
    return keras.activations.gelu(x, approximate=True)


@case((L, D))
def gelu_by_error_function(x):
    return x * 0.5 * (1.0 + tf.math.erf(x / tf.sqrt(2.0)))


@case((L, D))
def silu_keras(x):
    return keras.activations.swish(x)


@case((L, D))
def silu_by_sigmoid(x):
    return tf.sigmoid(x) * x


@case((L, D))
def swish_scaled(x):
    return x * tf.sigmoid(1.702 * x)


@case((L, D))
def mish_keras(x):
    return keras.activations.mish(x)


@case((L, D))
def hard_swish_by_relu6(x):
    return x * tf.nn.relu6(x + 3.0) / 6.0


@case((L, D))
def softmax_keras(x):
    return layers.Softmax()(x)


@case((L, D))
def softmax_keras_first_axis(x):
    return layers.Softmax(axis=1)(x)


@case((L, D))
def softmax_by_hand(x):
    powers = tf.exp(x - tf.reduce_max(x, -1, keepdims=True))
    return powers / tf.reduce_sum(powers, -1, keepdims=True)


@case((L, D))
def log_softmax_keras(x):
    return tf.nn.log_softmax(x)


@case((L, D))
def log_softmax_by_logarithm(x):
    return tf.math.log(tf.nn.softmax(x))


# --- attention ---------------------------------------------------------------------------------------------------------


@case((L, D))
def attention_keras_self(x):
    return layers.MultiHeadAttention(num_heads=2, key_dim=4)(x, x)


@case((L, D), (M, D))
def attention_keras_other(x, y):
    return layers.MultiHeadAttention(num_heads=2, key_dim=4, value_dim=3)(x, y)


@case((L, D))
def attention_keras_one_head(x):
    return layers.MultiHeadAttention(num_heads=1, key_dim=4)(x, x)


@case((L, D))
def attention_keras_without_bias(x):
    return layers.MultiHeadAttention(num_heads=2, key_dim=4, use_bias=False)(x, x)


@case((L, D), (M, D))
def attention_keras_luong(q, v):
    return layers.Attention()([q, v])


@case((L, D), (M, D), (M, D))
def attention_keras_luong_scaled(q, v, k):
    return layers.Attention(use_scale=True)([q, v, k])


@case((2, L, 4), (2, M, 4), (2, M, 4))
def attention_by_matmul(q, k, v):
    return tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 2.0) @ v


@case((L, 2, 4), (M, 2, 4), (M, 2, 4))
def attention_by_einsum(q, k, v):
    scores = tf.einsum("bqhd,bkhd->bhqk", q * 0.5, k)
    return tf.einsum("bhqk,bkhd->bqhd", tf.nn.softmax(scores), v)


@case((2, L, 4), (2, M, 4), (2, M, 4), (1, L, M))
def attention_mask_added(q, k, v, mask):
    return tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * 0.5 + mask) @ v


@case((2, L, 4), (2, M, 4), (2, M, 4), (1, L, M), batches=True)
def attention_mask_added_batches(q, k, v, mask):
    return tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * 0.5 + mask) @ v


@case((L, D), (M, D), (M, D), batches=True)
def attention_keras_luong_batches(q, v, k):
    return layers.Attention(use_scale=True)([q, v, k])


@case((L, D), (M, D), (M, D), batches=True)
def attention_keras_three_batches(q, v, k):
    return layers.MultiHeadAttention(num_heads=2, key_dim=4)(q, v, k)


@case((L, D), (M, D), batches=True)
def attention_keras_other_batches(x, y):
    return layers.MultiHeadAttention(num_heads=2, key_dim=4, value_dim=3)(x, y)


@case((L, D), (M, D), (M, D))
def near_additive_attention(q, v, k):
    return layers.AdditiveAttention()([q, v, k])


@case((2, L, 4), (2, M, 4), (2, M, 4))
def near_sigmoid_for_softmax(q, k, v):
    return tf.sigmoid(tf.matmul(q, k, transpose_b=True) / 2.0) @ v


# --- recurrent layers --------------------------------------------------------------------------------------------------


@case((4, 3))
def lstm_keras_unrolled(x):
    return layers.LSTM(4, unroll=True, return_sequences=True)(x)


@case((4, 3))
def gru_keras_unrolled(x):
    return layers.GRU(4, unroll=True)(x)


@case((4, 3))
def gru_keras_unrolled_reset_before(x):
    return layers.GRU(4, unroll=True, reset_after=False, go_backwards=True)(x)


@case((4, 3))
def rnn_keras_unrolled(x):
    return layers.SimpleRNN(4, unroll=True, activation="relu")(x)


def main():
    for name in sys.argv[1:] or CASES:
        f, shapes, batches = CASES[name]
        keras.utils.set_random_seed(1)
        inputs = [keras.Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
        model = keras.Model(inputs, f(*inputs))
        signature = [tf.TensorSpec((None, *shape), tf.float32, name=f"x{i}") for i, shape in enumerate(shapes)]
        exported, _ = tf2onnx.convert.from_keras(model, signature, opset=17)
        exported.doc_string = ""
        # tf2onnx gives every input a batch of its own, which need not be the same; its names differ from run to run.
        for at, value in enumerate([*exported.graph.input, *exported.graph.output]):
            value.type.tensor_type.shape.dim[0].dim_param = f"batch_{at}" if batches else "batch"
        del exported.graph.value_info[:]
        onnx.save(exported, str(HERE / f"{name}_tf.onnx"))


main()
