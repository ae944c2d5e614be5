//! Names resolved and nodes put in order: what the output needs, each node after those it reads.

use super::OnnxError;
use super::op::{Op, clean};
use super::proto::{GraphProto, TensorProto, ValueInfoProto};
use std::collections::HashMap;

/// The graph with its names resolved.
pub struct Plan<'a> {
    /// The only input that is not an initializer.
    pub input: &'a ValueInfoProto,
    /// The only output.
    pub result: &'a ValueInfoProto,
    /// Its name.
    pub output: &'a str,
    pub initializers: HashMap<&'a str, &'a TensorProto>,
    /// The nodes that the output depends on, in an order of evaluation.
    pub order: Vec<usize>,
    /// How often those nodes (and the output) read a value.
    pub uses: HashMap<&'a str, usize>,
}

impl<'a> Plan<'a> {
    /// Resolves the names of a graph.
    ///
    /// # Errors
    /// For values that are defined twice or not at all, cycles, and other numbers of inputs or outputs than one.
    pub fn new(graph: &'a GraphProto) -> Result<Self, OnnxError> {
        let mut initializers = HashMap::new();
        for tensor in &graph.initializer {
            if initializers.insert(tensor.name.as_str(), tensor).is_some() {
                return Err(duplicate("(initializers)", &tensor.name));
            }
        }
        let inputs: Vec<&ValueInfoProto> =
            graph.input.iter().filter(|i| !initializers.contains_key(i.name.as_str())).collect();
        let input = only(&inputs, |i| &i.name, "one input that is not an initializer")?;
        let outputs: Vec<&ValueInfoProto> = graph.output.iter().collect();
        let result = only(&outputs, |o| &o.name, "one output")?;
        let output = result.name.as_str();

        let mut producers = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            for name in node.output.iter().filter(|o| !o.is_empty()) {
                let taken = initializers.contains_key(name.as_str()) || *name == input.name;
                if producers.insert(name.as_str(), index).is_some() || taken {
                    return Err(duplicate(&Op::new(index, node).name, name));
                }
            }
        }
        let mut plan = Plan { input, result, output, initializers, order: vec![], uses: HashMap::new() };
        plan.sort(graph, &producers)?;
        Ok(plan)
    }

    /// Depth-first search from the output, with a stack of its own: a node is placed once all it reads are.
    fn sort(&mut self, graph: &'a GraphProto, producers: &HashMap<&'a str, usize>) -> Result<(), OnnxError> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Placed,
        }
        let mut state = vec![State::New; graph.node.len()];
        *self.uses.entry(self.output).or_default() += 1;
        let Some(&last) = producers.get(self.output) else {
            let expected = "an output that is computed by a node".into();
            return Err(OnnxError::Graph { expected, found: clean(self.output) });
        };
        // A node, and how many of its inputs were followed.
        let mut stack = vec![(last, 0)];
        state[last] = State::Open;
        while let Some((index, followed)) = stack.pop() {
            let node = &graph.node[index];
            let Some(name) = node.input.get(followed).map(String::as_str) else {
                state[index] = State::Placed;
                self.order.push(index);
                continue;
            };
            stack.push((index, followed + 1));
            if name.is_empty() {
                continue;
            }
            *self.uses.entry(name).or_default() += 1;
            let Some(&producer) = producers.get(name) else {
                if self.initializers.contains_key(name) || name == self.input.name {
                    continue;
                }
                return Err(OnnxError::Undefined { node: Op::new(index, node).name, value: clean(name) });
            };
            match state[producer] {
                State::Placed => {}
                State::Open => {
                    let node = Op::new(producer, &graph.node[producer]).name;
                    return Err(OnnxError::Cycle { node, output: clean(name) });
                }
                State::New => {
                    state[producer] = State::Open;
                    stack.push((producer, 0));
                }
            }
        }
        Ok(())
    }
}

fn duplicate(node: &str, value: &str) -> OnnxError {
    OnnxError::Duplicate { node: node.into(), value: clean(value) }
}

fn only<'a>(
    all: &[&'a ValueInfoProto],
    name: impl Fn(&'a ValueInfoProto) -> &'a str,
    expected: &str,
) -> Result<&'a ValueInfoProto, OnnxError> {
    match all {
        [one] => Ok(one),
        several => {
            let names: Vec<String> = several.iter().take(5).map(|v| clean(name(v))).collect();
            let found = if names.is_empty() {
                "none".into()
            } else {
                format!("{} ({})", several.len(), names.join(", "))
            };
            Err(OnnxError::Graph { expected: expected.into(), found })
        }
    }
}
