//! The settings of one layer, with the types that it expects; what nothing reads and is not known to be harmless is refused.

use super::super::model::tree::{Kind, Mistake, Node};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Settings that change no prediction: names, what training adds, hints on how to compute.
const HARMLESS: &[&str] = &[
    "name",
    "trainable",
    "dtype",
    "batch_input_shape",
    "batch_shape",
    "seed",
    "activity_regularizer",
    "unroll",
    "implementation",
    "time_major",
    "zero_output_for_mask",
    "input_length",
    "synchronized",
    "virtual_batch_size",
    "input_spec",
    "ragged",
    "sparse",
    "flash_attention",
];

/// The settings of one layer.
pub struct Settings<'t> {
    entries: Vec<(&'t str, &'t Node)>,
    read: RefCell<BTreeSet<&'t str>>,
}

impl<'t> Settings<'t> {
    /// Those of a `config`. Errors: it is no table.
    pub fn new(config: &'t Node) -> Result<Settings<'t>, Mistake> {
        let entries = config.table().ok_or_else(|| Mistake::new("its `config` is no table"))?;
        let entries = entries.iter().map(|(key, value)| (key.name.as_str(), value)).collect();
        Ok(Settings { entries, read: RefCell::default() })
    }

    /// A setting, unless it is missing or null.
    pub fn get(&self, name: &str) -> Option<&'t Node> {
        let (name, node) = self.entries.iter().copied().find(|(key, _)| *key == name)?;
        self.read.borrow_mut().insert(name);
        (node.kind != Kind::Null).then_some(node)
    }

    fn needed(&self, name: &str) -> Result<&'t Node, Mistake> {
        self.get(name).ok_or_else(|| Mistake::new(format!("the setting `{name}` is missing")))
    }

    /// A size. Errors: it is missing, or no whole number from 0 on.
    pub fn size(&self, name: &str) -> Result<usize, Mistake> {
        size(self.needed(name)?, name)
    }

    /// The same, or what stands for it.
    pub fn size_or(&self, name: &str, default: usize) -> Result<usize, Mistake> {
        self.get(name).map_or(Ok(default), |node| size(node, name))
    }

    /// A whole number, or what stands for it.
    pub fn integer_or(&self, name: &str, default: i64) -> Result<i64, Mistake> {
        self.get(name).map_or(Ok(default), |node| integer(node, name))
    }

    /// Whole numbers in a list, or one; `None` if it is missing or null.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i64>>, Mistake> {
        self.get(name).map(|node| integers(node, name)).transpose()
    }

    /// A number, or what stands for it.
    pub fn number_or(&self, name: &str, default: f64) -> Result<f64, Mistake> {
        Ok(self.number(name)?.unwrap_or(default))
    }

    /// A number; `None` if it is missing or null.
    pub fn number(&self, name: &str) -> Result<Option<f64>, Mistake> {
        let number = |node: &Node| node.number().ok_or_else(|| Mistake::new(format!("`{name}` is no number")));
        self.get(name).map(number).transpose()
    }

    /// A truth value, or what stands for it.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Mistake> {
        match self.get(name).map(|node| &node.kind) {
            None => Ok(default),
            Some(Kind::Bool(value)) => Ok(*value),
            Some(_) => Err(Mistake::new(format!("`{name}` is neither true nor false"))),
        }
    }

    /// A word, or what stands for it.
    pub fn word(&self, name: &str, default: &'t str) -> Result<&'t str, Mistake> {
        match self.get(name) {
            None => Ok(default),
            Some(node) => node.text().ok_or_else(|| Mistake::new(format!("`{name}` is no text"))),
        }
    }

    /// A size for each of `rank` axes: a list of them, or one for all.
    pub fn per_axis(&self, name: &str, rank: usize) -> Result<Vec<usize>, Mistake> {
        per_axis(self.needed(name)?, name, rank)
    }

    /// The same, or `default` on each.
    pub fn per_axis_or(&self, name: &str, rank: usize, default: usize) -> Result<Vec<usize>, Mistake> {
        self.get(name).map_or_else(|| Ok(vec![default; rank]), |node| per_axis(node, name, rank))
    }

    /// Whether channels stand last, which they do unless the layer says otherwise.
    pub fn channels_last(&self) -> Result<bool, Mistake> {
        match self.word("data_format", "channels_last")? {
            "channels_last" => Ok(true),
            "channels_first" => Ok(false),
            other => Err(Mistake::new(format!("there is no `data_format` {other:?}"))),
        }
    }

    /// Errors: a setting that is neither off nor 0, with why it is not supported.
    pub fn refuse(&self, name: &str, why: &str) -> Result<(), Mistake> {
        match self.get(name).map(|node| &node.kind) {
            None | Some(Kind::Bool(false)) => Ok(()),
            Some(Kind::Float(value)) if *value == 0.0 => Ok(()),
            Some(Kind::Integer(0)) => Ok(()),
            Some(_) => Err(Mistake::new(format!("`{name}` is not supported: {why}"))),
        }
    }

    /// Notes that settings change no prediction in this layer.
    pub fn ignore(&self, names: &[&str]) {
        for name in names {
            self.get(name);
        }
    }

    /// Errors: a setting that says something and that nothing has read.
    pub fn finish(&self) -> Result<(), Mistake> {
        let read = self.read.borrow();
        let says = |node: &Node| !matches!(node.kind, Kind::Null | Kind::Bool(false));
        let training_only = |name: &str| ["_regularizer", "_constraint", "_initializer"].iter().any(|end| name.ends_with(end));
        let known = |name: &str| read.contains(name) || HARMLESS.contains(&name) || training_only(name);
        match self.entries.iter().find(|(name, node)| !known(name) && says(node)) {
            None => Ok(()),
            Some((name, _)) => {
                let mistake = Mistake::new(format!("it has a setting `{name}`, which is not known here"));
                Err(mistake.help("remove it from the model if it changes nothing, and save again"))
            }
        }
    }
}

fn size(node: &Node, name: &str) -> Result<usize, Mistake> {
    let size = node.integer().and_then(|n| u32::try_from(n).ok());
    size.map(|n| n as usize).ok_or_else(|| Mistake::new(format!("`{name}` is no whole number from 0 on")))
}

fn integer(node: &Node, name: &str) -> Result<i64, Mistake> {
    let small = node.integer().filter(|n| i32::try_from(*n).is_ok());
    small.ok_or_else(|| Mistake::new(format!("`{name}` is no whole number")))
}

/// Whole numbers in a list, or one.
pub fn integers(node: &Node, name: &str) -> Result<Vec<i64>, Mistake> {
    match node.list() {
        Some(items) => items.iter().map(|item| integer(item, name)).collect(),
        None => Ok(vec![integer(node, name)?]),
    }
}

fn per_axis(node: &Node, name: &str, rank: usize) -> Result<Vec<usize>, Mistake> {
    let sizes = match node.list() {
        Some(items) => items.iter().map(|item| size(item, name)).collect::<Result<Vec<_>, _>>()?,
        None => vec![size(node, name)?; rank],
    };
    if sizes.len() == rank { Ok(sizes) } else { Err(Mistake::new(format!("`{name}` lists {} numbers for {rank} axes", sizes.len()))) }
}
