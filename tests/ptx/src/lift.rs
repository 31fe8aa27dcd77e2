//! Functions of one lane become functions of a warp, which the compiler can turn into vector code.

use crate::instruction::{Lanes, WARP};

pub(crate) type Function1 = Box<dyn Fn(&Lanes, &mut Lanes) + Send + Sync>;
pub(crate) type Function2 = Box<dyn Fn(&Lanes, &Lanes, &mut Lanes) + Send + Sync>;
pub(crate) type Function3 = Box<dyn Fn(&Lanes, &Lanes, &Lanes, &mut Lanes) + Send + Sync>;
pub(crate) type Function4 = Box<dyn Fn([&Lanes; 4], &mut Lanes) + Send + Sync>;
pub(crate) type Relation = Box<dyn Fn(&Lanes, &Lanes) -> u32 + Send + Sync>;
/// Old value, operand, second operand of `cas` → new value.
pub(crate) type Update = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

/// Lifts a function of one value to a warp.
pub(crate) fn map1(f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Function1 {
    Box::new(move |a, d| (0..WARP).for_each(|i| d[i] = f(a[i])))
}

/// Lifts a function of two values to a warp.
pub(crate) fn map2(f: impl Fn(u64, u64) -> u64 + Send + Sync + 'static) -> Function2 {
    Box::new(move |a, b, d| (0..WARP).for_each(|i| d[i] = f(a[i], b[i])))
}

/// Lifts a function of three values to a warp.
pub(crate) fn map3(f: impl Fn(u64, u64, u64) -> u64 + Send + Sync + 'static) -> Function3 {
    Box::new(move |a, b, c, d| (0..WARP).for_each(|i| d[i] = f(a[i], b[i], c[i])))
}

/// Lifts a function of four values to a warp.
pub(crate) fn map4(f: impl Fn([u64; 4]) -> u64 + Send + Sync + 'static) -> Function4 {
    Box::new(move |a, d| (0..WARP).for_each(|i| d[i] = f(a.map(|a| a[i]))))
}

/// Lifts a comparison to a warp.
pub(crate) fn relation(f: impl Fn(u64, u64) -> bool + Send + Sync + 'static) -> Relation {
    Box::new(move |a, b| (0..WARP).fold(0, |m, i| m | u32::from(f(a[i], b[i])) << i))
}
