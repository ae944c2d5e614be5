//! Operators that ONNX Runtime's optimizer makes of two: a product and the activation behind it.

use super::OnnxError;
use super::op::Op;
use super::operators::Fused;
use super::proto::attribute_kind;
use super::reader::{Reader, Value};
use weightproof::network::Activation;

impl Reader<'_> {
    /// FusedConv, FusedGemm and FusedMatMul.
    pub fn fused(&mut self, op: &Op, kind: Fused, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        if op.flag("transBatchA")? || op.flag("transBatchB")? {
            return Err(op.fail("operands whose batch is not transposed", "others"));
        }
        let result = match kind {
            Fused::Conv if operands.len() > 3 => {
                return Err(op.fail("a convolution without summand", "one with an operand Z"));
            }
            Fused::Conv => self.conv(op, operands)?,
            Fused::Gemm | Fused::MatMul => self.gemm(op, operands)?,
        };
        let name = op.text("activation", "")?;
        let number = |k: usize, attribute: &str| -> Result<Option<f64>, OnnxError> {
            match kind {
                Fused::Conv => {
                    Ok(op.floats("activation_params")?.and_then(|v| v.get(k)).map(|v| f64::from(*v)))
                }
                Fused::Gemm | Fused::MatMul => {
                    let found = op.attribute(attribute, attribute_kind::FLOAT)?;
                    Ok(found.map(|a| f64::from(a.f)))
                }
            }
        };
        let (alpha, beta) = (number(0, "activation_alpha")?, number(1, "activation_beta")?);
        let f = match name.as_str() {
            "" => return Ok(result),
            "Relu" => Activation::Relu,
            "Tanh" => Activation::Tanh,
            "Sigmoid" => Activation::Sigmoid,
            "Softplus" => Activation::Softplus,
            "Softsign" => Activation::Softsign,
            "LeakyRelu" => Activation::LeakyRelu { slope: alpha.unwrap_or(f64::from(0.01_f32)) },
            "Elu" => Activation::Elu { alpha: alpha.unwrap_or(1.0) },
            "Clip" => Activation::Clip {
                low: alpha.unwrap_or(f64::NEG_INFINITY),
                high: beta.unwrap_or(f64::INFINITY),
            },
            other => return Err(op.fail("a fused activation that is read", other)),
        };
        let name = Op { name: format!("{}.activation", op.name), node: op.node };
        self.activation(&name, f, &[Some(result)])
    }
}
