//! What a step begins with, for programs that drive it themselves.

use super::plan::TrainingPlan;
use crate::frontend::model::Model;
use kiln_ir::Diagnostic;
use kiln_runtime::arrays::Array;
use kiln_runtime::training::recipe::{Initial, Slot};
use kiln_runtime::training::stepper::initial_values;

impl TrainingPlan {
    /// The values of the step's last inputs: parameters that stay, then states. Those that the network's file has, others by the seed.
    ///
    /// Errors: `memory`.
    pub fn first_values(&self, model: &Model) -> Result<Vec<Array>, Diagnostic> {
        let given = |slots: &[Slot]| {
            let mut arrays = initial_values(slots, model.seed)?;
            for at in 0..slots.len() {
                // A running mean begins where its parameter does.
                let name = if let Initial::Of(parameter) = slots[at].initial { &slots[parameter].name } else { &slots[at].name };
                if let Some(value) = model.module.parameters.get(name).and_then(|parameter| parameter.value.as_ref()) {
                    arrays[at] = Array::from_bytes(value.dtype(), value.shape().to_vec(), value.bytes())?;
                }
            }
            Ok(arrays)
        };
        let mut arrays = given(&self.recipe.fixed)?;
        arrays.extend(given(&self.recipe.states)?);
        Ok(arrays)
    }
}
