//! Names in which `*` stands for anything.

/// Whether a name is one that a pattern stands for.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_anything() {
        let cases = [
            ("conv.weight", "conv.weight", true),
            ("conv.weight", "conv.weights", false),
            ("conv*", "conv2d_2.bias", true),
            ("*.bias", "conv2d_2.bias", true),
            ("*.bias", "conv2d_2.bias.x", false),
            ("*2*b*", "conv2d.bias", true),
            ("*", "", true),
            ("a*a", "a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }
}
