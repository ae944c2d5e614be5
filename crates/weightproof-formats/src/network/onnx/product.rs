//! Products, quotients and powers of computed values, and matrix products of two of them.
//!
//! ```text
//! x / y = x · (1 / y)                          a product and a reciprocal
//! (A B)_ij = Σ_l A_il B_lj                     both sides chosen for every term, a product, and a sum over l
//! ```

use super::OnnxError;
use super::dense::width;
use super::fold::at;
use super::limits::{MAX_WIDTH, shape_text};
use super::op::Op;
use super::reader::{Computed, Form, Part, Reader, Value, lone_part};
use super::shape::{self, without_batch};
use weightproof::kernels::Window;
use weightproof::network::{Activation, AveragePool, Gather, Layer};

/// The largest whole exponent that is written out as products.
const MOST_FACTORS: f64 = 16.0;

impl Reader<'_> {
    /// The elementwise product of two computed values, repeated where they broadcast.
    pub fn times(&mut self, op: &Op, x: &Computed, y: &Computed) -> Result<Value, OnnxError> {
        if x.element != y.element {
            let found = format!("{} and {}", x.element, y.element);
            return Err(op.fail("computed factors of one type", found));
        }
        let dims = at(op, shape::broadcast(&x.dims, &y.dims))?;
        self.budget.value(&op.label(), &dims)?;
        let layers = vec![self.spread_to(op, 0, x, &dims)?, self.spread_to(op, 1, y, &dims)?];
        let layer = self.sketch.push(&op.name, Layer::Multiply, layers, without_batch(&dims));
        Ok(Value::Computed(Computed { layer, dims, ..x.clone() }))
    }

    /// `x / y`.
    pub fn divided(&mut self, op: &Op, x: &Computed, y: &Computed) -> Result<Value, OnnxError> {
        let inverse = self.function(op, "inverse", y, Activation::Reciprocal)?;
        self.times(op, x, &inverse)
    }

    /// `f(x)` of every element.
    pub fn function(
        &mut self,
        op: &Op,
        part: &str,
        x: &Computed,
        f: Activation,
    ) -> Result<Computed, OnnxError> {
        self.budget.value(&op.label(), &x.dims)?;
        let layer = self.sketch.activation(&format!("{}.{part}", op.name), x.layer, f);
        Ok(Computed { layer, ..x.clone() })
    }

    /// `x` to a constant power, other than 0.
    pub fn raised(&mut self, op: &Op, x: &Computed, exponent: f64) -> Result<Computed, OnnxError> {
        if exponent.fract() != 0.0 {
            return self.function(op, "power", x, Activation::Power { exponent });
        }
        if !(1.0..=MOST_FACTORS).contains(&exponent.abs()) {
            let expected = format!("an exponent that is not whole, or from 1 to {MOST_FACTORS} in magnitude");
            return Err(op.fail(expected, exponent.to_string()));
        }
        let mut power = if exponent.abs() >= 2.0 {
            self.function(op, "square", x, Activation::Square)?
        } else {
            x.clone()
        };
        for _ in 2..exponent.abs() as usize {
            power = self.computed_of(op, |reader| reader.times(op, &power, x))?;
        }
        if exponent < 0.0 { self.function(op, "inverse", &power, Activation::Reciprocal) } else { Ok(power) }
    }

    /// A polynomial that was not the beginning of a GELU, as layers; other values stay.
    pub fn materialized(&mut self, op: &Op, value: Value) -> Result<Value, OnnxError> {
        let Value::Part(Part { of, dims, element, form: Form::Polynomial(c), name }) = value else {
            return Ok(value);
        };
        let named = Op { name, node: op.node };
        let x = Computed { layer: of, dims, element, head: None, grid: None };
        let mut terms = Vec::new();
        for (power, factor) in c.into_iter().enumerate().skip(1).filter(|(_, factor)| *factor != 0.0) {
            let term = self.raised(&named, &x, power as f64)?;
            let layer = self.affine(&named, "factor", term.layer, (factor, 0.0))?;
            terms.push(Computed { layer, ..term });
        }
        let sum = match &terms[..] {
            [] => Computed { layer: self.affine(&named, "nothing", of, (0.0, 0.0))?, ..x },
            [term] => term.clone(),
            several => {
                let several: Vec<&Computed> = several.iter().collect();
                self.computed_of(op, |reader| reader.sum_of(&named, &several))?
            }
        };
        let layer = self.affine(&named, "constant", sum.layer, (1.0, c[0]))?;
        Ok(Value::Computed(Computed { layer, ..sum }))
    }

    /// The computed value that `make` gives.
    pub fn computed_of(
        &mut self,
        op: &Op,
        make: impl FnOnce(&mut Self) -> Result<Value, OnnxError>,
    ) -> Result<Computed, OnnxError> {
        match make(self)? {
            Value::Computed(computed) => Ok(computed),
            Value::Constant(_) => Err(op.fail("an operand that depends on the input", "a constant")),
            Value::Part(part) => Err(lone_part(op, &part)),
        }
    }

    /// The sums of `count` neighbours each.
    pub fn sums_of_neighbours(
        &mut self,
        op: &Op,
        part: &str,
        x: &Computed,
        count: usize,
        factor: f64,
    ) -> Result<Computed, OnnxError> {
        let groups = width(&x.dims) / count;
        let window = Window::pooling([groups, 1, count], [1, count]);
        let average = AveragePool { window, factor: vec![factor] };
        let name = format!("{}.{part}", op.name);
        self.budget.value(&op.label(), &[groups])?;
        let layer = self.sketch.push(&name, Layer::AveragePool(average), vec![x.layer], vec![groups]);
        Ok(Computed { layer, dims: vec![groups], ..x.clone() })
    }

    /// The sum of `count` lists that are laid end to end, element by element: windows of one column, which is the fastest layout.
    pub fn sum_of_lists(&mut self, op: &Op, x: &Computed, count: usize) -> Result<Computed, OnnxError> {
        let groups = width(&x.dims) / count;
        let window = Window::pooling([1, count, groups], [count, 1]);
        let average = AveragePool { window, factor: vec![1.0; groups] };
        self.budget.value(&op.label(), &[groups])?;
        let name = format!("{}.sum", op.name);
        let layer = self.sketch.push(&name, Layer::AveragePool(average), vec![x.layer], vec![groups]);
        Ok(Computed { layer, dims: vec![groups], ..x.clone() })
    }

    /// The elements of `x` at these places, as a list.
    pub fn elements_at(
        &mut self,
        op: &Op,
        part: &str,
        x: &Computed,
        places: Vec<usize>,
    ) -> Result<Computed, OnnxError> {
        let count = places.len();
        self.budget.value(&op.label(), &[count])?;
        self.budget.tensor(&op.label(), &[2, count])?;
        let gather = Gather { source: places.into_iter().map(Some).collect(), constant: 0.0 };
        let layer = self.sketch.gather(&format!("{}.{part}", op.name), vec![x.layer], gather, vec![count]);
        Ok(Computed { layer, dims: vec![count], ..x.clone() })
    }

    /// MatMul of two computed values: stacks of matrices, which broadcast.
    pub fn matmul_of_computed(&mut self, op: &Op, a: &Computed, b: &Computed) -> Result<Value, OnnxError> {
        let ([.., m, inner], [.., of_b, n]) = (&a.dims[..], &b.dims[..]) else {
            let found = format!("{} and {}", shape_text(&a.dims), shape_text(&b.dims));
            return Err(op.fail("computed operands of at least two dimensions", found));
        };
        let (m, inner, n) = (*m, *inner, *n);
        if inner != *of_b {
            let found = format!("{} and {}", shape_text(&a.dims), shape_text(&b.dims));
            return Err(op.fail("matrices that can be multiplied", found));
        }
        if b.dims.len() == 2 && self.has_batch(&b.dims) {
            return Err(op.fail("no sum over the batch", shape_text(&b.dims)));
        }
        let stacks = [&a.dims[..a.dims.len() - 2], &b.dims[..b.dims.len() - 2]];
        let stack = at(op, shape::broadcast(stacks[0], stacks[1]))?;
        let dims = [&stack[..], &[m, n]].concat();
        let count = dims.iter().chain([&inner]).try_fold(1_usize, |count, &d| count.checked_mul(d));
        let count = count.filter(|count| *count <= MAX_WIDTH).ok_or_else(|| {
            let expected = format!("a product of computed matrices with at most {MAX_WIDTH} terms");
            op.fail(expected, format!("the shape {} with sums of {inner}", shape_text(&dims)))
        })?;
        self.budget.tensor(&op.label(), &[4, count])?;
        let (mut rows, mut columns) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let of_stack = stacks.map(|own| shape::broadcast_indices(own, &stack));
        for l in 0..inner {
            for (&first, &second) in of_stack[0].iter().zip(&of_stack[1]) {
                rows.extend((0..m).flat_map(|i| std::iter::repeat_n((first * m + i) * inner + l, n)));
                columns.extend((0..m).flat_map(|_| (0..n).map(|j| (second * inner + l) * n + j)));
            }
        }
        let left = self.elements_at(op, "rows", a, rows)?;
        let right = self.elements_at(op, "columns", b, columns)?;
        let terms = Op { name: format!("{}.terms", op.name), node: op.node };
        let terms = self.computed_of(op, |reader| reader.times(&terms, &left, &right))?;
        let sums = self.sum_of_lists(op, &terms, inner)?;
        let layer = self.sketch.reshape(&op.name, sums.layer, without_batch(&dims));
        Ok(Value::Computed(Computed { layer, dims, ..a.clone() }))
    }
}
