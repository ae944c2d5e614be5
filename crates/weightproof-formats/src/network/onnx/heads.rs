//! Heads: Softmax, LogSoftmax, Hardmax, ArgMax, TopK. At the end they are left out, because they do not change the order of the classes;
//! of two classes they are functions of the difference and may stand anywhere, as may Softmax of any number of classes (see `normalize`).
//!
//! ```text
//! softmax(a, b) = (σ(a − b), σ(b − a))        log softmax(a, b) = −(ln(1 + exp(b − a)), ln(1 + exp(a − b)))        argmax(a, b) = [b − a > 0]
//! ```

use super::OnnxError;
use super::dense::width;
use super::fold::{self, at};
use super::jumps::Side;
use super::op::Op;
use super::reader::{Computed, Head, Reader, Value, computed};
use super::shape;
use super::tensor::Element;
use std::ops::Range;
use weightproof::network::{Activation, Layer};

/// What is left out.
struct Dropped {
    /// Whether it gives numbers of classes.
    chooses: bool,
    /// Of a Softmax what it is taken over.
    over: Option<(Vec<usize>, Range<usize>)>,
}

impl Reader<'_> {
    /// Softmax, LogSoftmax and Hardmax.
    ///
    /// Up to operator set 12 the elements from `axis` on are normalized together, from 13 on only those along it.
    pub fn softmax(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let default = if self.opset < 13 { 1 } else { -1 };
        let along = at(op, shape::axis(op.int("axis", default)?, x.dims.len(), self.opset < 13))?;
        let together = if self.opset < 13 { along..x.dims.len() } else { along..along + 1 };
        let group: usize = width(&x.dims[together.clone()]);
        let is_pair = group == 2 && op.kind() != "Hardmax";
        let over = together.clone();
        let pair = together.into_iter().find(|&axis| is_pair && x.dims[axis] == 2);
        match pair {
            Some(axis) if group < width(&x.dims) => self.pair(op, x, axis),
            _ => {
                let over = (op.kind() == "Softmax").then(|| (x.dims.clone(), over));
                Ok(self.dropped(op, x, group, Dropped { chooses: false, over }))
            }
        }
    }

    /// ArgMax and TopK.
    pub fn choice(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let is_argmax = op.kind() == "ArgMax";
        let default = if is_argmax { 0 } else { -1 };
        let along = at(op, shape::axis(op.int("axis", default)?, x.dims.len(), false))?;
        if op.int("largest", 1)? != 1 {
            return Err(op.fail("largest = 1", "0: the least elements"));
        }
        if x.dims[along] == width(&x.dims) {
            return Ok(self.dropped(op, x, x.dims[along], Dropped { chooses: true, over: None }));
        }
        if !is_argmax || x.dims[along] != 2 {
            let expected =
                format!("{} of two elements, or of all, which are the classes of one sample", op.kind());
            return Err(op.fail(expected, format!("{} of {}", x.dims[along], width(&x.dims))));
        }
        let first = self.at_place(op, x, along, 0)?;
        let second = self.at_place(op, x, along, 1)?;
        let difference = self.difference(op, second.layer, first.layer)?;
        // On a tie the first element is taken, or the last one.
        let layer = if op.flag("select_last_index")? {
            self.step(op, "second", difference, Side::Below, (1.0, 1.0))?
        } else {
            self.step(op, "second", difference, Side::Above, (1.0, 0.0))?
        };
        let mut dims = second.dims.clone();
        if op.int("keepdims", 1)? == 0 {
            dims.remove(along);
        }
        let chosen = Computed { layer, element: Element::Int, ..x.clone() };
        Ok(self.renamed(op, &chosen, dims))
    }

    /// What a Softmax, or a head of two classes, computes, for an operator that reads it; `None` for other heads.
    pub fn computed_head(&mut self, op: &Op, x: &Computed) -> Result<Option<Value>, OnnxError> {
        let Some(head) = &x.head else { return Ok(None) };
        let whole = Op { name: head.node.clone(), node: op.node };
        if !head.is_pair {
            let Some((dims, together)) = &head.over else { return Ok(None) };
            return self.softmax_of(&whole, x, (dims, together.clone())).map(Some);
        }
        let plain = Computed { head: None, ..x.clone() };
        let axis = x.dims.iter().position(|&d| d == 2).unwrap_or(0);
        self.probabilities(&whole, &plain, axis, head.is_logarithm).map(Some)
    }

    fn pair(&mut self, op: &Op, x: &Computed, axis: usize) -> Result<Value, OnnxError> {
        self.probabilities(op, x, axis, op.kind() == "LogSoftmax")
    }

    /// Softmax, or its logarithm, over an axis of two elements.
    fn probabilities(
        &mut self,
        op: &Op,
        x: &Computed,
        axis: usize,
        is_logarithm: bool,
    ) -> Result<Value, OnnxError> {
        let places = self.places(op, x, 0)?;
        let turned = [1, 0].map(|k| fold::range_of(op, &places, axis, k..k + 1, &mut self.budget));
        let [second, first] = turned;
        let swapped = fold::concat(op, &[Some(&second?), Some(&first?)], axis, &mut self.budget)?;
        let Value::Computed(other) = self.chosen(op, ".other", &[x], &swapped, 0.0)? else {
            return Err(op.fail("an operand that depends on the input", "a constant"));
        };
        let layer = if is_logarithm {
            let difference = self.difference(op, other.layer, x.layer)?;
            let softplus = self.sketch.activation(&op.name, difference, Activation::Softplus);
            self.affine(op, "negated", softplus, (-1.0, 0.0))?
        } else {
            let difference = self.difference(op, x.layer, other.layer)?;
            self.sketch.activation(&op.name, difference, Activation::Sigmoid)
        };
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// The elements at `place` of an axis, which stays, with one element.
    fn at_place(&mut self, op: &Op, x: &Computed, axis: usize, place: usize) -> Result<Computed, OnnxError> {
        let places = self.places(op, x, 0)?;
        let places = fold::range_of(op, &places, axis, place..place + 1, &mut self.budget)?;
        match self.chosen(op, &format!(".{place}"), &[x], &places, 0.0)? {
            Value::Computed(chosen) => Ok(chosen),
            Value::Constant(_) | Value::Part(_) => {
                Err(op.fail("an operand that depends on the input", "a constant"))
            }
        }
    }

    /// The layer `a − b`.
    fn difference(&mut self, op: &Op, a: usize, b: usize) -> Result<usize, OnnxError> {
        let negated = self.affine(op, "opposite", b, (-1.0, 0.0))?;
        let shape = self.sketch.shape(a).to_vec();
        self.budget.value(&op.label(), &shape)?;
        Ok(self.sketch.push(&format!("{}.difference", op.name), Layer::Add, vec![a, negated], shape))
    }

    /// `x` with an operator left out that looks at `group` of its elements together.
    fn dropped(&self, op: &Op, x: &Computed, group: usize, what: Dropped) -> Value {
        let Dropped { chooses, over } = what;
        let kind = op.kind();
        let all = width(&x.dims);
        let name = if group == all {
            format!("{kind} (node {})", op.name)
        } else {
            format!("{kind} over {group} of {all} elements (node {})", op.name)
        };
        let head = Head {
            name,
            node: op.name.clone(),
            chooses,
            is_pair: !chooses && group == 2 && group == all && kind != "Hardmax",
            is_logarithm: kind == "LogSoftmax",
            over,
        };
        Value::Computed(Computed { head: Some(head), ..x.clone() })
    }
}
