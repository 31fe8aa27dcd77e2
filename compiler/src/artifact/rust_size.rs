//! Sizes as Rust expressions: what generated modules compare lengths of slices with.

use kiln_ir::Dim;
use kiln_ir::dim::{Atom, Term};

/// The expression of a size, in which the symbol at place n is `dn`.
pub fn rust_size(dim: &Dim, symbols: &[&str]) -> String {
    if let Some(number) = dim.as_const() {
        return number.to_string();
    }
    let term = |term: &Term| {
        let factors = term.atoms.iter().map(|atom| factor(atom, symbols));
        let number = (term.coefficient != 1 || term.atoms.is_empty()).then(|| format!("({})", term.coefficient));
        number.into_iter().chain(factors).collect::<Vec<_>>().join(" * ")
    };
    dim.terms().iter().map(term).collect::<Vec<_>>().join(" + ")
}

fn factor(atom: &Atom, symbols: &[&str]) -> String {
    let of = |dim: &Dim| format!("i64::from({})", rust_size(dim, symbols));
    match atom {
        Atom::Symbol(symbol) => {
            let at = symbols.iter().position(|name| *name == symbol.name());
            format!("d{}", at.unwrap_or_else(|| panic!("signature: no size is called {symbol}")))
        }
        // Divisors are positive, so that Euclid's division rounds down.
        Atom::FloorDiv(a, b) => format!("{}.div_euclid({})", of(a), of(b)),
        Atom::Mod(a, b) => format!("{}.rem_euclid({})", of(a), of(b)),
        Atom::Min(a, b) => format!("{}.min({})", of(a), of(b)),
        Atom::Max(a, b) => format!("{}.max({})", of(a), of(b)),
        Atom::Bcast(a, b) => format!("(if {a} == 1 {{ {b} }} else {{ {a} }})", a = of(a), b = of(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::rust_size;
    use kiln_ir::dim::parse_dim;

    #[test]
    fn sizes_become_expressions() {
        let of = |text: &str| rust_size(&parse_dim(text).expect("a size"), &["batch", "time"]);
        assert_eq!(of("7"), "7");
        assert_eq!(of("time"), "d1");
        assert_eq!(of("2*batch*time - 3"), "(-3) + (2) * d0 * d1");
        assert_eq!(of("floordiv(time - 1, 2) + 1"), "i64::from((1) + d1).div_euclid(i64::from(2))");
        assert_eq!(of("max(batch, 1)"), "i64::from(1).max(i64::from(d0))");
    }
}
