//! Texts of PTX kernels with one instruction changed, and which of these changes cannot show.

/// A change of one line.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its number in the module's text, from 0.
    pub line: usize,
    /// What stands there instead.
    pub text: String,
    /// What was done to it.
    pub how: &'static str,
}

impl Mutant {
    /// The name of the kernel that it is in, and a module of that kernel alone, of the lines of a module's text.
    pub fn kernel(&self, lines: &[&str]) -> (String, String) {
        let begins = |line: &str| line.strip_prefix(".visible .entry ").map(|rest| rest.trim_end_matches('(').to_string());
        let first = (0..self.line).rev().find(|at| begins(lines[*at]).is_some()).expect("only kernels have instructions");
        let end = self.line + lines[self.line..].iter().position(|line| *line == "}").expect("a kernel ends");
        let head = lines.iter().take_while(|line| !line.is_empty());
        let before = &lines[first..self.line];
        let text: Vec<&str> = head.chain(before).copied().chain([&*self.text]).chain(lines[self.line + 1..=end].iter().copied()).collect();
        (begins(lines[first]).expect("it was found"), text.join("\n") + "\n")
    }
}

/// Every change of a module's text.
pub fn mutants(text: &str) -> Vec<Mutant> {
    let mut found = Vec::new();
    for (line, instruction) in text.lines().enumerate() {
        let Some(body) = instruction.strip_prefix("    ").filter(|body| !body.starts_with('.') && *body != "ret;") else { continue };
        let mut add = |how, text: String| found.push(Mutant { line, text: format!("    {text}"), how });
        add("left out", String::new());
        if let Some(rest) = body.strip_prefix("@!") {
            add("predicate", format!("@{rest}"));
        } else if let Some(rest) = body.strip_prefix('@') {
            add("predicate", format!("@!{rest}"));
        }
        let Some(operands) = body.find(' ') else { continue };
        for (from, to) in words(body).into_iter().filter(|(from, _)| *from > operands) {
            let word = &body[from..to];
            let replaced = |with: &str| format!("{}{with}{}", &body[..from], &body[to..]);
            let in_brackets = body[..from].rfind('[').is_some_and(|open| !body[open..from].contains(']'));
            if let Some((class, number)) = register(word) {
                let is_result = body[operands..from].trim_start_matches([' ', '{']).is_empty() && !body.starts_with("st.");
                if !is_result {
                    add("register", replaced(&format!("{class}{}", if number > 0 { number - 1 } else { 1 })));
                }
                if in_brackets && body[to..].starts_with(']') && !body.contains(".param") {
                    add("offset", format!("{}+4{}", &body[..to], &body[to..]));
                }
            } else if let Ok(number) = word.parse::<i64>() {
                let is_offset = in_brackets && body[..from].ends_with('+');
                let step = if is_offset { 4 } else { 1 };
                add(if is_offset { "offset" } else { "constant" }, replaced(&(number + step).to_string()));
            }
        }
    }
    found
}

/// Places of words: registers and numbers.
fn words(body: &str) -> Vec<(usize, usize)> {
    let (mut found, mut from) = (Vec::new(), None);
    let part = |c: char| c.is_ascii_alphanumeric() || c == '%' || c == '_' || c == '.';
    for (at, c) in body.char_indices().chain([(body.len(), ' ')]) {
        match (part(c), from) {
            (true, None) => from = Some(at),
            (false, Some(start)) => {
                found.push((start, at));
                from = None;
            }
            _ => {}
        }
    }
    found
}

/// The class of a register and its number.
fn register(word: &str) -> Option<(&str, u32)> {
    let digits = word.find(|c: char| c.is_ascii_digit())?;
    let number = word[digits..].parse().ok()?;
    word.starts_with('%').then_some((&word[..digits], number))
}

/// Why a change cannot show, if so.
pub fn equivalent(lines: &[&str], mutant: &Mutant) -> Option<&'static str> {
    let old = lines[mutant.line].trim();
    let next_labels = || lines[mutant.line + 1..].iter().take_while(|line| line.ends_with(':')).map(|line| line.trim_end_matches(':'));
    if mutant.how == "left out"
        && let Some(label) = old.split("bra ").nth(1).map(|label| label.trim_end_matches(';'))
        && next_labels().any(|next| next == label)
    {
        return Some("a jump to what comes next anyway");
    }
    // Loops check before each turn; where a first turn is worth skipping what it begins with, they are checked before that as well.
    let checks_again =
        || lines[mutant.line + 1..].iter().find(|line| !line.trim().starts_with("mov.")).is_some_and(|line| line.ends_with(':'));
    if mutant.how == "left out" && old.starts_with("@!") && old.contains(" bra ") && checks_again() {
        return Some("a loop without turns");
    }
    // Quotients of small numbers by a constant are products and shifts, for which a larger factor does as well.
    if mutant.how == "constant"
        && let Some((factor, shift)) = quotient(old, lines[mutant.line + 1].trim())
        && let Some((other, _)) = quotient(&mutant.text, lines[mutant.line + 1].trim())
        && (0..1u64 << 20).all(|n| n.wrapping_mul(factor) >> shift == n.wrapping_mul(other) >> shift)
    {
        return Some("the same quotients");
    }
    if mutant.how == "constant" && old == "bar.sync 0;" {
        return Some("a barrier of another number, which the same threads come to");
    }
    // The short way jumps over the long one, which gives the same of short numbers.
    let before = |count: usize| lines[mutant.line - count].trim();
    if mutant.how == "left out"
        && old.starts_with("bra ")
        && before(2).starts_with("cvt.u64.u32")
        && ["div.u32", "rem.u32"].iter().any(|divide| before(3).starts_with(divide))
    {
        return Some("the long way to divide after the short one");
    }
    // An axis of which anything is loaded has a last element, at 0 or more.
    if mutant.how == "register"
        && old.starts_with("min.s64")
        && let Some((last, unbounded)) = exchanged(old, &mutant.text)
        && let Some([zero, other]) = operands(lines, mutant.line, "max.s64", last)
        && other == unbounded
        && operands(lines, mutant.line, "mov.b64", zero) == Some(["0"])
    {
        return Some("the last element of an axis that has elements");
    }
    if mutant.how == "register"
        && let Some((one, other)) = exchanged(old, &mutant.text)
        && let (Some(value), Some(same)) = (constant(lines, mutant.line, one), constant(lines, mutant.line, other))
        && value == same
    {
        return Some("a register with the same constant");
    }
    None
}

/// The constant that a register holds all the time, if so, as it is written.
fn constant<'a>(lines: &[&'a str], line: usize, register: &str) -> Option<&'a str> {
    let begin = lines[..line].iter().rposition(|line| *line == "{")?;
    let kernel = lines[begin..].iter().take_while(|line| **line != "}").map(|line| line.trim());
    let mut results = kernel.filter(|line| {
        let operands = line.trim_start_matches(|c| c != ' ').trim_start_matches([' ', '{']);
        !line.starts_with("st.") && operands.split_once([',', '}', ';']).is_some_and(|(first, _)| first == register)
    });
    let (only, None) = (results.next()?, results.next()) else { return None };
    let value = only.strip_prefix("mov.")?.rsplit(' ').next()?.trim_end_matches(';');
    value.starts_with(|c: char| c.is_ascii_digit() || c == '-').then_some(value)
}

/// The register that was there and the one that is there instead.
fn exchanged<'a>(old: &'a str, new: &'a str) -> Option<(&'a str, &'a str)> {
    let of = |line: &'a str| words(line.trim()).into_iter().map(|(from, to)| &line.trim()[from..to]);
    of(old).zip(of(new)).find(|(old, new)| old != new)
}

/// What the kernel's instruction with that result was given, if it is of that kind.
fn operands<'a, const N: usize>(lines: &[&'a str], line: usize, kind: &str, result: &str) -> Option<[&'a str; N]> {
    let start = format!("{kind} {result}, ");
    let kernel = lines[..line].iter().rev().take_while(|line| **line != "{");
    let found = kernel.filter_map(|line| line.trim().strip_prefix(&start)).next()?;
    found.trim_end_matches(';').split(", ").collect::<Vec<_>>().try_into().ok()
}

/// The factor and the shift of two lines that divide by a constant.
fn quotient(product: &str, shift: &str) -> Option<(u64, u32)> {
    let last = |line: &str| line.trim_end_matches(';').rsplit(' ').next()?.parse().ok();
    let (factor, shift) =
        (product.trim().starts_with("mul.lo.s64").then(|| last(product))??, shift.starts_with("shr.u64").then(|| last(shift))??);
    Some((factor, shift as u32))
}
