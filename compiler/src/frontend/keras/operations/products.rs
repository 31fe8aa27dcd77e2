//! Products of matrices and their generalisation.

use super::super::super::model::tree::Mistake;
use super::super::call::{Argument, Call};
use super::super::layer::Layer;
use super::operand::{operand, together};
use kiln_ir::Value;
use kiln_ir::ops::Dot;

/// The product of the last two axes; those in front of them are batches, which one side may lack.
pub fn matmul(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (a, b) = (operand(call, 0, "x1")?, operand(call, 1, "x2")?);
    let [a, b] = together(l, a, b)?;
    let (of_a, of_b) = (l.rank(a), l.rank(b));
    let product = |batch: usize| Dot {
        a_batch: (0..batch).collect(),
        b_batch: (0..batch).collect(),
        a_contract: vec![of_a - 1],
        b_contract: vec![of_b.saturating_sub(2)],
    };
    match (of_a, of_b) {
        (0, _) | (_, 0) => Err(Mistake::new("it is called with a single number")),
        (_, 1 | 2) => l.op(product(0), &[a, b]),
        _ if of_a == of_b => l.op(product(of_a - 2), &[a, b]),
        _ => {
            let mistake = Mistake::new(format!("the product of {} and {} is not supported", l.ty(a), l.ty(b)));
            Err(mistake.help("give both as many axes"))
        }
    }
}

/// A product of two values by letters, of which none stands twice in one of them.
pub fn einsum(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let subscripts = l.settings.word("subscripts", "")?;
    let wrong = || Mistake::new(format!("the equation `{subscripts}` is not supported: two values with each letter once are"));
    let values: Vec<Value> = call.arguments.iter().flat_map(Argument::values).collect();
    let (inputs, output) = subscripts.split_once("->").ok_or_else(wrong)?;
    let (left, right) = inputs.split_once(',').ok_or_else(wrong)?;
    let [left, right, output] = [left, right, output].map(|text| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>());
    let [a, b] = values[..] else { return Err(wrong()) };
    let place = |letters: &[char], letter: char| letters.iter().position(|other| *other == letter);
    let proper = |letters: &[char]| letters.iter().enumerate().all(|(at, c)| c.is_alphabetic() && !letters[..at].contains(c));
    if left.len() != l.rank(a) || right.len() != l.rank(b) || ![&left, &right, &output].iter().all(|letters| proper(letters)) {
        return Err(wrong());
    }
    let shared: Vec<char> = left.iter().copied().filter(|letter| right.contains(letter)).collect();
    let (batch, contract): (Vec<char>, Vec<char>) = shared.iter().partition(|letter| output.contains(letter));
    let places = |letters: &[char], of: &[char]| -> Vec<usize> { letters.iter().filter_map(|letter| place(of, *letter)).collect() };
    let free = |letters: &[char]| -> Vec<char> { letters.iter().copied().filter(|letter| !shared.contains(letter)).collect() };
    let made = [batch.clone(), free(&left), free(&right)].concat();
    if made.len() != output.len() {
        return Err(wrong());
    }
    let perm = output.iter().map(|letter| place(&made, *letter)).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    let dot = Dot {
        a_batch: places(&batch, &left),
        b_batch: places(&batch, &right),
        a_contract: places(&contract, &left),
        b_contract: places(&contract, &right),
    };
    let y = l.op(dot, &[a, b])?;
    l.transpose(y, &perm)
}
