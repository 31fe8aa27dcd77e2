//! Names in labelled words: B-TYPE begins one, I-TYPE goes on with it, E-TYPE ends it, S-TYPE is one alone, any other label is none.
//!
//! An I-TYPE behind another label begins one, too. *Source*: Ramshaw & Marcus 1995; the script conlleval of CoNLL 2003, whose counts
//! `seqeval` gives by default.

/// A name: its type, its first word, and one past its last.
pub type Entity<'l> = (&'l str, usize, usize);

/// The names among labels, in order.
pub fn entities<'l>(labels: &[&'l str]) -> Vec<Entity<'l>> {
    let mut found = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    let mut before = "O";
    for (at, label) in labels.iter().copied().chain(["O"]).enumerate() {
        let (mark, kind) = split(label);
        if let Some((was, start)) = open {
            let (mark_before, _) = split(before);
            let ends = matches!(mark_before, 'E' | 'S') || matches!(mark, 'B' | 'S' | 'O') || kind != was;
            if ends {
                found.push((was, start, at));
                open = None;
            }
        }
        if open.is_none() && mark != 'O' {
            open = Some((kind, at));
        }
        before = label;
    }
    found
}

/// Its mark and the type.
fn split(label: &str) -> (char, &str) {
    match label.split_once('-') {
        Some((mark @ ("B" | "I" | "E" | "S"), kind)) => (mark.chars().next().unwrap_or('O'), kind),
        _ => match label {
            // Without a type, all are of one.
            "B" | "I" | "E" | "S" => (label.chars().next().unwrap_or('O'), "_"),
            _ => ('O', ""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_go_on_and_end() {
        let of = |text: &'static str| entities(&text.split_whitespace().collect::<Vec<_>>());
        assert_eq!(of("B-a I-a O B-b"), [("a", 0, 2), ("b", 3, 4)]);
        assert_eq!(of("I-a I-b I-b B-b O I-a"), [("a", 0, 1), ("b", 1, 3), ("b", 3, 4), ("a", 5, 6)]);
        assert_eq!(of("S-a B-a E-a I-a"), [("a", 0, 1), ("a", 1, 3), ("a", 3, 4)]);
        assert_eq!(of("O x B I"), [("_", 2, 4)]);
        assert_eq!(of(""), []);
    }
}
