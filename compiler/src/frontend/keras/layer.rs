//! What a layer sees while it is imported: the graph, its settings, its parameters and where their values are stored.

use super::super::model::context::{Care, Context, Parameters, TrainingMode, Weight, product};
use super::super::model::tree::{Mistake, Node};
use super::super::model::tuning::Replacement;
use super::initialise::{care, initialiser};
use super::network::Place;
use super::settings::Settings;
use crate::training::pattern::matches;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{self, Op};
use kiln_ir::{Builder, DType, Dim, Graph, Origin, Tensor, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where the file keeps the values of a parameter.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    /// The parameter.
    pub name: String,
    /// The group in `model.weights.h5` that its layer's `vars` lie in.
    pub group: String,
    /// Which of them it is.
    pub index: usize,
    /// The layer of the outermost model, and those of the models inside that it belongs to.
    pub owners: Vec<String>,
    /// Whether training changes it; files of Keras 2's format list those that it does not change last.
    pub trainable: bool,
}

/// Which of Keras's conventions a file follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    /// Up to 2.15, `tf.keras`.
    Two,
    /// From 3.0 on.
    Three,
}

/// What is made of a file, layer by layer.
pub struct Import {
    /// The function under construction.
    pub graph: Graph,
    /// Its parameters.
    pub parameters: Parameters,
    /// In the function that training differentiates; `None` in the one that predicts.
    pub training: Option<TrainingMode>,
    /// Whether it is that function.
    pub trains: bool,
    /// Where their values are.
    pub stored: Vec<Stored>,
    /// Where layers that stand in several places of the file were met first, by what they have in common.
    pub shared: BTreeMap<i64, Place>,
    /// Groups that a layer's values may lie in instead, because it stands there too.
    pub also: Vec<(String, String)>,
    /// First values that no initialiser gives.
    pub fixed: BTreeMap<String, Tensor>,
    /// Values for whose places a mask says whether they count.
    pub masked: BTreeMap<Value, String>,
    /// The conventions.
    pub release: Release,
    /// Whether the file has values, so that nothing depends on initialisers.
    pub has_weights: bool,
    /// What training would need and the model would be trained without.
    pub left_out: BTreeSet<String>,
    /// Calls of layers so far.
    pub calls: usize,
    /// How deep models lie in one another here.
    pub depth: usize,
    /// How many of the models around are not to be trained.
    pub held: usize,
    /// Dense layers that begin anew, each with whether it was found.
    pub replace: Vec<(Replacement, bool)>,
}

impl Import {
    /// Nothing yet. `trains` says whether this is the function that training differentiates.
    pub fn new(release: Release, has_weights: bool, trains: bool) -> Import {
        Import {
            graph: Graph::new(),
            parameters: Parameters::default(),
            training: None,
            trains,
            stored: Vec::new(),
            shared: BTreeMap::new(),
            also: Vec::new(),
            fixed: BTreeMap::new(),
            masked: BTreeMap::new(),
            release,
            has_weights,
            left_out: BTreeSet::new(),
            calls: 0,
            depth: 0,
            held: 0,
            replace: Vec::new(),
        }
    }

    /// The place that a layer's parameters go by: the first, if it stands in several.
    pub fn place_of_shared(&mut self, shared: Option<i64>, place: &Place) -> Place {
        let Some(id) = shared else { return place.clone() };
        let first = self.shared.entry(id).or_insert_with(|| place.clone()).clone();
        let alias = (first.group.clone(), place.group.clone());
        if first.group != place.group && !self.also.contains(&alias) {
            self.also.push(alias);
        }
        Place { dtypes: place.dtypes, ..first }
    }
}

/// One layer while it is called.
pub struct Layer<'i, 't> {
    /// What is made of the file.
    pub import: &'i mut Import,
    /// Its class.
    pub class: &'t str,
    /// Its settings.
    pub settings: Settings<'t>,
    /// What the names of its parameters begin with.
    pub path: String,
    /// See [`Stored::group`].
    pub group: String,
    /// See [`Stored::owners`].
    pub owners: Vec<String>,
    /// The type of its parameters, and the one it computes in.
    pub dtypes: (DType, DType),
    /// The place in the file.
    pub origin: Arc<Origin>,
    /// Whether its parameters begin with new values.
    pub anew: bool,
}

impl<'t> Layer<'_, 't> {
    /// What layers of model files see.
    pub fn context(&mut self) -> Context<'_> {
        let (graph, parameters) = (&mut self.import.graph, &mut self.import.parameters);
        let (path, origin) = (self.path.clone(), self.origin.clone());
        let training = self.import.training.as_mut();
        Context {
            graph,
            parameters,
            dtype: self.dtypes.0,
            stored: self.dtypes.0,
            path,
            origin,
            care: Care::default(),
            sample_rate: None,
            training,
            sequences: None,
            states: None,
        }
    }

    /// A builder whose nodes come from this layer.
    pub fn b(&mut self) -> Builder<'_> {
        Builder::from_origin(&mut self.import.graph, Some(self.origin.clone()))
    }

    /// The type of a value.
    pub fn ty(&self, x: Value) -> &TensorType {
        self.import.graph.ty(x)
    }

    /// The shape of a value.
    pub fn shape(&self, x: Value) -> Vec<Dim> {
        self.ty(x).shape.clone()
    }

    /// The number of axes of a value.
    pub fn rank(&self, x: Value) -> usize {
        self.ty(x).rank()
    }

    /// Applies an operator. Errors: the values do not fit.
    pub fn op(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Value, Mistake> {
        self.context().op(op, x)
    }

    /// Applies an operator of several results. Errors: the values do not fit.
    pub fn ops(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Vec<Value>, Mistake> {
        self.context().ops(op, x)
    }

    /// Applies an element-wise operator to values that broadcast. Errors: they do not.
    pub fn broadcast_op(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Value, Mistake> {
        self.context().broadcast_op(op, x)
    }

    /// A scalar of the type that the layer computes in.
    pub fn scalar(&mut self, value: f64) -> Value {
        let dtype = self.dtypes.1;
        self.b().scalar(dtype, value)
    }

    /// A value of that shape whose elements are all the same.
    pub fn uniform(&mut self, shape: &[usize], value: f64) -> Value {
        let (scalar, shape) = (self.scalar(value), shape.iter().map(|size| Dim::from(*size)).collect::<Vec<_>>());
        self.b().broadcast_to(scalar, &shape)
    }

    /// The same value in another element type.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Value {
        if self.ty(x).dtype == dtype { x } else { self.b().cast(x, dtype) }
    }

    /// The axes of `x` in another order. Errors: they are others.
    pub fn transpose(&mut self, x: Value, perm: &[usize]) -> Result<Value, Mistake> {
        if perm.iter().copied().eq(0..perm.len()) { Ok(x) } else { self.op(ops::Transpose { perm: perm.to_vec() }, &[x]) }
    }

    /// An axis counted from the end if negative. Errors: there is none.
    pub fn axis(&self, x: Value, axis: i64) -> Result<usize, Mistake> {
        let ty = self.ty(x);
        let rank = ty.rank() as i64;
        let counted = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&counted) { Ok(counted as usize) } else { Err(Mistake::new(format!("{ty} has no axis {axis}"))) }
    }

    /// A size that parameters depend on. Errors: it is open.
    pub fn size(&mut self, x: Value, axis: usize, what: &str) -> Result<usize, Mistake> {
        self.context().size(x, axis, what)
    }

    /// Errors unless `x` has that many axes, named in `axes`, and floats.
    pub fn expect(&mut self, x: Value, axes: &[&str]) -> Result<(), Mistake> {
        self.context().expect(x, axes)
    }

    /// The initialiser that a setting names. Errors: no such one, where it is needed.
    pub fn initialiser(&mut self, setting: &str, default: Initialiser) -> Result<Initialiser, Mistake> {
        match (initialiser(self.settings.get(setting), default), self.import.has_weights) {
            (Ok(initialiser), _) => Ok(initialiser),
            // The file has the values.
            (Err(_), true) => Ok(default),
            (Err(mistake), false) => Err(mistake),
        }
    }

    /// How many units the layer has from now on, if it is one that begins anew: no values of the file are its own then.
    pub fn replaced(&mut self) -> Option<usize> {
        let kernel = format!("{}/kernel", self.path);
        let found = self.import.replace.iter_mut().find(|(replacement, _)| matches(&replacement.pattern, &kernel))?;
        found.1 = true;
        self.anew = true;
        Some(found.0.units as usize)
    }

    /// Whether training leaves this layer as it is.
    pub fn is_held(&self) -> Result<bool, Mistake> {
        Ok(self.import.held > 0 || !self.settings.flag("trainable", true)?)
    }

    /// Notes that the model would be trained without something of this layer.
    pub fn leave_out(&mut self, what: &str) {
        self.import.left_out.insert(format!("{what} of `{}` ({})", self.path, self.class));
    }

    /// A parameter of this layer as the layer computes with it; the same one again where a layer is called again.
    /// `prefix` is what its settings begin with: `kernel`_initializer, `kernel`_regularizer, …
    ///
    /// Errors: settings that are none, sizes that differ from an earlier call.
    pub fn parameter(&mut self, prefix: &str, weight: Weight) -> Result<Value, Mistake> {
        let name = format!("{}/{}", self.path, weight.name);
        let initialiser = self.initialiser(&format!("{prefix}_initializer"), weight.initialiser)?;
        let (regulariser, constraint) =
            (self.settings.get(&format!("{prefix}_regularizer")), self.settings.get(&format!("{prefix}_constraint")));
        let (care, left_out) = care(regulariser, constraint, &weight.incoming);
        self.import.left_out.extend(left_out.into_iter().map(|what| format!("{what} of `{name}`")));
        // An empty parameter may have other sizes that are too large to multiply.
        if product(&weight.shape.iter().map(|size| (*size).max(1)).collect::<Vec<_>>()) > 1 << 32 {
            return Err(Mistake::new(format!("the parameter `{name}` of {:?} is too large", weight.shape)));
        }
        let held = self.is_held()? && !self.anew;
        let (group, stored_trainable) = (self.group.clone(), weight.trainable);
        let weight = Weight { initialiser, trainable: weight.trainable && !held, ..weight };
        let mut context = self.context();
        context.care = care;
        let value = context.named_parameter(name.clone(), weight)?;
        if !self.anew && !self.import.stored.iter().any(|stored| stored.name == name) {
            let index = self.import.stored.iter().filter(|stored| stored.group == group).count();
            self.import.stored.push(Stored { name, group, index, owners: self.owners.clone(), trainable: stored_trainable });
        }
        Ok(self.cast(value, self.dtypes.1))
    }

    /// Part of this layer, with settings of its own: its parameters are `path/name/…`, stored below `group/stored`.
    pub fn part<T>(
        &mut self,
        name: &str,
        stored: &str,
        config: &'t Node,
        f: impl FnOnce(&mut Layer<'_, 't>) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        let mut part = Layer {
            class: self.class,
            settings: Settings::new(config)?,
            path: format!("{}/{name}", self.path),
            group: if stored.is_empty() { self.group.clone() } else { format!("{}/{stored}", self.group) },
            owners: self.owners.clone(),
            dtypes: self.dtypes,
            origin: self.origin.clone(),
            anew: self.anew,
            import: self.import,
        };
        f(&mut part)
    }
}
