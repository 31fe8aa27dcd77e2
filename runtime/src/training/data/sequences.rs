//! Samples of different lengths: the tokens of texts, and what goes with each token.

use super::dataset::Column;
use crate::arrays::Array;
use crate::text::{to_array, width};
use kiln_ir::artifact::{TensorDecl, TextInput};
use kiln_ir::{DType, Diagnostic};

/// Samples one behind the other. A batch is as wide as its longest one needs, or as the network says.
pub struct Sequences {
    numbers: Vec<i32>,
    /// Where each sample ends.
    ends: Vec<usize>,
    /// What stands behind short samples.
    filler: i64,
    dtype: DType,
    decl: TensorDecl,
    text: TextInput,
}

impl Sequences {
    /// No sample yet, of an input or a target that is declared so and is as long as a text.
    pub fn new(decl: &TensorDecl, text: &TextInput, filler: i64) -> Sequences {
        Sequences { numbers: Vec::new(), ends: Vec::new(), filler, dtype: decl.dtype, decl: decl.clone(), text: text.clone() }
    }

    /// Puts a sample behind those there are.
    pub fn push(&mut self, numbers: impl IntoIterator<Item = i64>) {
        self.numbers.extend(numbers.into_iter().map(|number| number as i32));
        self.ends.push(self.numbers.len());
    }

    /// Number of samples.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Numbers of a sample.
    pub fn sample(&self, sample: usize) -> &[i32] {
        let start = sample.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.numbers[start..self.ends[sample]]
    }

    /// As a column.
    pub fn column(self) -> Column {
        Column::Ragged(self)
    }

    /// Samples as `[samples, width]`. Errors: `memory`.
    pub(super) fn batch(&self, samples: &[usize]) -> Result<Array, Diagnostic> {
        let rows: Vec<Vec<i64>> = samples.iter().map(|at| self.sample(*at).iter().map(|number| i64::from(*number)).collect()).collect();
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        to_array(&rows, width(longest, &self.decl, &self.text), self.filler, self.dtype)
    }
}
