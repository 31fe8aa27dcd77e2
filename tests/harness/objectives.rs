//! What the training of a model file makes small, as a function of everything that it depends on, for tests of its gradients.

use crate::samples::{Fill, Random, tensor};
use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::model::Model;
use kiln::pipeline::Config;
use kiln::training::{OBJECTIVE, objective};
use kiln_ir::eval::evaluate_observed;
use kiln_ir::graph::Parameter;
use kiln_ir::{Dim, Graph, Module, Symbol, Tensor, TensorType};
use kiln_runtime::threads::ThreadPool;
use std::collections::BTreeMap;

/// Values of a type: tokens are 0, 1 or 2; open lengths are two more than the batch.
fn draw(ty: &TensorType, batch: i64, random: &mut Random) -> Tensor {
    let symbol = |s: &Symbol| Some(if s.name() == "batch" { batch } else { batch + 2 });
    let size = |d: &Dim| d.evaluate(&symbol).expect("every symbol has a size") as usize;
    let shape: Vec<usize> = ty.shape.iter().map(size).collect();
    let interval = if ty.dtype.is_float() { (-0.9, 0.9) } else { (0.0, 2.0) };
    tensor(ty.dtype, &shape, Fill::Ordinary, Some(interval), random)
}

/// An objective with all that it depends on.
pub struct Objective {
    /// Its function.
    pub graph: Graph,
    /// The inputs in order, then the parameters by name.
    pub variables: Vec<Variable>,
    /// A value for each.
    pub values: Vec<Tensor>,
}

impl Objective {
    /// That of a model which says how it is trained, with values for a batch of that size drawn by a seed. Panics on errors.
    pub fn new(model: &Model, (batch, seed): (i64, u64)) -> Objective {
        let graph = objective(model, model.config.as_ref().expect("it says how")).unwrap_or_else(|errors| panic!("{errors:?}"));
        let mut random = Random::new(seed);
        let inputs = graph.inputs().iter().map(|(name, value)| (Variable::Input(name.clone()), graph.ty(*value).clone()));
        let parameters = model.parameters.iter().map(|(name, info)| (Variable::Parameter(name.clone()), info.ty.clone()));
        let (variables, types): (Vec<Variable>, Vec<TensorType>) = inputs.chain(parameters).unzip();
        let values = types.iter().map(|ty| draw(ty, batch, &mut random)).collect();
        Objective { graph, variables, values }
    }

    /// What a function of the same inputs and parameters gives for values of them, by the reference. Panics on errors.
    pub fn run(&self, graph: &Graph, values: &[Tensor]) -> Vec<Tensor> {
        let (inputs, parameters) = values.split_at(self.graph.inputs().len());
        let names = self.variables[inputs.len()..].iter().map(Variable::name);
        let by_name: BTreeMap<&str, &Tensor> = names.zip(parameters).collect();
        evaluate_observed(&|name| by_name.get(name).copied().cloned(), graph, inputs, &mut |_, _| {}).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Where the variables are that have a gradient (tokens and statistics have none), and the function of all gradients, which stand
    /// behind the outputs of `graph`.
    pub fn gradient(&self, model: &Model) -> (Vec<usize>, Graph) {
        let smooth = |at: &usize| match &self.variables[*at] {
            Variable::Input(_) => self.values[*at].dtype().is_float(),
            Variable::Parameter(name) => model.parameters[name].trainable,
        };
        let places: Vec<usize> = (0..self.variables.len()).filter(smooth).collect();
        let variables: Vec<Variable> = places.iter().map(|at| self.variables[*at].clone()).collect();
        let gradient = differentiate(&self.graph, &[OBJECTIVE], &variables).unwrap_or_else(|errors| panic!("{errors:?}"));
        (places, gradient)
    }

    /// Those variables and their gradients, by the reference.
    pub fn gradients(&self, model: &Model) -> Vec<(usize, Tensor)> {
        let (places, gradient) = self.gradient(model);
        let found = self.run(&gradient, &self.values);
        places.into_iter().zip(found.into_iter().skip(self.graph.outputs().len())).collect()
    }

    /// What a function of the same inputs and parameters gives for the values of this, compiled. Panics on errors.
    pub fn run_compiled(&self, graph: &Graph, pool: &ThreadPool) -> Vec<Tensor> {
        let count = graph.inputs().len();
        let mut module = Module { name: "objective".into(), ..Module::default() };
        module.functions.insert("predict".into(), graph.clone());
        for (variable, value) in self.variables.iter().zip(&self.values).skip(count) {
            module.parameters.insert(variable.name().into(), Parameter { ty: value.ty(), value: Some(value.clone()) });
        }
        let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
        let compiled = compile(&module, target, ModelFacts::default(), &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
        let predictor = compiled.predictor(pool).expect("it loads");
        predictor.run(&self.values[..count], pool).unwrap_or_else(|error| panic!("{error}"))
    }
}
