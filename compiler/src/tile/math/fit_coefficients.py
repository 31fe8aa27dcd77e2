"""Fits the polynomials of the vector math functions and writes coefficients.rs.

Each is the Chebyshev interpolant of its function (within a small factor of the best polynomial), computed with
60 digits, turned into monomials, rounded to the lane type, then measured again on a dense grid.

    python3 fit_coefficients.py > coefficients.rs && cargo fmt        (needs mpmath)
"""

import struct

from mpmath import asin, atan, chebyt, cos, erf, erfc, erfi, exp, expm1, fabs, linspace, log, log1p, mp, mpf, pi, sin, sqrt

mp.dps = 60


def interpolate(f, low, high, degree):
    """Monomial coefficients in x, lowest first, of the Chebyshev interpolant of f on [low, high]."""
    n = degree + 1
    middle, half = (low + high) / 2, (high - low) / 2
    angles = [pi * (2 * k + 1) / (2 * n) for k in range(n)]
    values = [f(middle + half * cos(a)) for a in angles]
    chebyshev = [2 * sum(v * cos(j * a) for v, a in zip(values, angles)) / n for j in range(n)]
    chebyshev[0] /= 2
    # Clenshaw on polynomials in t = (x - middle) / half.
    def add(p, q):
        return [(p[i] if i < len(p) else 0) + (q[i] if i < len(q) else 0) for i in range(max(len(p), len(q)))]
    t = [-middle / half, 1 / half]
    def times_t(p):
        return add([c * t[0] for c in p], [mpf(0)] + [c * t[1] for c in p])
    b1, b2 = [mpf(0)], [mpf(0)]
    for c in reversed(chebyshev[1:]):
        b1, b2 = add(add([2 * d for d in times_t(b1)], [-d for d in b2]), [c]), b1
    return add(add(times_t(b1), [-d for d in b2]), [chebyshev[0]])


def rounded(value, lane):
    return struct.unpack("f", struct.pack("f", float(value)))[0] if lane == "f32" else float(value)


def emit(name, lane, doc, f, low, high, degree):
    low, high = mpf(low), mpf(high)
    coefficients = [rounded(c, lane) for c in interpolate(f, low, high, degree)][: degree + 1]
    error = max(
        fabs(f(x) - sum(mpf(c) * x**k for k, c in enumerate(coefficients)))
        for x in linspace(low + (high - low) * mpf(10) ** -9, high, 1500)
    )
    print(f"/// {doc}; fitted on [{mp.nstr(low, 6)}, {mp.nstr(high, 6)}], absolute error up to {mp.nstr(error, 2)}.")
    print(f"pub(super) const {name}_{lane.upper()}: [f64; {degree + 1}] = [")
    for c in coefficients:
        print(f"    {c!r},")
    print("];\n")


def series_safe(f, near_zero):
    """f away from 0, its first terms at 0 where the quotient would cancel."""
    return lambda x: near_zero(x) if fabs(x) < mpf(10) ** -12 else f(x)


ln2_half = log(2) / 2 * mpf("1.0001")
f_low, f_high = sqrt(mpf(1) / 2) - 1, sqrt(2) - 1
s_high = ((sqrt(2) - 1) / (sqrt(2) + 1)) ** 2
quarter = (pi / 4 * mpf("1.0001")) ** 2

exp_tail = series_safe(lambda r: (expm1(r) - r) / r**2, lambda r: mpf(1) / 2 + r / 6)
log_tail = series_safe(lambda f: (log1p(f) - f + f * f / 2) / f**3, lambda f: mpf(1) / 3 - f / 4)
def atanh_tail(z):
    s = sqrt(z)
    return mpf(2) / 3 + 2 * z / 5 if z < mpf(10) ** -12 else (log((1 + s) / (1 - s)) - 2 * s) / (s * z)
def sin_tail(z):
    r = sqrt(z)
    return -mpf(1) / 6 + z / 120 if z < mpf(10) ** -12 else (sin(r) / r - 1) / z
cos_tail = series_safe(lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2, lambda z: mpf(1) / 24 - z / 720)
def erf_tail(z):
    x = sqrt(z)
    return 2 / sqrt(pi) * (1 - z / 3) - 1 if z < mpf(10) ** -12 else erf(x) / x - 1
def atan_tail(z):
    t = sqrt(z)
    return -mpf(1) / 3 + z / 5 if z < mpf(10) ** -12 else (atan(t) / t - 1) / z
def asin_tail(z):
    s = sqrt(z)
    return mpf(1) / 6 + 3 * z / 40 if z < mpf(10) ** -12 else (asin(s) / s - 1) / z
def erfcx_of_u(u):
    # u = (t - 2) / (t + 2)
    t = 2 * (1 + u) / (1 - u)
    return exp(t * t) * erfc(t)
def pow_tail(z):
    # log((1+s)/(1-s)) = 2/3 s (3 + z + z² g(z)), z = s²
    s = sqrt(z)
    return mpf(3) / 5 + 3 * z / 7 if z < mpf(10) ** -9 else (3 * log((1 + s) / (1 - s)) / (2 * s) - 3 - z) / z**2

print("//! Polynomial coefficients, lowest power first. Written by `fit_coefficients.py` beside this file.\n")
print("#![allow(clippy::approx_constant, reason = \"fitted numbers, not the constants they come near\")]\n")
emit("EXP", "f32", "(exp(r) − 1 − r) / r²", exp_tail, -ln2_half, ln2_half, 4)
emit("EXP", "f64", "(exp(r) − 1 − r) / r²", exp_tail, -ln2_half, ln2_half, 10)
emit("LOG", "f32", "(log(1+f) − f + f²/2) / f³", log_tail, f_low, f_high, 8)
emit("LOG", "f64", "(log((1+s)/(1−s)) − 2s) / s³ in z = s²", atanh_tail, 0, s_high, 7)
emit("SIN", "f32", "(sin(r)/r − 1) / z in z = r²", sin_tail, 0, quarter, 3)
emit("SIN", "f64", "(sin(r)/r − 1) / z in z = r²", sin_tail, 0, quarter, 6)
emit("COS", "f32", "(cos(r) − 1 + z/2) / z² in z = r²", cos_tail, 0, quarter, 3)
emit("COS", "f64", "(cos(r) − 1 + z/2) / z² in z = r²", cos_tail, 0, quarter, 6)
emit("ERF_SMALL", "f32", "erf(x)/x − 1 in z = x²", erf_tail, 0, mpf("0.9216"), 6)
emit("ERF_SMALL", "f64", "erf(x)/x − 1 in z = x²", erf_tail, 0, mpf(1), 13)
emit("ERF_LARGE", "f32", "log(erfc(t))", lambda t: log(erfc(t)), mpf("0.96"), mpf(4), 9)
log2_erfc = series_safe(lambda t: log(erfc(t), 2) / t, lambda t: -2 / sqrt(pi) / log(2))
emit("ERFC_POWER", "f32", "log2(erfc(t)) / t", log2_erfc, 0, 4, 5)
emit("ERFC_EXPONENT", "f32", "log2(erfc(t)) / t, which falls beyond", log2_erfc, 0, 4, 11)
exp2_tail = series_safe(lambda r: (mpf(2) ** r - 1) / r, lambda r: log(2))
emit("EXP2", "f32", "(2ʳ − 1) / r", exp2_tail, -mpf("0.50005"), mpf("0.50005"), 5)
emit("ERF_LARGE", "f64", "exp(t²) erfc(t) in u = (t−2)/(t+2), 1 ≤ t ≤ 6", erfcx_of_u, -mpf(1) / 3, mpf(1) / 2, 19)
emit("ATAN", "f64", "(atan(t)/t − 1) / z in z = t²", atan_tail, 0, (sqrt(2) - 1) ** 2 * mpf("1.0001"), 11)
emit("ASIN", "f64", "(asin(s)/s − 1) / z in z = s²", asin_tail, 0, mpf(1) / 4, 13)
emit("POW_LOG", "f64", "3 (log((1+s)/(1−s))/2s − 1 − z/3) / z² in z = s²", pow_tail, 0, mpf("0.0102") , 6)


def split(name, doc, value, low_bits_cleared):
    """A constant as a float with its low bits cleared plus the rest."""
    bits = struct.unpack("<q", struct.pack("<d", float(value)))[0]
    bits = (bits + (1 << (low_bits_cleared - 1))) >> low_bits_cleared << low_bits_cleared
    high = struct.unpack("<d", struct.pack("<q", bits))[0]
    print(f"/// {doc}: its first {53 - low_bits_cleared} bits, and the rest.")
    print(f"pub(super) const {name}: [f64; 2] = [{high!r}, {float(value - mpf(high))!r}];\n")

def thirds(name, doc, value, bits):
    """A constant as two floats of `bits` bits each and the rest."""
    parts = []
    for _ in range(2):
        exponent = int(mp.floor(mp.log(fabs(value), 2)))
        unit = mpf(2) ** (exponent + 1 - bits)
        parts.append(float(mp.floor(value / unit) * unit))
        value -= mpf(parts[-1])
    print(f"/// {doc}: {bits} bits, the next {bits}, and the rest.")
    print(f"pub(super) const {name}: [f64; 3] = [{parts[0]!r}, {parts[1]!r}, {float(value)!r}];\n")

split("LN_2", "ln 2", log(2), 21)
split("LN_2_SHORT", "ln 2", log(2), 32)
split("LOG2_OF_3_HALVES", "log2 1.5", log(mpf(3) / 2) / log(2), 32)
split("TWO_THIRDS_OF_LOG2_E", "2 / (3 ln 2)", 2 / (3 * log(2)), 32)
split("HALF_PI_SHORT", "π/2", pi / 2, 27)
split("HALF_PI", "π/2", pi / 2, 20)
thirds("HALF_PI_THIRDS", "π/2", pi / 2, 33)
mp.dps = 400
words = [int(2 / pi * mpf(2) ** (32 * (k + 1))) & 0xFFFFFFFF for k in range(38)]
print("/// 2/π behind the binary point in words of 32 bits, after two words of zeros.")
print(f"pub(super) const TWO_OVER_PI_WORDS: [u32; {2 + len(words)}] = [0, 0, {', '.join(f'{w:#010x}' for w in words)}];")
