//! Attention that ONNX Runtime's optimizer fuses, taken apart again.
//!
//! ```text
//! (Q | K | V) = x W + b,   y = softmax(Q Kᵀ · scale + mask) V           for each head, mask: nothing, or what is behind a token
//! ```

use super::OnnxError;
use super::dense::width;
use super::limits::{MAX_WIDTH, shape_text};
use super::op::Op;
use super::reader::{Computed, Reader, Value, computed, value};
use super::shape::without_batch;
use weightproof::network::Affine;

impl Reader<'_> {
    /// Attention of the domain com.microsoft: self-attention with constant weights.
    pub fn attention(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?.clone();
        if operands.iter().skip(3).any(Option::is_some) {
            return Err(op.fail("attention without masks and past values as operands", "some"));
        }
        let (Value::Constant(weight), Some(Some(Value::Constant(bias)))) =
            (value(op, operands, 1)?, operands.get(2))
        else {
            return Err(op.fail("constant weights and biases", "computed ones, or none"));
        };
        let [1, tokens, inputs] = x.dims[..] else {
            return Err(op.fail("data of shape (1, tokens, features)", shape_text(&x.dims)));
        };
        let bias = self.spread(op, bias, x.element, &bias.dims)?;
        let (weight, stored) = self.matrix(op, weight, true, x.element, inputs)?;
        let all = weight.rows();
        let heads = usize::try_from(op.int("num_heads", 0)?).unwrap_or(0);
        if heads == 0 || !all.is_multiple_of(3 * heads) || bias.len() != all {
            let expected = format!("heads that divide a third of {all} columns, and as many biases");
            return Err(op.fail(expected, format!("{heads} and {}", bias.len())));
        }
        let (hidden, each) = (all / 3, all / 3 / heads);
        let count = [heads, tokens, tokens, each].iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if count.is_none_or(|count| count > MAX_WIDTH) {
            let expected = format!("attention with at most {MAX_WIDTH} terms");
            return Err(op.fail(expected, format!("{heads} heads of {each} for {tokens} tokens")));
        }
        let named = |part: &str| Op { name: format!("{}.{part}", op.name), node: op.node };
        let origins = [1, 2].into_iter().filter_map(|k| match &operands[k] {
            Some(Value::Constant(tensor)) => tensor.origin.clone(),
            None | Some(Value::Computed(_) | Value::Part(_)) => None,
        });
        let (origins, dims) = (origins.collect(), vec![1, tokens, all]);
        let affine = Affine { weight, bias, has_bias: true, stored };
        let joint =
            self.computed_of(op, |reader| reader.rows_times(&named("qkv"), &x, affine, origins, dims))?;
        // Feature `l` of the head at a token; 0: query, 1: key, 2: value.
        let place =
            |what: usize, token: usize, head: usize, l: usize| token * all + what * hidden + head * each + l;
        let pairs =
            || (0..heads).flat_map(|h| (0..tokens).flat_map(move |i| (0..tokens).map(move |j| (h, i, j))));
        let of = |f: &dyn Fn(usize, usize, usize, usize) -> usize| -> Vec<usize> {
            (0..each).flat_map(|l| pairs().map(move |(h, i, j)| f(h, i, j, l))).collect()
        };
        let queries = self.elements_at(op, "queries", &joint, of(&|h, i, _, l| place(0, i, h, l)))?;
        let keys = self.elements_at(op, "keys", &joint, of(&|h, _, j, l| place(1, j, h, l)))?;
        let terms = self.computed_of(op, |reader| reader.times(&named("terms"), &queries, &keys))?;
        let mut scores = self.sum_of_lists(op, &terms, each)?;
        let scale = op.float("scale", 0.0)?;
        let scale = if scale == 0.0 { 1.0 / (each as f64).sqrt() } else { scale };
        let lowest = op.float("mask_filter_value", -10_000.0)?;
        let is_causal = op.flag("unidirectional")?;
        let mask = pairs().map(|(_, i, j)| if is_causal && j > i { lowest } else { 0.0 }).collect();
        let factors = vec![scale; heads * tokens * tokens];
        scores.layer = self.sketch.scale(&format!("{}.scores", op.name), scores.layer, factors, mask);
        let dims = [heads, tokens, tokens];
        let shares =
            self.computed_of(op, |reader| reader.softmax_of(&named("softmax"), &scores, (&dims, 2..3)))?;
        // Sums over j of the elements (i, h, m) of the result.
        let results =
            || (0..tokens).flat_map(|i| (0..heads).flat_map(move |h| (0..each).map(move |m| (i, h, m))));
        let parts =
            (0..tokens).flat_map(|j| results().map(move |(i, h, _)| (h * tokens + i) * tokens + j)).collect();
        let parts = self.elements_at(op, "shares", &shares, parts)?;
        let values = (0..tokens).flat_map(|j| results().map(move |(_, h, m)| place(2, j, h, m))).collect();
        let values = self.elements_at(op, "values", &joint, values)?;
        let mixed = self.computed_of(op, |reader| reader.times(&named("mixed"), &parts, &values))?;
        let sums = self.sum_of_lists(&named("mixed"), &mixed, tokens)?;
        let dims = vec![1, tokens, hidden];
        debug_assert_eq!(width(&dims), width(&sums.dims));
        let layer = self.sketch.reshape(&op.name, sums.layer, without_batch(&dims));
        Ok(Value::Computed(Computed { layer, dims, ..x }))
    }
}
