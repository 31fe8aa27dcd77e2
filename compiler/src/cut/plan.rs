//! Decides which values get a kernel (roots) and which are recomputed inside their users.
//!
//! - Operators that combine elements are roots. A root takes along the chain of element-wise operators behind it as long as each
//!   value in between has one user, or all its uses meet again (its epilogue); the last of the chain is what is stored.
//! - Reductions whose only use is one element-wise kernel over the same rows are *fused* into it (softmax, norms).
//! - An element-wise value is inlined where one kernel uses it, or where recomputing it is cheap; else it is a root.
//! - Movement is inlined; before an operator that reads elements many times (contractions, windows) only pure movement is.

use super::role::{Role, Root, View, role};
use crate::kernel::UnaryFn;
use kiln_ir::graph::NodeKind;
use kiln_ir::ops::{WindowArgMax, WindowReduce};
use kiln_ir::{DType, Diagnostic, Dim, Graph, NodeId, Op, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Recomputing up to this much work is cheaper than storing and loading.
const CHEAP: u32 = 4;
/// Nodes between a value of an epilogue and where all its uses meet again, at most.
const LARGEST_STEP: usize = 16;
/// Longer chains of inlined operators are cut, to bound the size of kernels.
const DEEPEST: u32 = 48;

/// What the plan says of nodes.
#[derive(Default)]
pub struct Plan {
    /// Nodes whose results are stored by a kernel of their own.
    roots: BTreeSet<NodeId>,
    /// For a root with an epilogue: the node that heads the chain (`dot`), by the node whose value is stored (`max`).
    heads: BTreeMap<NodeId, NodeId>,
    /// Reductions computed inside the kernel of another root.
    fused: BTreeMap<NodeId, NodeId>,
    /// Element-wise nodes behind a head, up to and with the stored one.
    in_chain: BTreeSet<NodeId>,
    /// Position of each node in the graph's order.
    position: BTreeMap<NodeId, usize>,
}

impl Plan {
    /// Heads: operators that need a kernel, each with the longest chain of element-wise users behind it.
    fn find_heads(
        &mut self,
        graph: &Graph,
        order: &[NodeId],
        users: &BTreeMap<NodeId, Vec<NodeId>>,
        outputs: &BTreeSet<NodeId>,
    ) -> Result<(), Diagnostic> {
        for &id in order {
            let Some(op) = operator(graph, id) else { continue };
            let root = match role(op) {
                Role::Root(root) => root,
                Role::Composite => {
                    return Err(Diagnostic::new("cut_composite", format!("`{}` was not expanded before kernels were cut", op.name())));
                }
                _ => continue,
            };
            let mut last = id;
            if takes_epilogue(&root) {
                // What a reduction is fused with is found along single users.
                let most = if matches!(root, Root::Dot(_) | Root::Conv(_) | Root::Attention(_)) { LARGEST_STEP } else { 1 };
                while let Some(region) = self.next_of_epilogue(graph, users, outputs, last, most) {
                    last = *region.last().expect("a step has a node");
                    self.in_chain.extend(region);
                }
            }
            self.roots.insert(last);
            if last != id {
                self.heads.insert(last, id);
            }
        }
        Ok(())
    }

    /// The next step of an epilogue behind `from`: the element-wise nodes that all its uses meet again in, the meeting point last. One
    /// node where it has one user; `x · sigmoid(x)` takes two.
    fn next_of_epilogue(
        &self,
        graph: &Graph,
        users: &BTreeMap<NodeId, Vec<NodeId>>,
        outputs: &BTreeSet<NodeId>,
        from: NodeId,
        most: usize,
    ) -> Option<Vec<NodeId>> {
        let shape = &graph.node(from).types[0].shape;
        let mut region: Vec<NodeId> = Vec::new();
        // Users of what is taken so far, in the order of the graph, so that each comes after its operands.
        let mut waiting: BTreeSet<(usize, NodeId)> = users[&from].iter().map(|u| (self.position[u], *u)).collect();
        let mut at = from;
        while region.len() < most {
            if outputs.contains(&at) {
                return None;
            }
            let (_, user) = waiting.pop_first()?;
            if !is_elementwise(graph, user) || graph.node(user).types[0].shape != *shape || self.in_chain.contains(&user) {
                return None;
            }
            region.push(user);
            if waiting.is_empty() {
                return Some(region);
            }
            waiting.extend(users[&user].iter().map(|u| (self.position[u], *u)));
            at = user;
        }
        None
    }

    /// Whether the plan may still make the node a root: an operator that is none yet and not inside a chain.
    fn is_free(&self, graph: &Graph, id: NodeId) -> bool {
        !self.roots.contains(&id)
            && !self.in_chain.contains(&id)
            && operator(graph, id).is_some_and(|op| !matches!(role(op), Role::Root(_)))
    }

    /// The root whose kernel computes the node whatever else happens: its own, that of its chain, or that it is fused into.
    fn kernel_of(&self, graph: &Graph, users: &BTreeMap<NodeId, Vec<NodeId>>, id: NodeId) -> Option<NodeId> {
        let mut at = id;
        loop {
            if self.roots.contains(&at) {
                return Some(at);
            }
            if let Some(root) = self.fused.get(&at) {
                return Some(*root);
            }
            let is_head = operator(graph, at).is_some_and(|op| matches!(role(op), Role::Root(_)));
            if !self.in_chain.contains(&at) && !is_head {
                return None;
            }
            at = *users[&at].first()?;
        }
    }

    /// Whether the value is stored by a kernel.
    pub fn is_root(&self, value: Value) -> bool {
        self.roots.contains(&value.node)
    }

    /// Whether the node gets a kernel.
    pub fn is_root_node(&self, id: NodeId) -> bool {
        self.roots.contains(&id)
    }

    /// The head of the chain that ends in `id`: `id` itself without an epilogue.
    pub fn head(&self, id: NodeId) -> NodeId {
        self.heads.get(&id).copied().unwrap_or(id)
    }

    /// Whether the reduction is computed inside another kernel.
    pub fn is_fused(&self, id: NodeId) -> bool {
        self.fused.contains_key(&id)
    }

    /// Gives a reduction its own kernel after all.
    pub fn unfuse(&mut self, id: NodeId) {
        self.fused.remove(&id);
        self.roots.insert(id);
    }

    /// The reductions computed inside the kernel of `root`, operands before users.
    pub fn fused_into(&self, root: NodeId) -> Vec<NodeId> {
        let mut found: Vec<NodeId> = self.fused.iter().filter(|(_, kernel)| **kernel == root).map(|(id, _)| *id).collect();
        found.sort_by_key(|id| self.position.get(id));
        found
    }
}

fn operator(graph: &Graph, id: NodeId) -> Option<&Op> {
    match &graph.node(id).kind {
        NodeKind::Op(op) => Some(op),
        NodeKind::Input(_) | NodeKind::Parameter(_) | NodeKind::Constant(_) => None,
    }
}

fn is_elementwise(graph: &Graph, id: NodeId) -> bool {
    operator(graph, id)
        .is_some_and(|op| matches!(role(op), Role::Unary(_) | Role::Binary(_) | Role::Compare(_) | Role::Select | Role::Cast))
}

/// Whether a value is of narrower elements of memory.
fn is_widened(graph: &Graph, id: NodeId) -> bool {
    let [from] = graph.node(id).inputs[..] else { return false };
    let is_memory = operator(graph, from.node).is_none();
    let size = |dtype: DType| dtype.size_bytes();
    let is_cast = operator(graph, id).is_some_and(|op| matches!(role(op), Role::Cast));
    is_memory && is_cast && size(graph.ty(from).dtype) < size(graph.node(id).types[0].dtype)
}

/// Rough work of one element, in additions.
fn work(op: &Op) -> u32 {
    match role(op) {
        Role::Unary(f) => match f {
            UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Not | UnaryFn::BitNot | UnaryFn::IsNan | UnaryFn::IsInf { .. } => 1,
            UnaryFn::Sign | UnaryFn::Ceil | UnaryFn::Floor | UnaryFn::Trunc | UnaryFn::Round => 2,
            UnaryFn::Sqrt | UnaryFn::Reciprocal => 5,
            _ => 20,
        },
        Role::Binary(f) => match f {
            crate::kernel::BinaryFn::Div => 4,
            crate::kernel::BinaryFn::Rem => 8,
            crate::kernel::BinaryFn::Pow => 40,
            _ => 1,
        },
        Role::Compare(_) | Role::Select | Role::Cast | Role::Iota(_) => 1,
        Role::View(View::Gather(_) | View::GatherElements(_) | View::GatherNd(_)) => 2,
        Role::View(_) => 0,
        Role::Root(_) | Role::Composite => 0,
    }
}

/// Makes the plan; `widens_freely` says that narrow elements are widened by whoever loads them. Errors: a composite that was not expanded.
pub fn plan(graph: &Graph, widens_freely: bool) -> Result<Plan, Diagnostic> {
    let order = graph.order();
    let live: BTreeSet<NodeId> = order.iter().copied().collect();
    let users: BTreeMap<NodeId, Vec<NodeId>> =
        order.iter().map(|id| (*id, graph.users(*id).into_iter().map(|(u, _)| u).filter(|u| live.contains(u)).collect())).collect();
    let outputs: BTreeSet<NodeId> = graph.outputs().iter().map(|(_, v)| v.node).collect();
    let mut plan = Plan { position: order.iter().enumerate().map(|(i, id)| (*id, i)).collect(), ..Plan::default() };
    plan.find_heads(graph, &order, &users, &outputs)?;
    let work = inlined_work(graph, &order, &mut plan);
    let repeated = |id: NodeId| if widens_freely && is_widened(graph, id) { 0 } else { work[&id] };
    let mut wanted = BTreeSet::new();
    for &id in order.iter().rev() {
        if plan.is_free(graph, id) && (wanted.contains(&id) || must_store(graph, id, &users[&id], repeated(id), &outputs)) {
            // What lies behind pure movement is stored in its place: that is where row kernels form.
            match moved_operand(graph, id) {
                Some(operand) => {
                    wanted.insert(operand);
                }
                None => {
                    plan.roots.insert(id);
                }
            }
        }
    }
    fuse_reductions(graph, &order, &users, &outputs, &mut plan);

    // From the outputs backwards: in which kernels would this value be recomputed?
    let mut kernels_of: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for &id in order.iter().rev() {
        let mut kernels = BTreeSet::new();
        for &user in &users[&id] {
            match plan.kernel_of(graph, &users, user) {
                Some(root) => kernels.extend([root]),
                None => kernels.extend(&kernels_of[&user]),
            }
        }
        // Behind pure movement, the operand has these kernels too, and no more elements.
        if plan.is_free(graph, id) && kernels.len() > 1 && work[&id] > CHEAP && moved_operand(graph, id).is_none() {
            plan.roots.insert(id);
        }
        kernels_of.insert(id, kernels);
    }
    Ok(plan)
}

/// Work of one element of each value if everything that is not a root is recomputed for it. Cuts chains that grow too deep.
fn inlined_work(graph: &Graph, order: &[NodeId], plan: &mut Plan) -> BTreeMap<NodeId, u32> {
    let mut depth_of: BTreeMap<NodeId, u32> = BTreeMap::new();
    let mut work_of: BTreeMap<NodeId, u32> = BTreeMap::new();
    for &id in order {
        let Some(op) = operator(graph, id) else {
            work_of.insert(id, 0);
            continue;
        };
        let inputs = graph.node(id).inputs.iter().map(|v| v.node).filter(|n| !plan.roots.contains(n));
        let (depth, total) = inputs.fold((0u32, 0u32), |(depth, total), n| {
            (depth.max(depth_of.get(&n).copied().unwrap_or(0)), total.saturating_add(work_of.get(&n).copied().unwrap_or(0)))
        });
        if depth >= DEEPEST && plan.is_free(graph, id) {
            plan.roots.insert(id);
        }
        let inlined = !plan.roots.contains(&id);
        depth_of.insert(id, if inlined { depth + 1 } else { 0 });
        work_of.insert(id, if inlined { total.saturating_add(work(op)) } else { 0 });
    }
    work_of
}

/// Whether a value has to lie in memory because of how it is used.
fn must_store(graph: &Graph, id: NodeId, users: &[NodeId], work: u32, outputs: &BTreeSet<NodeId>) -> bool {
    let Some(op) = operator(graph, id) else { return false };
    (outputs.contains(&id) && !matches!(role(op), Role::View(_)))
        || users.iter().any(|&user| {
            operator(graph, user).is_some_and(|user_op| {
                matches!(role(user_op), Role::Root(Root::Scan(_)))
                    || (work > 0 && !cheap_generator(op) && reads_many_times(graph, user_op, user, id))
            })
        })
}

fn takes_epilogue(root: &Root) -> bool {
    match root {
        Root::Reduce(_)
        | Root::ArgReduce(_)
        | Root::WindowReduce(_)
        | Root::WindowArgMax(_)
        | Root::Dot(_)
        | Root::Conv(_)
        | Root::Attention(_) => true,
        Root::Dims(_)
        | Root::Concat(_)
        | Root::Cumulative(_)
        | Root::ScatterElements(_)
        | Root::ScatterNd(_)
        | Root::TopK(_)
        | Root::Scan(_) => false,
    }
}

/// Whether `user` reads elements of `operand` more than once each, so that work should not be repeated there.
fn reads_many_times(graph: &Graph, user_op: &Op, user: NodeId, operand: NodeId) -> bool {
    match role(user_op) {
        Role::Root(root) => match root {
            Root::Dot(_) | Root::Conv(_) | Root::Attention(_) | Root::TopK(_) | Root::Scan(_) => true,
            Root::WindowReduce(WindowReduce { window, strides, .. }) | Root::WindowArgMax(WindowArgMax { window, strides, .. }) => {
                window.iter().zip(strides).any(|(size, stride)| size > stride)
            }
            Root::Reduce(_)
            | Root::ArgReduce(_)
            | Root::Dims(_)
            | Root::Concat(_)
            | Root::Cumulative(_)
            | Root::ScatterElements(_)
            | Root::ScatterNd(_) => false,
        },
        Role::View(View::Broadcast | View::Gather(_) | View::GatherElements(_) | View::GatherNd(_)) => {
            let (from, to) = (graph.node(operand).types[0].elements(), graph.node(user).types[0].elements());
            // A single element (a scale, an epsilon) is loop-invariant wherever it is used.
            !from.is(1) && from != to
        }
        _ => false,
    }
}

/// The operand of pure movement that keeps every element.
fn moved_operand(graph: &Graph, id: NodeId) -> Option<NodeId> {
    match role(operator(graph, id)?) {
        Role::View(View::Transpose(_) | View::Reshape | View::Broadcast) => Some(graph.node(id).inputs[0].node),
        _ => None,
    }
}

/// Positions and sizes cost nothing to make again.
fn cheap_generator(op: &Op) -> bool {
    matches!(role(op), Role::Iota(_))
}

/// Fuses a reduction into the one element-wise kernel that uses it, when that kernel runs over the same rows.
fn fuse_reductions(graph: &Graph, order: &[NodeId], users: &BTreeMap<NodeId, Vec<NodeId>>, outputs: &BTreeSet<NodeId>, plan: &mut Plan) {
    for &id in order.iter().rev() {
        let head = plan.head(id);
        let Some(axes) = row_axes(graph, head) else { continue };
        if !plan.roots.contains(&id) || outputs.contains(&id) {
            continue;
        }
        // All inlined paths from this reduction must end in one kernel.
        let mut kernels = BTreeSet::new();
        let mut work_list = users[&id].clone();
        let mut seen = BTreeSet::new();
        while let Some(user) = work_list.pop() {
            if !seen.insert(user) {
                continue;
            }
            match plan.kernel_of(graph, users, user) {
                Some(root) => kernels.extend([root]),
                None => work_list.extend(&users[&user]),
            }
        }
        let [kernel] = kernels.into_iter().collect::<Vec<_>>()[..] else { continue };
        let rows = &graph.node(graph.node(head).inputs[0].node).types[graph.node(head).inputs[0].result as usize].shape;
        let same_rows = match row_axes(graph, plan.head(kernel)) {
            // The kernel ends in a reduction over the same rows, or is element-wise over them.
            Some(other) => other == axes && operand_shape(graph, plan.head(kernel)) == Some(rows),
            None => plan.head(kernel) == kernel && is_elementwise(graph, kernel) && &graph.node(kernel).types[0].shape == rows,
        };
        if same_rows && fixed_or_long(rows, &axes) {
            // The epilogue behind it is inlined into the kernel together with it.
            plan.roots.remove(&id);
            plan.heads.remove(&id);
            plan.fused.insert(head, kernel);
            let mut at = head;
            while at != id {
                at = users[&at][0];
                plan.in_chain.remove(&at);
            }
        }
    }
}

fn operand_shape(graph: &Graph, id: NodeId) -> Option<&Vec<Dim>> {
    graph.node(id).inputs.first().map(|v| &graph.ty(*v).shape)
}

/// The reduced axes of a reduction that can be part of a row kernel.
fn row_axes(graph: &Graph, id: NodeId) -> Option<Vec<usize>> {
    match operator(graph, id).map(role)? {
        Role::Root(Root::Reduce(op)) => Some(op.axes.clone()),
        _ => None,
    }
}

/// Row kernels visit a row several times: worth it while a row is what one thread would handle anyway, not for a reduction of
/// the whole tensor with no rows to share out.
fn fixed_or_long(shape: &[Dim], axes: &[usize]) -> bool {
    axes.len() < shape.len() || Dim::product(shape).as_const().is_some_and(|n| n <= 65536)
}
