//! Random loops over rows that need nothing of each other: products with weights that stay, parts of what they make, softmax and sums over
//! a row, units that change places, states that are stored late or hardly change.

use crate::samples::{Fill, Random, tensor};
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{DType, Module, Tensor};
use std::fmt::Write;

/// Operators of a body.
const STEPS: usize = 9;

/// A loop whose rows and turns are open.
pub struct RandomLoop {
    /// Its text, for reports.
    pub text: String,
    /// It alone.
    pub module: Module,
    units: usize,
    states: usize,
    /// Columns of what is scanned.
    scanned: usize,
    weights: Vec<[usize; 2]>,
}

/// A value of a body: its name and how many columns it has.
type Row = (String, usize);

struct Body<'a> {
    random: &'a mut Random,
    text: String,
    names: usize,
    /// What may be used.
    rows: Vec<Row>,
    units: usize,
    weights: Vec<[usize; 2]>,
}

impl Body<'_> {
    fn pick(&mut self) -> Row {
        // Late ones are likelier, so that chains come about.
        let count = self.rows.len();
        let at = count - 1 - self.random.below(count).min(self.random.below(count));
        self.rows[at].clone()
    }

    /// The name of a new value.
    fn named(&mut self, what: &str) -> String {
        let name = format!("%v{}", self.names);
        self.names += 1;
        writeln!(self.text, "      {name} = {what}").expect("a string takes anything");
        name
    }

    /// A new value that may be used.
    fn add(&mut self, columns: usize, what: &str) -> String {
        let name = self.named(what);
        self.rows.push((name.clone(), columns));
        name
    }

    /// Some of a value's columns.
    fn part(&mut self, value: &str, first: usize, columns: usize) -> String {
        self.named(&format!("slice {value} {{starts = [0, {first}], sizes = [b, {columns}], steps = [1, 1]}}"))
    }

    /// A value of one column for each unit, made of some value.
    fn of_units(&mut self) -> String {
        let (value, columns) = self.pick();
        match columns / self.units {
            1 => value,
            times => {
                let first = self.random.below(times) * self.units;
                self.part(&value, first, self.units)
            }
        }
    }

    fn step(&mut self) {
        let units = self.units;
        match self.random.below(8) {
            0 | 1 => {
                let (value, columns) = self.pick();
                let results = units * (1 + self.random.below(4));
                let weights = self.weights.len();
                self.weights.push([columns, results]);
                let dot = format!("dot {value}, %w{weights} {{a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}}");
                let product = self.add(results, &dot);
                self.add(results, &format!("tanh {product}"));
            }
            2 => {
                let (value, columns) = self.pick();
                let function = ["tanh", "sigmoid", "neg"][self.random.below(3)];
                self.add(columns, &format!("{function} {value}"));
            }
            3 => {
                let value = self.of_units();
                self.add(units, &format!("softmax {value} {{axis = 1}}"));
            }
            4 => {
                // Units change places.
                let value = self.of_units();
                let cut = 1 + self.random.below(units - 1);
                let (low, high) = (self.part(&value, 0, cut), self.part(&value, cut, units - cut));
                self.add(units, &format!("concat {high}, {low} {{axis = 1}}"));
            }
            5 => {
                let value = self.of_units();
                let largest = self.named(&format!("reduce {value} {{kind = max, axes = [1], keep = true}}"));
                self.add(units, &format!("broadcast {largest} {{shape = [b, {units}]}}"));
            }
            _ => {
                let (one, other) = (self.of_units(), self.of_units());
                let function = ["add", "sub", "mul", "max"][self.random.below(4)];
                let value = self.add(units, &format!("{function} {one}, {other}"));
                // What is carried stays small.
                self.add(units, &format!("tanh {value}"));
            }
        }
    }
}

impl RandomLoop {
    /// One of them.
    pub fn new(random: &mut Random) -> RandomLoop {
        let units = 2 + random.below(11);
        let (states, scanned) = (1 + random.below(3), units * (1 + random.below(3)));
        let mut body = Body { random, text: String::new(), names: 0, rows: Vec::new(), units, weights: Vec::new() };
        body.rows.extend((0..states).map(|at| (format!("%h{at}"), units)));
        body.rows.push(("%x".to_string(), scanned));
        for _ in 0..STEPS {
            body.step();
        }
        // Each result is a value of its own.
        let next: Vec<String> = (0..states).map(|_| body.of_units()).collect();
        let slices = [body.pick().0, body.pick().0];
        let results: Vec<String> = next.iter().chain(&slices).map(|value| body.named(&format!("neg {value}"))).collect();
        let Body { text: steps, weights, .. } = body;
        let listed = |names: Vec<String>| names.join(", ");
        let floats = |rows: &str, columns: usize| format!("f32[{rows}, {columns}]");
        let state = |at: usize| format!("%h{at}: {}", floats("b", units));
        let kept: Vec<String> = weights.iter().enumerate().map(|(at, [rows, columns])| format!("%w{at}: f32[{rows}, {columns}]")).collect();
        let names = |prefix: &str, count: usize| (0..count).map(|at| format!("{prefix}{at}")).collect::<Vec<String>>();
        let inputs = [(0..states).map(state).collect(), vec![format!("%x: {}", floats("t, b", scanned))], kept.clone()].concat();
        let inside = [(0..states).map(state).collect(), vec![format!("%x: {}", floats("b", scanned))], kept].concat();
        let operands = [names("%h", states), vec!["%x".to_string()], names("%w", weights.len())].concat();
        let outputs = names("%y", results.len());
        let text = format!(
            "module random {{\n  fn predict({}) {{\n    {} = scan {} {{body = graph ({}) {{\n{steps}      return {}\n    }}, carried = {states}, \
             scanned = 1, reverse = {}}}\n    return {}\n  }}\n}}\n",
            listed(inputs),
            listed(outputs.clone()),
            listed(operands),
            listed(inside),
            listed(results),
            random.below(2) == 0,
            listed(outputs),
        );
        let module = parse_module("random", &text, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
        RandomLoop { text, module, units, states, scanned, weights }
    }

    /// Inputs for so many turns and rows.
    pub fn inputs(&self, turns: usize, rows: usize, random: &mut Random) -> Vec<Tensor> {
        let states = vec![vec![rows, self.units]; self.states];
        let shapes = [states, vec![vec![turns, rows, self.scanned]], self.weights.iter().map(|shape| shape.to_vec()).collect()].concat();
        shapes.iter().map(|shape| tensor(DType::F32, shape, Fill::Ordinary, Some((-0.7, 0.7)), random)).collect()
    }
}
