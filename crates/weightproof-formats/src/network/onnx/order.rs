//! Names resolved and nodes put in order: what the wanted outputs need, each node after those it reads.

use super::op::{Op, clean};
use super::proto::{GraphProto, TensorProto, ValueInfoProto};
use super::{OnnxError, OnnxOptions};
use std::collections::{HashMap, HashSet};

/// The most outputs that are looked at for one with weights.
const MOST_TRIED: usize = 64;

/// The graph with its names resolved.
pub struct Plan<'a> {
    /// The inputs that the outputs depend on and that are no constants, in the order of the graph; at least one.
    pub inputs: Vec<&'a ValueInfoProto>,
    /// The names of the values that are wanted.
    pub outputs: Vec<&'a str>,
    /// What the graph declares about the wanted values that are its outputs.
    pub declared: Vec<&'a ValueInfoProto>,
    pub initializers: HashMap<&'a str, &'a TensorProto>,
    /// The nodes that the outputs depend on, in an order of evaluation.
    pub order: Vec<usize>,
    /// How often those nodes (and the outside, for outputs) read a value.
    pub uses: HashMap<&'a str, usize>,
    /// What was not looked at, for the user to read.
    pub notes: Vec<String>,
}

impl<'a> Plan<'a> {
    /// Resolves the names of a graph, for the outputs that the options name, or the first one that depends on weights.
    ///
    /// # Errors
    /// For values that are defined twice or not at all, names of options that the graph has not, cycles, and graphs without input.
    pub fn new(graph: &'a GraphProto, options: &'a OnnxOptions) -> Result<Self, OnnxError> {
        if !graph.sparse_initializer.is_empty() {
            return Err(OnnxError::Sparse);
        }
        let mut initializers = HashMap::new();
        for tensor in &graph.initializer {
            if initializers.insert(tensor.name.as_str(), tensor).is_some() {
                return Err(duplicate("(initializers)", &tensor.name));
            }
        }
        let inputs: Vec<&ValueInfoProto> =
            graph.input.iter().filter(|i| !initializers.contains_key(i.name.as_str())).collect();
        let free: HashSet<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
        let mut producers = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            for name in node.output.iter().filter(|o| !o.is_empty()) {
                let taken = initializers.contains_key(name.as_str()) || free.contains(name.as_str());
                if producers.insert(name.as_str(), index).is_some() || taken {
                    return Err(duplicate(&Op::new(index, node).name, name));
                }
            }
        }
        let (outputs, declared, mut notes) = wanted(graph, &producers, &options.outputs)?;
        let (mut order, mut uses) = (Vec::new(), HashMap::new());
        let known = |name: &str| initializers.contains_key(name) || free.contains(name);
        sort(graph, &producers, &known, &outputs, &mut order, &mut uses)?;
        let constants = &options.inputs;
        let unknown = constants.iter().find(|c| inputs.iter().all(|i| i.name != c.name));
        if let Some(unknown) = unknown {
            let expected = format!("the inputs that are given to be some of {}", names(&inputs));
            return Err(OnnxError::Graph { expected, found: clean(&unknown.name) });
        }
        let given = |input: &ValueInfoProto| constants.iter().any(|c| c.name == input.name);
        let (read, unread): (Vec<&ValueInfoProto>, Vec<&ValueInfoProto>) =
            inputs.into_iter().filter(|i| !given(i)).partition(|i| uses.contains_key(i.name.as_str()));
        if !read.is_empty() && !unread.is_empty() {
            let list = names(&unread);
            notes.push(format!("inputs that the output does not depend on, ignored: {list}"));
        }
        if read.is_empty() {
            return Err(OnnxError::Graph {
                expected: "an output that depends on an input that is not an initializer".into(),
                found: "none".into(),
            });
        }
        Ok(Plan { inputs: read, outputs, declared, initializers, order, uses, notes })
    }
}

/// The outputs that are wanted, what is declared about them, and notes.
type Wanted<'a> = (Vec<&'a str>, Vec<&'a ValueInfoProto>, Vec<String>);

/// The values of the given names; without names the first output that depends on weights, or that a node computes at all.
fn wanted<'a>(
    graph: &'a GraphProto,
    producers: &HashMap<&'a str, usize>,
    given: &'a [String],
) -> Result<Wanted<'a>, OnnxError> {
    let all: Vec<&ValueInfoProto> = graph.output.iter().collect();
    let declared = |name: &str| all.iter().copied().find(|o| o.name == name);
    if given.is_empty() {
        let computed: Vec<&ValueInfoProto> =
            all.iter().copied().filter(|o| producers.contains_key(o.name.as_str())).collect();
        // States that are handed on, for one, have no weights.
        let weighed = computed.iter().take(MOST_TRIED).find(|o| has_product(graph, producers, &o.name));
        let Some(first) = weighed.or(computed.first()).copied() else {
            let expected = "an output that is computed by a node".into();
            let found = if all.is_empty() { "none".into() } else { names(&all) };
            return Err(OnnxError::Graph { expected, found });
        };
        let mut notes = Vec::new();
        if all.len() > 1 {
            notes.push(format!(
                "the output {} of {} ({}): --output-name chooses others",
                clean(&first.name),
                all.len(),
                names(&all)
            ));
        }
        return Ok((vec![first.name.as_str()], vec![first], notes));
    }
    if let Some(unknown) = given.iter().find(|name| !producers.contains_key(name.as_str())) {
        let expected = format!("an output, {}, or another value that a node computes", names(&all));
        return Err(OnnxError::Graph { expected, found: clean(unknown) });
    }
    if let Some(twice) = (1..given.len()).find(|&k| given[..k].contains(&given[k])) {
        return Err(OnnxError::Graph { expected: "outputs named once".into(), found: clean(&given[twice]) });
    }
    Ok((
        given.iter().map(String::as_str).collect(),
        given.iter().filter_map(|name| declared(name)).collect(),
        Vec::new(),
    ))
}

/// Whether a value depends on a node that has weights.
fn has_product(graph: &GraphProto, producers: &HashMap<&str, usize>, output: &str) -> bool {
    let mut seen = vec![false; graph.node.len()];
    let mut stack = vec![output];
    while let Some(name) = stack.pop() {
        let Some(&index) = producers.get(name).filter(|index| !seen[**index]) else { continue };
        seen[index] = true;
        let node = &graph.node[index];
        if ["Gemm", "MatMul", "Conv"].iter().any(|part| node.op_type.contains(part)) {
            return true;
        }
        stack.extend(node.input.iter().map(String::as_str));
    }
    false
}

/// Depth-first search from the outputs, with a stack of its own: a node is placed once all it reads are.
fn sort<'a>(
    graph: &'a GraphProto,
    producers: &HashMap<&'a str, usize>,
    known: &impl Fn(&str) -> bool,
    outputs: &[&'a str],
    order: &mut Vec<usize>,
    uses: &mut HashMap<&'a str, usize>,
) -> Result<(), OnnxError> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Placed,
    }
    let mut state = vec![State::New; graph.node.len()];
    for output in outputs {
        *uses.entry(output).or_default() += 1;
        let last = producers[output];
        if state[last] == State::Placed {
            continue;
        }
        // A node, and how many of its inputs were followed.
        let mut stack = vec![(last, 0)];
        state[last] = State::Open;
        while let Some((index, followed)) = stack.pop() {
            let node = &graph.node[index];
            let Some(name) = node.input.get(followed).map(String::as_str) else {
                state[index] = State::Placed;
                order.push(index);
                continue;
            };
            stack.push((index, followed + 1));
            if name.is_empty() {
                continue;
            }
            *uses.entry(name).or_default() += 1;
            let Some(&producer) = producers.get(name) else {
                if known(name) {
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
    }
    Ok(())
}

fn duplicate(node: &str, value: &str) -> OnnxError {
    OnnxError::Duplicate { node: node.into(), value: clean(value) }
}

/// Some names, separated by commas.
fn names(all: &[&ValueInfoProto]) -> String {
    let names: Vec<String> = all.iter().take(8).map(|v| clean(&v.name)).collect();
    let rest = if all.len() > names.len() { ", …" } else { "" };
    format!("{}{rest}", names.join(", "))
}
