//! Optimisers: one fused loop over the numbers of each array, so that their state is plain numbers of a checkpoint.

use crate::parameters::Parameters;
use crate::tape::vectorized;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Numbers that a thread moves together.
const BLOCK: usize = 1 << 14;

/// An update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// Stochastic gradient descent with (Nesterov) momentum.
    Sgd {
        /// Share of the last step that is kept.
        #[serde(default)]
        momentum: f64,
        /// Whether the gradient is taken ahead of the step.
        #[serde(default)]
        nesterov: bool,
        /// Added to the gradient: `weight_decay · w`.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam (Kingma and Ba 2015), weight decay in the gradient.
    Adam {
        /// Memories of the two moments.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Keeps the denominator from zero.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Added to the gradient: `weight_decay · w`.
        #[serde(default)]
        weight_decay: f64,
    },
    /// AdamW (Loshchilov and Hutter 2019), weight decay apart from the gradient.
    #[serde(rename = "adamw")]
    AdamW {
        /// Memories of the two moments.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Keeps the denominator from zero.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Fraction of the rate by which weights shrink.
        weight_decay: f64,
    },
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn epsilon() -> f64 {
    1e-8
}

impl Rule {
    /// Adam with its usual numbers.
    pub fn adam() -> Self {
        Rule::Adam { betas: betas(), epsilon: epsilon(), weight_decay: 0.0 }
    }

    /// AdamW with its usual numbers.
    pub fn adamw(weight_decay: f64) -> Self {
        Rule::AdamW { betas: betas(), epsilon: epsilon(), weight_decay }
    }

    /// What is wrong with its numbers, if anything.
    pub(crate) fn defect(&self) -> Option<String> {
        let fraction = |v: f64| (0.0..1.0).contains(&v);
        let fine = |v: f64| v.is_finite() && v >= 0.0;
        let checks = match *self {
            Rule::Sgd { momentum, weight_decay, .. } => {
                vec![
                    ("momentum", momentum, fraction(momentum)),
                    ("weight-decay", weight_decay, fine(weight_decay)),
                ]
            }
            Rule::Adam { betas: [first, second], epsilon, weight_decay }
            | Rule::AdamW { betas: [first, second], epsilon, weight_decay } => vec![
                ("betas", first, fraction(first)),
                ("betas", second, fraction(second)),
                ("epsilon", epsilon, epsilon > 0.0 && epsilon.is_finite()),
                ("weight-decay", weight_decay, fine(weight_decay)),
            ],
        };
        let bad = checks.into_iter().find(|(_, _, holds)| !holds);
        bad.map(|(name, value, _)| format!("{name} is out of range, found {value}"))
    }
}

/// A rule and its memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    rule: Rule,
    /// Steps taken.
    pub steps: u64,
    /// Momentum, or first moment.
    pub first: Parameters,
    /// Second moment; zeros for rules without.
    pub second: Parameters,
}

impl Optimizer {
    /// No step taken yet.
    pub fn new(rule: &Rule, parameters: &Parameters) -> Self {
        let zeros = parameters.zeros();
        Optimizer { rule: rule.clone(), steps: 0, first: zeros.clone(), second: zeros }
    }

    /// Moves `parameters` against `gradient`.
    pub fn step(&mut self, rate: f64, parameters: &mut Parameters, gradient: &Parameters) {
        self.steps += 1;
        let (steps, rule) = (self.steps, &self.rule);
        for (k, weights) in parameters.arrays.iter_mut().enumerate() {
            let moments =
                self.first.arrays[k].par_chunks_mut(BLOCK).zip(self.second.arrays[k].par_chunks_mut(BLOCK));
            let blocks = weights.par_chunks_mut(BLOCK).zip(gradient.arrays[k].par_chunks(BLOCK)).zip(moments);
            blocks.for_each(|((w, g), (first, second))| {
                vectorized!(|| rule.step(steps, rate, (w, g), first, second));
            });
        }
    }
}

impl Rule {
    /// One step of some numbers.
    #[inline(always)]
    fn step(
        &self,
        steps: u64,
        rate: f64,
        (w, g): (&mut [f32], &[f32]),
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let numbers = w.iter_mut().zip(g).zip(first.iter_mut().zip(second));
        match *self {
            // Without a memory, the first moment is not touched.
            Rule::Sgd { momentum: 0.0, weight_decay, .. } => {
                let [rate, decay] = [rate, weight_decay].map(|v| v as f32);
                numbers.for_each(|((w, &g), _)| *w -= rate * (g + decay * *w));
            }
            Rule::Sgd { momentum, nesterov, weight_decay } => {
                let [rate, momentum, decay] = [rate, momentum, weight_decay].map(|v| v as f32);
                for ((w, &g), (v, _)) in numbers {
                    let g = g + decay * *w;
                    *v = momentum * *v + g;
                    *w -= rate * if nesterov { g + momentum * *v } else { *v };
                }
            }
            Rule::Adam { betas, epsilon, weight_decay } => {
                let adam = Adam::new(betas, epsilon, steps, rate);
                let decay = weight_decay as f32;
                for ((w, &g), (m, v)) in numbers {
                    *w -= adam.step(g + decay * *w, m, v);
                }
            }
            Rule::AdamW { betas, epsilon, weight_decay } => {
                let adam = Adam::new(betas, epsilon, steps, rate);
                let shrink = 1.0 - (rate * weight_decay) as f32;
                for ((w, &g), (m, v)) in numbers {
                    *w = shrink * *w - adam.step(g, m, v);
                }
            }
        }
    }
}

/// The numbers of one step of Adam.
struct Adam {
    betas: [f32; 2],
    /// One minus the betas, rounded once.
    rest: [f32; 2],
    epsilon: f32,
    /// Rate over the correction of the first moment.
    rate: f32,
    /// One over the correction of the second moment.
    second: f32,
}

impl Adam {
    fn new(betas: [f64; 2], epsilon: f64, steps: u64, rate: f64) -> Self {
        let corrections = betas.map(|beta| 1.0 - beta.powf(steps as f64));
        Adam {
            betas: betas.map(|b| b as f32),
            rest: betas.map(|b| (1.0 - b) as f32),
            epsilon: epsilon as f32,
            rate: (rate / corrections[0]) as f32,
            second: (1.0 / corrections[1]) as f32,
        }
    }

    #[inline(always)]
    fn step(&self, g: f32, m: &mut f32, v: &mut f32) -> f32 {
        *m = self.betas[0] * *m + self.rest[0] * g;
        *v = self.betas[1] * *v + self.rest[1] * g * g;
        self.rate * *m / ((*v * self.second).sqrt() + self.epsilon)
    }
}

/// Scales `gradient` down to `limit` in Euclidean norm.
pub fn clip(gradient: &mut Parameters, limit: f64) {
    let norm = gradient.norm();
    if norm > limit {
        let factor = (limit / norm) as f32;
        gradient.arrays.iter_mut().flatten().for_each(|g| *g *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(w: f32) -> Parameters {
        Parameters { arrays: vec![vec![w]] }
    }

    /// Parameters after two steps with the gradient 1, from 1.
    fn two_steps(rule: Rule) -> f32 {
        let mut w = one(1.0);
        let mut optimizer = Optimizer::new(&rule, &w);
        optimizer.step(0.1, &mut w, &one(1.0));
        optimizer.step(0.1, &mut w, &one(1.0));
        w.arrays[0][0]
    }

    #[test]
    fn steps_by_hand() {
        let close = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{found}");
        close(two_steps(Rule::Sgd { momentum: 0.5, nesterov: false, weight_decay: 0.0 }), 1.0 - 0.1 - 0.15);
        close(two_steps(Rule::Sgd { momentum: 0.5, nesterov: true, weight_decay: 0.0 }), 1.0 - 0.15 - 0.175);
        // 1 − 0.1 (1 + 0.5) = 0.85, then 0.85 − 0.1 (1 + 0.425).
        close(two_steps(Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.5 }), 0.7075);
        // A constant gradient makes every step of Adam as long as the rate.
        close(two_steps(Rule::adam()), 0.8);
        let adamw = Rule::adamw(0.5);
        close(two_steps(adamw), (0.95 - 0.1) * 0.95 - 0.1);
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let mut gradient = Parameters { arrays: vec![vec![3.0], vec![4.0]] };
        clip(&mut gradient, 10.0);
        assert_eq!(gradient.arrays, [[3.0], [4.0]]);
        clip(&mut gradient, 1.0);
        assert!((gradient.norm() - 1.0).abs() < 1e-6 && gradient.arrays[1][0] > gradient.arrays[0][0]);
    }
}
