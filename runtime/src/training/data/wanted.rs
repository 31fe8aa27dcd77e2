//! What the data must fit: the slots of a recipe, as the compiled step declares them.

use super::DataOptions;
use super::dataset::{Column, Dataset, Even, Pixels};
use super::labels::{Classes, shortened};
use super::values::Values;
use crate::arrays::{Array, element};
use crate::pictures::image_input_named;
use crate::text::Tokeniser;
use crate::text::vocabulary::Counts;
use crate::training::recipe::{Allowed, DataSlot};
use kiln_ir::artifact::{Extent, ImageInput, Signature, TensorDecl, TextInput};
use kiln_ir::{DType, Diagnostic};
use std::cell::{OnceCell, RefCell};

/// What the data must fit: the slots of a recipe as the compiled step declares them.
pub struct Wanted<'r> {
    /// The slots.
    pub slots: &'r [DataSlot],
    /// The step's signature, whose first inputs are the slots.
    pub signature: &'r Signature,
    /// How data are read.
    pub options: &'r DataOptions,
    left_out: RefCell<Vec<Diagnostic>>,
    text: Option<TextInput>,
    labels: Option<Vec<String>>,
    /// Whether the data say which tokens there are.
    learns: bool,
    tokeniser: OnceCell<Tokeniser>,
}

impl<'r> Wanted<'r> {
    /// Data for these slots, which are the first inputs of the signature.
    pub fn new(slots: &'r [DataSlot], signature: &'r Signature, options: &'r DataOptions) -> Wanted<'r> {
        Wanted {
            slots,
            signature,
            options,
            left_out: RefCell::default(),
            text: None,
            labels: signature.labels.clone(),
            learns: false,
            tokeniser: OnceCell::new(),
        }
    }

    /// The same for texts that become tokens so; with `learns`, the data that training learns from say which ones there are, unless that
    /// is known.
    pub fn with_text(self, text: Option<TextInput>, learns: bool) -> Wanted<'r> {
        Wanted { text, learns, ..self }
    }

    /// The same for classes that training called so, unless the network names them itself.
    pub fn with_labels(self, labels: Option<Vec<String>>) -> Wanted<'r> {
        Wanted { labels: self.signature.labels.clone().or(labels), ..self }
    }

    /// What the classes are called, if that is known.
    pub(super) fn known_labels(&self) -> Option<&[String]> {
        self.labels.as_deref()
    }

    /// The slot that takes texts, and how.
    pub(super) fn text(&self) -> Option<(usize, TextInput)> {
        let text = self.text.as_ref()?;
        let slot = self.slots.iter().position(|slot| slot.name == text.input && !slot.is_target)?;
        Some((slot, text.clone()))
    }

    /// What makes tokens of texts; `count` counts them if the data have to say which there are.
    ///
    /// Errors: those of `count`; `text_vocabulary` when nothing says which there are; `data` for a network without texts.
    pub(super) fn tokeniser(
        &self,
        count: impl FnOnce(&mut Counts, &TextInput) -> Result<(), Diagnostic>,
    ) -> Result<&Tokeniser, Diagnostic> {
        if let Some(known) = self.tokeniser.get() {
            return Ok(known);
        }
        let mut text = self.text.clone().ok_or_else(|| Diagnostic::new("data", "the network takes no texts"))?;
        if self.learns && text.is_learnt() && text.vocabulary.is_none() {
            let mut counts = Counts::default();
            count(&mut counts, &text)?;
            text.vocabulary = Some(counts.vocabulary(&text));
        }
        let made = Tokeniser::new(text)?;
        Ok(self.tokeniser.get_or_init(|| made))
    }

    /// The tokens that texts were made of, if there were some and the network does not bring them itself.
    pub fn vocabulary(&self) -> Option<&[String]> {
        self.tokeniser.get()?.input().vocabulary.as_deref()
    }

    /// What was left out so far, and why.
    pub fn left_out(&self) -> Vec<String> {
        self.left_out.borrow().iter().map(|error| error.message.clone()).collect()
    }

    /// Leaves a row or a file out that cannot be used. Errors: what is wrong with it, when no more may be left out.
    pub fn leave_out(&self, error: Diagnostic) -> Result<(), Diagnostic> {
        let (allowed, mut before) = (self.options.skip_bad, self.left_out.borrow_mut());
        if before.len() < allowed {
            before.push(error);
            return Ok(());
        }
        Err(match allowed {
            0 => error.help("mend it, or let N such rows or files at most be left out by --skip-bad N"),
            _ => error.help(format!("{allowed} were left out before it, as many as --skip-bad allows")),
        })
    }

    pub(super) fn decl(&self, slot: usize) -> &TensorDecl {
        &self.signature.inputs[slot]
    }

    /// An error with what the network takes.
    pub(super) fn takes(&self, error: Diagnostic) -> Diagnostic {
        let inputs: Vec<String> = (0..self.slots.len()).map(|slot| self.decl(slot).to_string()).collect();
        error.at("the network takes", inputs.join(", "))
    }

    /// Names under which files may have the values of a slot.
    pub(super) fn names(&self, at: usize) -> Vec<String> {
        let slot = &self.slots[at];
        let alone = self.slots.iter().filter(|other| other.is_target == slot.is_target && other.allowed != Allowed::Lengths).count() == 1
            && slot.allowed != Allowed::Lengths;
        let short = if slot.is_target { ["Y", "y"] } else { ["X", "x"] };
        let mut names = vec![slot.name.clone(), self.decl(at).name.clone()];
        names.extend(short.into_iter().filter(|_| alone).map(str::to_owned));
        names
    }

    /// How many numbers a sample has, if the network says.
    pub(super) fn sample_size(&self, slot: usize) -> Option<usize> {
        let axes = self.decl(slot).shape.iter().enumerate().filter(|(axis, _)| *axis != self.slots[slot].batch_axis);
        axes.map(|(_, extent)| if let Extent::Fixed(size) = extent { usize::try_from(*size).ok() } else { None }).product()
    }

    /// How many columns of a table a sample has, if the network says: of a text one.
    pub(super) fn columns(&self, slot: usize) -> Option<usize> {
        if self.text().is_some_and(|(text, _)| text == slot) { Some(1) } else { self.sample_size(slot) }
    }

    /// Whether a slot takes numbers of classes.
    pub(super) fn is_label(&self, slot: usize) -> bool {
        let DataSlot { is_target, allowed, .. } = self.slots[slot];
        is_target && allowed != Allowed::Lengths && self.decl(slot).dtype == DType::I64
    }

    /// The slot that takes pictures: one input, and how.
    pub(super) fn image(&self) -> Result<(usize, ImageInput), Diagnostic> {
        let inputs = (0..self.slots.len()).filter(|slot| !self.slots[*slot].is_target);
        let mut found = inputs.filter_map(|slot| Some((slot, image_input_named(self.signature, &self.slots[slot].name)?)));
        let only = found.next().filter(|_| found.next().is_none());
        only.ok_or_else(|| {
            let error = Diagnostic::new("data", "the data are pictures, but no input, or more than one, takes pictures");
            self.takes(error).help("name it with an `image` table in [[input]]")
        })
    }

    /// The target that is spelled, if one is: labels in order, padded with −1.
    pub(super) fn spelling(&self) -> Option<usize> {
        let is_spelled = |slot: &usize| self.is_label(*slot) && matches!(self.slots[*slot].allowed, Allowed::Classes(-1, _));
        (0..self.slots.len()).find(is_spelled)
    }

    /// The slot that takes numbers of classes.
    pub(super) fn labels(&self) -> Result<usize, Diagnostic> {
        let mut found = (0..self.slots.len()).filter(|slot| self.is_label(*slot));
        let only = found.next().filter(|_| found.next().is_none());
        only.ok_or_else(|| {
            Diagnostic::new("data", "the data are samples of classes, but no loss, or more than one, takes numbers of classes")
                .help("loss = \"sparse_cross_entropy\"")
        })
    }

    /// What the labels of a slot are. Errors: `data` when they are of more classes than the network tells apart.
    pub(super) fn classes_of<'t>(
        &self,
        slot: usize,
        labels: impl Iterator<Item = &'t str> + Clone,
        place: &str,
    ) -> Result<Classes, Diagnostic> {
        let classes = Classes::of(labels, self.known_labels(), self.slots[slot].classes());
        if let Classes::Names(names) = &classes {
            self.check_classes(slot, names, place)?;
        }
        Ok(classes)
    }

    /// Errors: `data` when there are more of them than the network tells apart.
    pub(super) fn check_classes(&self, slot: usize, names: &[String], place: &str) -> Result<(), Diagnostic> {
        match self.slots[slot].classes().filter(|most| names.len() > *most) {
            None => Ok(()),
            Some(most) => {
                let slot = &self.slots[slot].name;
                let message = format!("{place}: there are {} classes, and `{slot}` tells {most} apart", names.len());
                Err(Diagnostic::new("data", message).at("the classes are", shortened(names)))
            }
        }
    }

    /// How bytes become numbers of a slot, if the network says so.
    pub(super) fn declared_image(&self, slot: usize) -> Option<ImageInput> {
        self.signature.image.clone().filter(|image| image.input == self.slots[slot].name)
    }

    /// A column for a slot, whose bytes become numbers as `image` says. Errors: `data` when the values do not fit.
    pub(super) fn column(&self, slot: usize, mut values: Values, image: Option<ImageInput>, place: &str) -> Result<Column, Diagnostic> {
        let (decl, axis) = (self.decl(slot), self.slots[slot].batch_axis);
        let wrong = |text: String| Diagnostic::new("data", format!("{place}: {text}")).at("the network takes", decl.to_string());
        // Targets without their axis of size 1, or with one, and pictures without their channel are common.
        let shape = &mut values.shape;
        if shape.len() + 1 == decl.shape.len() {
            let is_one = |at: &usize| *at != axis && matches!(decl.shape[*at], Extent::Fixed(1));
            (0..decl.shape.len()).find(is_one).into_iter().for_each(|at| shape.insert(at, 1));
        } else if shape.len() == decl.shape.len() + 1 && shape.last() == Some(&1) {
            shape.pop();
        }
        if values.shape.len() != decl.shape.len() {
            return Err(wrong(format!("`{}` is {}, of another rank", decl.name, values.type_text())));
        }
        for (at, (extent, size)) in decl.shape.iter().zip(&values.shape).enumerate() {
            if at != axis && matches!(extent, Extent::Fixed(n) if usize::try_from(*n) != Ok(*size)) {
                return Err(wrong(format!("`{}` is {}: axis {at} must be {extent}", decl.name, values.type_text())));
            }
        }
        if values.dtype != decl.dtype
            && !decl.dtype.is_float()
            && let Some(value) = first_changed(&values, decl.dtype)?
        {
            return Err(wrong(format!("`{}` has {value}, which is no {}", decl.name, decl.dtype)));
        }
        let allowed = self.slots[slot].allowed;
        if allowed != Allowed::Anything
            && let Some((at, value)) = first(&values, |value| !allowed.has(value))?
        {
            let sample = at / values.shape[axis + 1..].iter().product::<usize>() % values.shape[axis];
            let error = wrong(format!("`{}` of sample {sample} is {value}", decl.name));
            return Err(error.help(format!("its loss takes {}", allowed.text())));
        }
        let image = image.filter(|_| values.dtype == DType::U8 && decl.dtype.is_float() && !self.slots[slot].is_target);
        Ok(Column::Even(Even { values, axis, dtype: decl.dtype, pixels: image.as_ref().map(Pixels::new) }))
    }

    /// Columns as a dataset. Errors: `data` when their numbers of samples differ.
    pub(super) fn dataset(&self, columns: Vec<Column>, place: &str) -> Result<Dataset, Diagnostic> {
        let len = columns.first().map_or(0, Column::len);
        if let Some((slot, column)) = columns.iter().enumerate().find(|(_, column)| column.len() != len) {
            let (first, other) = (&self.slots[0].name, &self.slots[slot].name);
            let message = format!("{place}: {len} samples of `{first}`, but {} of `{other}`", column.len());
            return Err(Diagnostic::new("data", message));
        }
        if len == 0 {
            return Err(Diagnostic::new("data", format!("{place}: there are no samples")));
        }
        Ok(Dataset { columns, len, names: None, words: None, word_starts: None })
    }
}

/// The first value that is another one in that type.
fn first_changed(values: &Values, dtype: DType) -> Result<Option<f64>, Diagnostic> {
    let mut one = Array::zeroed(dtype, vec![1])?;
    let found = first(values, |value| {
        one.set_f64(0, value);
        one.get_f64(0) != value
    })?;
    Ok(found.map(|(_, value)| value))
}

/// The first value that is so, and where.
fn first(values: &Values, mut is: impl FnMut(f64) -> bool) -> Result<Option<(usize, f64)>, Diagnostic> {
    const AT_ONCE: usize = 1 << 16;
    let mut scratch = Vec::new();
    for from in (0..values.elements()).step_by(AT_ONCE) {
        let bytes = values.read(from, AT_ONCE.min(values.elements() - from), &mut scratch)?;
        let numbers = bytes.chunks_exact(values.dtype.size_bytes()).map(|bytes| element(values.dtype, bytes));
        if let Some((at, number)) = numbers.enumerate().find(|(_, number)| is(*number)) {
            return Ok(Some((from + at, number)));
        }
    }
    Ok(None)
}
