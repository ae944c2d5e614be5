//! One node of the graph, with typed access to its attributes.

use super::OnnxError;
use super::proto::{AttributeProto, NodeProto, TensorProto, attribute_kind as kind};

/// The most characters of a name that are kept: names end up in messages and reports.
const MAX_NAME: usize = 120;

/// A node and the name it has in messages and in the network.
#[derive(Clone)]
pub struct Op<'a> {
    pub name: String,
    pub node: &'a NodeProto,
}

impl<'a> Op<'a> {
    /// Node number `index` of the graph.
    pub fn new(index: usize, node: &'a NodeProto) -> Self {
        let output = node.output.iter().find(|o| !o.is_empty());
        let name = match (node.name.as_str(), output) {
            ("", Some(output)) => clean(output),
            ("", None) => clean(&format!("{}_{index}", node.op_type)),
            (name, _) => clean(name),
        };
        Op { name, node }
    }

    /// The node as it is called in messages.
    pub fn label(&self) -> String {
        format!("node {}", self.name)
    }

    /// The operator with its domain, as in messages.
    pub fn kind(&self) -> String {
        match self.node.domain.as_str() {
            _ if self.node.op_type.is_empty() => "a node without operator".into(),
            "" | "ai.onnx" => clean(&self.node.op_type),
            domain => clean(&format!("{domain}.{}", self.node.op_type)),
        }
    }

    /// The error of this node.
    pub fn fail(&self, expected: impl Into<String>, found: impl Into<String>) -> OnnxError {
        OnnxError::Node { node: self.name.clone(), expected: expected.into(), found: found.into() }
    }

    pub fn int(&self, name: &str, default: i64) -> Result<i64, OnnxError> {
        Ok(self.attribute(name, kind::INT)?.map_or(default, |a| a.i))
    }

    /// An attribute that is 0 or 1.
    pub fn flag(&self, name: &str) -> Result<bool, OnnxError> {
        match self.int(name, 0)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.fail(format!("attribute {name} to be 0 or 1"), other.to_string())),
        }
    }

    pub fn float(&self, name: &str, default: f64) -> Result<f64, OnnxError> {
        let value = self.attribute(name, kind::FLOAT)?.map_or(default, |a| f64::from(a.f));
        if !value.is_finite() {
            return Err(self.fail(format!("attribute {name} to be finite"), value.to_string()));
        }
        Ok(value)
    }

    pub fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, OnnxError> {
        Ok(self.attribute(name, kind::INTS)?.map(|a| a.ints.as_slice()))
    }

    pub fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, OnnxError> {
        Ok(self.attribute(name, kind::FLOATS)?.map(|a| a.floats.as_slice()))
    }

    pub fn text(&self, name: &str, default: &str) -> Result<String, OnnxError> {
        let found = self.attribute(name, kind::STRING)?;
        Ok(found.map_or(default.into(), |a| clean(&String::from_utf8_lossy(&a.s))))
    }

    pub fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, OnnxError> {
        match self.attribute(name, kind::TENSOR)? {
            None => Ok(None),
            Some(AttributeProto { t: Some(tensor), .. }) => Ok(Some(tensor)),
            Some(_) => Err(self.fail(format!("attribute {name} to hold a tensor"), "none")),
        }
    }

    /// The attribute `name`; an error when it is there twice or has another kind.
    pub fn attribute(&self, name: &str, kind: i32) -> Result<Option<&'a AttributeProto>, OnnxError> {
        let mut all = self.node.attribute.iter().filter(|a| a.name == name);
        let (first, second) = (all.next(), all.next());
        match first {
            Some(_) if second.is_some() => Err(self.fail(format!("one attribute {name}"), "several")),
            Some(a) if a.kind != kind && a.kind != 0 => {
                Err(self.fail(format!("attribute {name} of type {}", kind_name(kind)), kind_name(a.kind)))
            }
            found => Ok(found),
        }
    }
}

fn kind_name(kind: i32) -> String {
    match kind {
        kind::FLOAT => "FLOAT".into(),
        kind::INT => "INT".into(),
        kind::STRING => "STRING".into(),
        kind::TENSOR => "TENSOR".into(),
        kind::FLOATS => "FLOATS".into(),
        kind::INTS => "INTS".into(),
        other => format!("number {other}"),
    }
}

/// A name without control characters and of bounded length.
pub fn clean(name: &str) -> String {
    let mut cleaned: String =
        name.chars().take(MAX_NAME).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if name.chars().nth(MAX_NAME).is_some() {
        cleaned.push('…');
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_back_to_the_output_and_the_index() {
        let mut node = NodeProto { op_type: "Relu".into(), ..NodeProto::default() };
        assert_eq!(Op::new(3, &node).name, "Relu_3");
        node.output = vec!["".into(), "y".into()];
        assert_eq!(Op::new(3, &node).name, "y");
        node.name = "act\u{1b}[2J".into();
        assert_eq!(Op::new(3, &node).name, "act\u{fffd}[2J");
        node.name = "n".repeat(1000);
        assert_eq!(Op::new(3, &node).name.chars().count(), MAX_NAME + 1);
    }
}
