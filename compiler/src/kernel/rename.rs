//! The same steps on other buffers.

use super::{Body, BufferId, Kernel, Stage, Step, Store};
use std::collections::BTreeMap;

impl Step {
    /// The step with other buffers in place of those that `names` lists. No two of them may become one.
    pub fn with_buffers(&self, names: &BTreeMap<BufferId, BufferId>) -> Step {
        match self {
            Step::Run(kernel) => Step::Run(kernel.with_buffers(names)),
            Step::Loop { index, extent, kind, body } => {
                let body = body.iter().map(|step| step.with_buffers(names)).collect();
                Step::Loop { index: index.clone(), extent: extent.clone(), kind: *kind, body }
            }
        }
    }
}

impl Kernel {
    fn with_buffers(&self, names: &BTreeMap<BufferId, BufferId>) -> Kernel {
        let mut kernel = self.clone();
        kernel.exprs.rename_buffers(names);
        let rename = |store: &mut Store| store.buffer = names.get(&store.buffer).copied().unwrap_or(store.buffer);
        match &mut kernel.body {
            Body::Contract(contract) => contract.stores.iter_mut().for_each(rename),
            Body::Attention(attention) => attention.stores.iter_mut().chain(&mut attention.row_stores).for_each(rename),
            Body::Nest(nest) => nest.stages.iter_mut().for_each(|stage| match stage {
                Stage::Reduce { .. } => {}
                Stage::Sweep { stores, .. } => stores.iter_mut().for_each(rename),
                Stage::Running { store, .. } => rename(store),
            }),
        }
        kernel
    }
}
