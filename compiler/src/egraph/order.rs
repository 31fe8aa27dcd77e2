//! An order of classes in which each stands above the operands of what is chosen for it, kept while choices change.
//!
//! A class that gets an operand above it moves up with what needs it, between the two places alone: what lies elsewhere is not looked
//! at. Taking operands away keeps the order valid.
//!
//! Source: Pearce & Kelly 2006, "A Dynamic Topological Sort Algorithm for Directed Acyclic Graphs".

/// The graph of what is chosen, by place in the list of classes.
pub trait Chosen {
    /// Operands of what is chosen for a class.
    fn operands(&self, class: usize) -> &[usize];
    /// Classes that have an e-node with this operand, chosen or not.
    fn possible_users(&self, class: usize) -> &[usize];
}

/// See the head of this file.
pub struct Order {
    /// Distinct, and higher than those of the operands.
    places: Vec<usize>,
    /// When each class was last seen, so that nothing is cleared between searches.
    seen: Vec<u64>,
    now: u64,
    stack: Vec<usize>,
}

impl Order {
    /// The order of how deep classes lie, so that what is exchanged for each other begins close together. Panics on a cycle.
    pub fn new(graph: &impl Chosen, classes: usize) -> Order {
        const UNKNOWN: usize = usize::MAX;
        let mut depths = vec![UNKNOWN; classes];
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for root in 0..classes {
            stack.push((root, 0));
            while let Some((class, next)) = stack.pop() {
                if depths[class] != UNKNOWN {
                    continue;
                }
                assert!(stack.len() <= classes, "the choice has a cycle");
                let operands = graph.operands(class);
                match operands.get(next) {
                    Some(operand) => {
                        stack.push((class, next + 1));
                        stack.push((*operand, 0));
                    }
                    None => depths[class] = operands.iter().map(|o| depths[*o] + 1).max().unwrap_or(0),
                }
            }
        }
        let mut by_depth: Vec<usize> = (0..classes).collect();
        by_depth.sort_by_key(|class| (depths[*class], *class));
        let mut places = vec![0; classes];
        by_depth.into_iter().enumerate().for_each(|(place, class)| places[class] = place);
        Order { places, seen: vec![0; classes], now: 0, stack: Vec::new() }
    }

    /// Whether one of these classes is, or depends on, the class. Only what is above it can.
    pub fn reaches(&mut self, graph: &impl Chosen, from: &[usize], class: usize) -> bool {
        if from.contains(&class) {
            return true;
        }
        let limit = self.places[class];
        self.now += 1;
        self.stack.clear();
        self.stack.extend(from.iter().filter(|at| self.places[**at] > limit));
        while let Some(at) = self.stack.pop() {
            if std::mem::replace(&mut self.seen[at], self.now) == self.now {
                continue;
            }
            for operand in graph.operands(at) {
                if *operand == class {
                    return true;
                }
                if self.places[*operand] > limit {
                    self.stack.push(*operand);
                }
            }
        }
        false
    }

    /// Puts a class above operands that it is to have; none of them depends on it.
    pub fn raise(&mut self, graph: &impl Chosen, class: usize, operands: &[usize]) {
        for operand in operands {
            if self.places[*operand] > self.places[class] {
                self.raise_above(graph, class, *operand);
            }
        }
    }

    fn raise_above(&mut self, graph: &impl Chosen, class: usize, operand: usize) {
        let (low, high) = (self.places[class], self.places[operand]);
        let below = self.closure(operand, |at, next| next.extend_from_slice(graph.operands(at)), |place| place > low);
        let uses = |user: &usize, at| graph.operands(*user).contains(&at);
        let above = self.closure(
            class,
            |at, next| next.extend(graph.possible_users(at).iter().filter(|user| uses(user, at))),
            |place| place < high,
        );
        let mut free: Vec<usize> = below.iter().chain(&above).map(|at| self.places[*at]).collect();
        free.sort_unstable();
        below.into_iter().chain(above).zip(free).for_each(|(at, place)| self.places[at] = place);
    }

    /// What can be reached within limits of places, from low to high.
    fn closure(&mut self, from: usize, neighbours: impl Fn(usize, &mut Vec<usize>), within: impl Fn(usize) -> bool) -> Vec<usize> {
        self.now += 1;
        self.stack.clear();
        self.stack.push(from);
        let mut found = Vec::new();
        while let Some(at) = self.stack.pop() {
            if within(self.places[at]) && std::mem::replace(&mut self.seen[at], self.now) != self.now {
                found.push(at);
                neighbours(at, &mut self.stack);
            }
        }
        found.sort_unstable_by_key(|at| self.places[*at]);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph as operands of each class.
    struct Lists(Vec<Vec<usize>>, Vec<Vec<usize>>);

    impl Chosen for Lists {
        fn operands(&self, class: usize) -> &[usize] {
            &self.0[class]
        }

        fn possible_users(&self, class: usize) -> &[usize] {
            &self.1[class]
        }
    }

    fn valid(order: &Order, graph: &Lists) -> bool {
        let mut places = order.places.clone();
        places.sort_unstable();
        let whole = places.into_iter().eq(0..graph.0.len());
        whole && graph.0.iter().enumerate().all(|(at, operands)| operands.iter().all(|o| order.places[*o] < order.places[at]))
    }

    /// Edges come and go at random; those that would close a cycle are told by a search without an order.
    #[test]
    fn the_order_stays_valid_and_cycles_are_told() {
        const N: usize = 40;
        let mut graph = Lists(vec![Vec::new(); N], (0..N).map(|_| (0..N).collect()).collect());
        let mut order = Order::new(&graph, N);
        let mut state = 1u64;
        let mut random = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        let mut refused = 0;
        for _ in 0..4000 {
            let (class, operand) = (random(N), random(N));
            if graph.0[class].len() > 2 {
                let at = random(graph.0[class].len());
                graph.0[class].remove(at);
            }
            let mut stack = vec![operand];
            let mut seen = [false; N];
            while let Some(at) = stack.pop() {
                if !std::mem::replace(&mut seen[at], true) {
                    stack.extend_from_slice(&graph.0[at]);
                }
            }
            assert_eq!(order.reaches(&graph, &[operand], class), seen[class]);
            if seen[class] {
                refused += 1;
                continue;
            }
            order.raise(&graph, class, &[operand]);
            graph.0[class].push(operand);
            assert!(valid(&order, &graph));
        }
        assert!((100..3900).contains(&refused), "{refused}");
    }
}
