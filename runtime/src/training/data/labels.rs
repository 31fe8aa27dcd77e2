//! Labels as files have them, names of classes or numbers, as numbers.

use kiln_ir::Diagnostic;
use std::collections::BTreeSet;

/// What classes are called in the data.
#[derive(Clone, PartialEq, Debug)]
pub enum Classes {
    /// By their numbers, from 0 on, below this one if it is known.
    Numbers(Option<usize>),
    /// By these names, in the order of their numbers.
    Names(Vec<String>),
}

impl Classes {
    /// Finds out from labels what they are: the network's own names if one of them is among them, numbers if all of them are, else
    /// names in sorted order. `most` is how many the network tells apart.
    pub fn of<'t>(labels: impl Iterator<Item = &'t str> + Clone, network: Option<&[String]>, most: Option<usize>) -> Classes {
        let network = network.filter(|names| labels.clone().any(|label| names.iter().any(|name| name == label)));
        match network {
            Some(names) => Classes::Names(names.to_vec()),
            None if labels.clone().all(|label| label.parse::<f64>().is_ok()) => Classes::Numbers(most),
            None => Classes::Names(labels.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()),
        }
    }

    /// The number of a label. Errors: a text that says what is wrong with it.
    pub fn number(&self, label: &str) -> Result<i64, String> {
        match self {
            Classes::Numbers(most) => {
                let number = label.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && *number >= 0.0);
                let number = number.ok_or_else(|| format!("`{label}` is no number of a class"))?;
                match most.filter(|most| number >= *most as f64) {
                    None => Ok(number as i64),
                    Some(most) => Err(format!("class {label} is out of range: the network tells {most} apart, from 0 on")),
                }
            }
            Classes::Names(names) => {
                let found = names.iter().position(|name| name == label);
                found.map(|at| at as i64).ok_or_else(|| format!("`{label}` is no class: the classes are {}", shortened(names)))
            }
        }
    }

    /// The names, if they have some.
    pub fn names(self) -> Option<Vec<String>> {
        match self {
            Classes::Names(names) => Some(names),
            Classes::Numbers(_) => None,
        }
    }
}

/// A list that fits a message.
pub fn shortened(names: &[String]) -> String {
    const MOST: usize = 20;
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    names[..names.len().min(MOST)].join(", ") + &more
}

/// An error about a line of a file.
pub fn at_line(place: &str, line: u64, text: &str) -> Diagnostic {
    Diagnostic::new("data", format!("{place}:{line}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_numbers_or_names_in_order() {
        let network = ["no".to_owned(), "yes".to_owned()];
        let of = |labels: &[&str], network: Option<&[String]>| Classes::of(labels.iter().copied(), network, Some(3));
        assert_eq!(of(&["2", "0", "1.0"], Some(&network)), Classes::Numbers(Some(3)));
        assert_eq!(of(&["dog", "cat", "dog", "7"], None).number("cat"), Ok(1));
        assert_eq!(of(&["yes", "yes"], Some(&network)).number("yes"), Ok(1));
        assert_eq!(of(&["yes", "yes"], None).number("yes"), Ok(0));
        let numbers = Classes::Numbers(Some(3));
        assert_eq!(numbers.number("1.5"), Err("`1.5` is no number of a class".to_owned()));
        assert_eq!((numbers.number("2"), Classes::Numbers(None).number("3")), (Ok(2), Ok(3)));
        assert!(numbers.number("3").expect_err("too large").contains("class 3 is out of range") && numbers.number("-1").is_err());
        let error = of(&["dog", "cat"], None).number("bird").expect_err("no such class");
        assert_eq!(error, "`bird` is no class: the classes are cat, dog");
    }
}
