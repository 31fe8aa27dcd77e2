//! Tests: largest errors of compiled math functions in units in the last place, and their special values.

use super::*;
use crate::backend::cpu::agreement::Random;
use crate::backend::cpu::agreement::native::{Level, Native};
use crate::backend::cpu::clif;
use crate::tile::{Mem, Reg, Type, eval, verify::verify};

type Function = fn(&mut Builder, Reg) -> Reg;

/// Name, tile code, the function in F64, largest error allowed in F32 and F64 units in the last place.
type Row = (&'static str, Function, fn(f64) -> f64, f64, f64);

const FUNCTIONS: [Row; 19] = [
    ("exp", exp, f64::exp, 1.1, 1.0),
    ("expm1", expm1, f64::exp_m1, 2.0, 2.0),
    ("log", log, f64::ln, 1.0, 1.0),
    ("log1p", log1p, f64::ln_1p, 1.0, 1.0),
    ("sigmoid", sigmoid, |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }, 2.5, 2.0),
    ("tanh", tanh, f64::tanh, 2.5, 3.0),
    // The F64 bound is that of the reference; a table checks F64 itself.
    ("erf", erf, reference_erf, 1.2, 16.0),
    ("sin", sin, f64::sin, 1.6, 1.0),
    ("cos", cos, f64::cos, 1.6, 1.0),
    ("tan", tan, f64::tan, 0.51, 2.0),
    ("asin", asin, f64::asin, 0.51, 2.0),
    ("acos", acos, f64::acos, 0.51, 2.0),
    ("atan", atan, f64::atan, 0.51, 2.0),
    ("sinh", sinh, f64::sinh, 0.51, 2.0),
    ("cosh", cosh, f64::cosh, 0.51, 2.0),
    // Rust's own asinh, acosh and atanh lose digits, so these are written with log1p here.
    ("asinh", asinh, |x| reference_asinh(x), 0.51, 2.0),
    ("acosh", acosh, |x| reference_acosh(x), 0.51, 2.0),
    ("atanh", atanh, |x| (2.0 * x.abs() / (1.0 - x.abs())).ln_1p().copysign(x) / 2.0, 0.51, 2.0),
    ("sqrt", |b, x| b.sqrt(x), f64::sqrt, 0.5, 0.5),
];

fn reference_asinh(x: f64) -> f64 {
    let a = x.abs();
    match a > 1e9 {
        true => (a.ln() + std::f64::consts::LN_2).copysign(x),
        false => (a + a * a / (1.0 + (a * a + 1.0).sqrt())).ln_1p().copysign(x),
    }
}

fn reference_acosh(x: f64) -> f64 {
    match x {
        _ if x < 1.0 => f64::NAN,
        _ if x > 1e9 => x.ln() + std::f64::consts::LN_2,
        _ => (x - 1.0 + ((x - 1.0) * (x + 1.0)).sqrt()).ln_1p(),
    }
}

/// Good to about 1e-15: the series up to 3, the continued fraction of erfc beyond.
fn reference_erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() || a > 6.0 {
        return if a.is_nan() { a } else { 1f64.copysign(x) };
    }
    let scale = std::f64::consts::FRAC_2_SQRT_PI;
    if a < 3.0 {
        // All terms are positive: 2/√π e^(−x²) Σ 2ⁿ x^(2n+1) / (2n+1)!!
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > sum * 1e-18 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        return (scale * (-a * a).exp() * sum).copysign(x);
    }
    (1.0 - reference_erfc(a)).copysign(x)
}

/// 1 − erf of numbers that are not below 0, whose digits stay where it is small.
fn reference_erfc(x: f64) -> f64 {
    if x < 3.0 {
        return 1.0 - reference_erf(x);
    }
    let fraction = (1..60).rev().fold(0.0, |below, k| f64::from(k) / 2.0 / (x + below));
    std::f64::consts::FRAC_2_SQRT_PI / 2.0 * (-x * x).exp() / (x + fraction)
}

/// (in, out, turns) → one call of the function on each group of lanes.
fn compiled(function: Function, ty: Type, level: Level) -> Native {
    let mem = if ty.lane == Lane::F32 { Mem::F32 } else { Mem::F64 };
    let bytes = i64::from(mem.size_bytes() * ty.lanes);
    let mut b = Builder::new("math", 4);
    let [from, to, start, end] = b.params();
    b.for_each(start, end, 1, |b, turn| {
        let skip = b.mul_int(turn, bytes);
        let (from, to) = (b.add(from, skip), b.add(to, skip));
        let x = b.load(mem, ty, from, 0);
        let y = function(b, x);
        b.store(mem, y, to, 0);
    });
    let program = b.finish();
    assert_eq!(verify(&program), Vec::<String>::new());
    Native::new(&clif::compile(&program, &*level.isa("speed")).bytes)
}

fn run<T: Copy + Default>(native: &Native, inputs: &[T], lanes: usize) -> Vec<T> {
    let mut outputs = vec![T::default(); inputs.len()];
    let turns = (inputs.len() / lanes) as i64;
    native.call(&[inputs.as_ptr() as i64, outputs.as_mut_ptr() as i64, 0, turns]);
    outputs
}

fn levels() -> Vec<Level> {
    [Level::Sse2, Level::Avx2].into_iter().filter(|l| l.runs_here()).collect()
}

/// Every sign and exponent, whole numbers, neighbours of limits, and dense random values of usual size.
fn inputs() -> Vec<f64> {
    let mut random = Random::new(3);
    let mut values = vec![
        0.0,
        f64::INFINITY,
        f64::NAN,
        1.0,
        0.5,
        2.0,
        88.72283,
        88.72284,
        89.0,
        103.97,
        103.98,
        709.78,
        709.79,
        710.4,
        710.5,
        745.1,
        745.2,
        1e-45,
        1e-320,
        5e-324,
        1e10,
        1e22,
        1e300,
        f64::MAX,
        f64::MIN_POSITIVE,
    ];
    values.extend((0..64).map(f64::from));
    for exponent in -1074..1024 {
        for _ in 0..4 {
            values.push(2f64.powi(exponent) * (1.0 + random.below(1 << 30) as f64 / (1 << 30) as f64));
        }
    }
    for scale in [1.0, 1.0, 2.0, 10.0, 100.0, 1000.0] {
        values.extend((0..1500).map(|_| random.bits() as f64 / 2f64.powi(64) * scale));
    }
    // Near multiples of π/2, where sine and cosine cancel.
    values.extend((0..2000).map(|n| f64::from(n * n) * std::f64::consts::FRAC_PI_2));
    let negative: Vec<f64> = values.iter().map(|x| -x).collect();
    values.extend(negative);
    values.truncate(values.len() / 8 * 8);
    values
}

/// Distance in units in the last place of the exact result at this precision (24 or 53 bits).
fn ulps(got: f64, exact: f64, precision: i32, smallest_exponent: i32) -> f64 {
    if got == exact || (got.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    if !got.is_finite() || !exact.is_finite() {
        return f64::INFINITY;
    }
    let exponent = (exact.abs().log2().floor() as i32).max(smallest_exponent);
    (got - exact).abs() * 2f64.powi(precision - 1 - exponent.max(-900)) * 2f64.powi((-900 - exponent).max(0))
}

/// The largest error of outputs, with its input and output; a wrong sign counts as infinite.
fn worst(inputs: &[f64], outputs: &[f64], exact: &[f64], error: fn(f64, f64) -> f64) -> (f64, f64, f64) {
    let mut worst = (0.0, 0.0, 0.0);
    for ((&x, &y), &exact) in inputs.iter().zip(outputs).zip(exact) {
        let mut ulps = error(y, exact);
        if !y.is_nan() && (y != 0.0 || exact == 0.0) && y.is_sign_negative() != exact.is_sign_negative() {
            ulps = f64::INFINITY;
        }
        if ulps > worst.0 {
            worst = (ulps, x, y);
        }
    }
    worst
}

/// An F32 result against the exact one, which rounds to infinity beyond the largest float.
fn f32_ulps(y: f64, exact: f64) -> f64 {
    let exact = if (exact as f32).is_infinite() { f64::from(exact as f32) } else { exact };
    ulps(y, exact, 24, -126)
}

fn f64_ulps(y: f64, exact: f64) -> f64 {
    ulps(y, exact, 53, -1022)
}

#[test]
fn f32_functions_keep_their_bounds() {
    let mut inputs: Vec<f32> = inputs().iter().map(|x| *x as f32).collect();
    // And a sweep over all bit patterns.
    inputs.extend((0..u32::MAX / 20011 / 8 * 8).map(|k| f32::from_bits(k * 20011)));
    let wide: Vec<f64> = inputs.iter().map(|x| f64::from(*x)).collect();
    for (name, function, exact, bound, _) in FUNCTIONS {
        let exact: Vec<f64> = wide.iter().map(|x| exact(*x)).collect();
        for (level, lanes) in levels().into_iter().flat_map(|level| [(level, 1), (level, 4), (level, 8)]) {
            let native = compiled(function, Type::F32.times(lanes), level);
            let outputs = run(&native, &inputs, lanes as usize);
            let outputs: Vec<f64> = outputs.into_iter().map(f64::from).collect();
            let worst = worst(&wide, &outputs, &exact, f32_ulps);
            assert!(worst.0 <= bound, "{name} f32x{lanes} on {level:?}: (ulps, x, y) = {worst:?}");
        }
    }
}

#[test]
fn f64_functions_keep_their_bounds() {
    let inputs = inputs();
    for (name, function, exact, _, bound) in FUNCTIONS {
        let exact: Vec<f64> = inputs.iter().map(|x| exact(*x)).collect();
        for (level, lanes) in levels().into_iter().flat_map(|level| [(level, 1), (level, 2), (level, 4)]) {
            let native = compiled(function, Type::F64.times(lanes), level);
            let outputs = run(&native, &inputs, lanes as usize);
            let worst = worst(&inputs, &outputs, &exact, f64_ulps);
            assert!(worst.0 <= bound, "{name} f64x{lanes} on {level:?}: (ulps, x, y) = {worst:?}");
        }
    }
}

#[test]
fn f64_erf_matches_60_digit_values() {
    let inputs: Vec<f64> = ERF.iter().map(|row| row.0).collect();
    for level in levels() {
        let outputs = run(&compiled(erf, Type::F64, level), &inputs, 1);
        for (&(x, high, low), y) in ERF.iter().zip(outputs) {
            let error = ((y - high) - low).abs() / (2f64.powi(high.log2().floor() as i32 - 52));
            assert!(error <= 2.0, "erf({x}) is {y}, not {high}: {error} ulps on {level:?}");
        }
    }
}

#[test]
fn one_plus_erf_keeps_what_a_sum_would_lose() {
    let special = [f32::NEG_INFINITY, -1e30, -20.0, -12.0, -0.0, 0.0, 1e-30, 5.0, 1e30, f32::INFINITY, f32::NAN, -f32::NAN];
    let dense = (-100_000..100_000).map(|at| at as f32 / 8192.0);
    let mut inputs: Vec<f32> = special.into_iter().chain(dense).collect();
    inputs.resize(inputs.len().next_multiple_of(8), 0.25);
    for level in levels() {
        for lanes in [1, 4] {
            let outputs = run(&compiled(one_plus_erf, Type::F32.times(lanes), level), &inputs, lanes as usize);
            for (&x, y) in inputs.iter().zip(outputs) {
                let (x, y) = (f64::from(x), f64::from(y));
                // erfc(−x), by the reference that keeps small ones.
                let exact = if x < 0.0 { reference_erfc(-x) } else { 1.0 + reference_erf(x) };
                let (absolute, relative) = ((y - exact).abs() * 2f64.powi(23), ((y - exact) / exact).abs() * 2f64.powi(24));
                let is_right = (y.is_nan() && x.is_nan()) || (y >= 0.0 && absolute <= 1.1 && (x < -4.0 || relative <= 64.0));
                assert!(is_right, "1 + erf({x}) is {y}, not {exact}, on {level:?}");
            }
        }
    }
}

/// (x, y, out, turns, unused): pow on scalars or vectors.
fn compiled_pow(ty: Type, level: Level) -> Native {
    let mem = if ty.lane == Lane::F32 { Mem::F32 } else { Mem::F64 };
    let bytes = i64::from(mem.size_bytes() * ty.lanes);
    let mut b = Builder::new("pow", 4);
    let [from, from_y, to, end] = b.params();
    let start = b.index(0);
    b.for_each(start, end, 1, |b, turn| {
        let skip = b.mul_int(turn, bytes);
        let (from, from_y, to) = (b.add(from, skip), b.add(from_y, skip), b.add(to, skip));
        let (x, y) = (b.load(mem, ty, from, 0), b.load(mem, ty, from_y, 0));
        let power = pow(b, x, y);
        b.store(mem, power, to, 0);
    });
    Native::new(&clif::compile(&b.finish(), &*level.isa("speed")).bytes)
}

fn pow_inputs() -> (Vec<f64>, Vec<f64>) {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        -2.0,
        3.0,
        -3.0,
        10.0,
        1.5,
        1e-320,
        1e300,
        -1e300,
        1e20,
        9007199254740993.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        1.0000000000000002,
        0.9999999999999999,
        1e-45,
        0.3333333333333333,
    ];
    let (mut xs, mut ys) = (vec![], vec![]);
    for x in special {
        for y in special {
            xs.push(x);
            ys.push(y);
        }
    }
    let mut random = Random::new(5);
    let mut unit = || random.bits() as f64 / 2f64.powi(64);
    for _ in 0..20_000 {
        let x = (unit() * 40.0 - 20.0).exp2();
        xs.push(x);
        ys.push((unit() * 2.0 - 1.0) * 1000.0 / x.log2().abs().max(0.5));
        xs.push((unit() * 200.0 - 100.0).round());
        ys.push((unit() * 20.0 - 5.0).round());
    }
    (xs, ys)
}

#[test]
fn pow_keeps_its_bounds_and_special_cases() {
    let (xs, ys) = pow_inputs();
    let turns = xs.len() as i64;
    let (x32, y32): (Vec<f32>, Vec<f32>) = xs.iter().zip(&ys).map(|(x, y)| (*x as f32, *y as f32)).unzip();
    for level in levels() {
        for lanes in [1, 4] {
            let turns = turns / i64::from(lanes);
            let mut out = vec![0f64; xs.len()];
            compiled_pow(Type::F64.times(lanes), level).call(&[xs.as_ptr() as i64, ys.as_ptr() as i64, out.as_mut_ptr() as i64, turns]);
            for ((&x, &y), &got) in xs.iter().zip(&ys).zip(&out) {
                let e = x.powf(y);
                let same_sign = got.is_nan() || got.is_sign_negative() == e.is_sign_negative();
                let error = f64_ulps(got, e);
                assert!(same_sign && error <= 2.0, "pow({x}, {y}) is {got}, not {e}: {error} ulps on {level:?}");
            }
            let mut out = vec![0f32; xs.len()];
            compiled_pow(Type::F32.times(lanes), level).call(&[x32.as_ptr() as i64, y32.as_ptr() as i64, out.as_mut_ptr() as i64, turns]);
            for ((&x, &y), &got) in x32.iter().zip(&y32).zip(&out) {
                let e = f64::from(x).powf(f64::from(y));
                let same_sign = got.is_nan() || got.is_sign_negative() == e.is_sign_negative();
                let error = f32_ulps(f64::from(got), e);
                assert!(same_sign && error <= 0.51, "pow({x}, {y}) is {got}, not {e}: {error} ulps on {level:?}");
                if e.fract() == 0.0 && e.abs() < 16_777_216.0 && x.fract() == 0.0 && y.fract() == 0.0 {
                    assert_eq!(f64::from(got), e, "pow({x}, {y})");
                }
            }
        }
    }
}

#[test]
fn functions_run_in_the_evaluator() {
    for (name, function, exact, ..) in FUNCTIONS {
        let mut b = Builder::new(name, 2);
        let [from, to] = b.params();
        let x = b.load(Mem::F64, Type::F64.times(2), from, 0);
        let y = function(&mut b, x);
        b.store(Mem::F64, y, to, 0);
        let program = b.finish();
        for x in [0.75, 1.25, 1e9] {
            let mut memory = eval::Memory::new();
            let from = memory.add([x, 0.5f64].map(f64::to_le_bytes).concat());
            let to = memory.add(vec![0; 16]);
            eval::eval(&program, &[from, to], &mut memory, true).unwrap();
            let got = f64::from_le_bytes(memory.region(to)[..8].try_into().unwrap());
            let e = exact(x);
            assert!(got == e || got.is_nan() && e.is_nan() || (got - e).abs() <= 1e-14 * e.abs(), "{name}({x}) is {got}, not {e}");
        }
    }
}

/// x, erf(x) rounded, and what the rounding took: computed with 60 digits.
const ERF: &[(f64, f64, f64)] = &[
    (0.5, 0.5204998778130465, 1.900077467916287e-17),
    (0.125, 0.1403162048013338, 1.2596103827036942e-17),
    (0.03125, 0.035250373867322826, -1.8378560755325555e-19),
    (0.0078125, 0.008815282895179188, 3.189832538685032e-19),
    (0.001953125, 0.002203862758376654, -9.072750131462181e-20),
    (0.00048828125, 0.0005509663463964843, -6.289349434739163e-21),
    (1.0, 0.8427007929497149, -2.4801011789118602e-17),
    (0.9999999999999999, 0.8427007929497148, 4.0135100540309845e-17),
    (1.0000000000000002, 0.842700792949715, -4.365093398545987e-17),
    (5.9, 0.9999999999999999, 3.911820462701088e-17),
    (6.0, 1.0, -2.1519736712498913e-17),
    (5.999, 1.0, -2.1783043429548017e-17),
    (0.32383276483316237, 0.3530250627605262, -6.474317816724023e-18),
    (0.15084917392450192, 0.16893272349723495, -1.0193949052683245e-17),
    (0.6509344730398537, 0.6427199940655867, -4.368382980313012e-17),
    (0.07243628666754276, 0.08159286557968891, 1.3048234365187905e-18),
    (0.5358820043066892, 0.5514601711789053, 2.879577281723327e-18),
    (0.36568891691258554, 0.3949570814707699, 1.4554884264354322e-17),
    (0.057998924774706806, 0.06537146973483131, -7.769542483912021e-19),
    (0.5074357331894203, 0.5270099169461195, -3.896257465081146e-17),
    (0.03749565844198488, 0.042289500300892485, 5.73610315697636e-19),
    (0.4336456836623859, 0.46030059165854736, 5.4459792648550334e-18),
    (0.06985542357461894, 0.07869537851878852, -3.5799441509281446e-18),
    (0.09071301334386506, 0.10207860144423211, -6.981640060548155e-19),
    (0.42451918914251396, 0.4517341898603318, 2.322071006847282e-17),
    (0.8268521246720381, 0.7577355372613489, 4.5996760097483683e-17),
    (0.12380196114964559, 0.13898512240075273, -2.030582922924826e-18),
    (0.22323896460701453, 0.24777552072501727, -6.453261131865045e-18),
    (0.6274332224055893, 0.6250958203487711, 1.7854070866826682e-17),
    (0.9477089424570057, 0.8198400918365967, -5.017827673878066e-18),
    (0.5771029486174987, 0.5855838298234413, -4.6607393214834015e-17),
    (0.39668047465078016, 0.4251962641389702, -2.1943652919402116e-17),
    (0.9762551055929201, 0.8326082333934789, 1.9669140092579355e-17),
    (0.04658268061775628, 0.0525249315209476, 3.1962518930362383e-18),
    (0.8584684590486795, 0.7752743230348689, 5.0359374343745746e-17),
    (0.28960928633167626, 0.3178781379200447, 1.1831886300332056e-17),
    (1.7212754167871878, 0.9850773585028297, -3.320128127496269e-17),
    (1.5889611903918417, 0.9753683095829717, -9.007187825612036e-19),
    (2.5424091205096717, 0.9996762426367215, -1.2338063200827374e-17),
    (5.080631795600157, 0.9999999999993284, -1.4141507197251976e-17),
    (1.9036318996196875, 0.9929005300324811, 9.212434774134085e-18),
    (3.908000818312331, 0.9999999673778546, -3.6718458451157865e-17),
    (4.19456734463092, 0.9999999970075895, 2.2528758556224027e-17),
    (2.8619877136286562, 0.999948223980353, 4.640441212880442e-17),
    (3.738722328547789, 0.9999998759001857, 2.909997203591579e-17),
    (1.3139448748666158, 0.9368591920728441, -5.128634962259562e-17),
    (1.2980058498311633, 0.9335916692812051, -1.690016751268107e-17),
    (2.0297935640966327, 0.9959025662989972, 4.0265158932976215e-17),
    (4.401999865908929, 0.9999999995195727, -1.2896962474630525e-17),
    (3.1379615283470144, 0.999990909493864, 1.0808366800760243e-17),
    (2.5707358518839576, 0.9997226328074308, -1.9363610577207178e-17),
    (3.927809317538194, 0.9999999722008475, 9.825167158102564e-18),
    (3.2659218818538767, 0.9999961386882885, 1.5775956199612796e-17),
    (2.4988349843184117, 0.9995905028427949, -4.4012260647526477e-17),
    (4.971897407612456, 0.9999999999979542, -9.236379540735817e-18),
    (4.494972168647856, 0.999999999794068, -4.6254953419849997e-17),
    (2.2204825536107644, 0.9983118853024486, -6.255169349375978e-18),
    (3.872118551293355, 0.9999999564958629, -1.280535169340029e-17),
    (3.625982519057257, 0.9999997070292548, -2.779682515504508e-17),
    (5.375687477867144, 0.9999999999999709, 1.2273985882924069e-17),
    (4.647226447196088, 0.999999999950413, 2.403870527192307e-17),
    (2.4396888244509327, 0.9994399137387312, -7.0777379245451e-18),
    (5.900874237462911, 0.9999999999999999, 3.986646936789052e-17),
    (1.5903288912748106, 0.9754916191421793, -2.087384397795302e-17),
];
