//! Families of sets of weights. A family is one file with a type that implements [`Family`], and one line of the table below.

use super::integer::Quantizer;
use super::{Inference, ThreatError, WeightSet};
use super::{absolute, frobenius, lsb, per_channel, relative, row_ball};
use crate::network::Affine;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Where the parameters of one layer move, as a family says when nothing else is asked for.
pub(super) struct Parameters {
    /// The weights.
    pub weight: WeightSet,
    /// Radius of every bias.
    pub bias: Vec<f64>,
}

/// A family of sets of weights.
pub(super) trait Family {
    /// The kind that `text` names; `None` when it is none of this family.
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>>
    where
        Self: Sized;

    /// What may be written, for messages.
    fn forms() -> &'static str
    where
        Self: Sized;

    /// As it is written, `int8:per-channel`.
    fn written(&self) -> String;

    /// What one unit of the radius means.
    fn unit(&self) -> &'static str;

    /// Where the parameters of `layer` move.
    ///
    /// # Shapes
    /// `radii`: one radius ≥ 0, or one for each row of the weights where the family [has them](Family::has_row_radii).
    fn parameters(&self, layer: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError>;

    /// Radii of biases for a radius that is given for them alone.
    fn biases(&self, affine: &Affine, radius: f64) -> Vec<f64> {
        vec![radius; affine.bias.len()]
    }

    /// Whether the kind fixes its own radius, of which the user's is a multiple (1 when there is none).
    fn has_own_radius(&self) -> bool {
        false
    }

    /// Whether each row of the weights can have a radius of its own.
    fn has_row_radii(&self) -> bool {
        true
    }

    /// What is taken for granted about the hardware, one sentence each.
    fn assumptions(&self) -> &'static [&'static str] {
        &[]
    }

    /// The inference in which everything is rounded: every use of a parameter moves on its own then, and sums err.
    fn format(&self) -> Option<Inference> {
        None
    }
}

/// Declares [`Kind`] from its families: a unit type that says all there is, or a type with settings.
macro_rules! kinds {
    (
        plain { $($(#[$plain_doc:meta])* $plain:ident => $unit:path,)* }
        with_settings { $($(#[$doc:meta])* $kind:ident($settings:ty),)* }
    ) => {
        /// Which family of sets the weights move in. Written `absolute`, `int8`, `format:bf16`, …
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Kind {
            $($(#[$plain_doc])* $plain,)*
            $($(#[$doc])* $kind($settings),)*
        }

        impl Kind {
            fn family(&self) -> &dyn Family {
                match self {
                    $(Kind::$plain => &$unit,)*
                    $(Kind::$kind(settings) => settings,)*
                }
            }

            /// What may be written for a kind, for messages.
            fn forms() -> String {
                [$(<$unit as Family>::forms(),)* $(<$settings as Family>::forms(),)*].join(", ")
            }
        }

        impl FromStr for Kind {
            type Err = ThreatError;

            fn from_str(text: &str) -> Result<Kind, ThreatError> {
                let parsers = [$(<$unit as Family>::parse,)* $(<$settings as Family>::parse,)*];
                let unknown = || {
                    let found = text.chars().take(60).collect();
                    Err(ThreatError::UnknownKind { found, known: Kind::forms() })
                };
                parsers.into_iter().find_map(|parse| parse(text)).unwrap_or_else(unknown)
            }
        }
    };
}

kinds! {
    plain {
        /// `|Ŵ_ij − W_ij| ≤ radius`.
        Absolute => absolute::Absolute,
        /// `|Ŵ_ij − W_ij| ≤ radius · |W_ij|`.
        Relative => relative::Relative,
        /// `|Ŵ_ij − W_ij| ≤ radius · max_j |W_ij|`: relative to the largest weight of the output channel.
        PerChannel => per_channel::PerChannel,
        /// `‖Ŵ − W‖_F ≤ radius` for every layer.
        Frobenius => frobenius::Frobenius,
        /// `‖Ŵ_i − W_i‖₂ ≤ radius` for every row (output channel).
        RowBall => row_ball::RowBall,
        /// `|Ŵ_ij − W_ij| ≤ radius · s`: counts of the integers with step s that the file stores.
        Lsb => lsb::Lsb,
    }
    with_settings {
        /// Integer quantization.
        Integer(Quantizer),
        /// Inference in a number format with fp32 accumulation in any order.
        Format(Inference),
    }
}

impl Kind {
    /// Whether the kind fixes its own radius, so that `radius` is only an optional multiplier (default 1).
    pub fn has_own_radius(self) -> bool {
        self.family().has_own_radius()
    }

    /// What one unit of `radius` means, for reports.
    pub fn unit(self) -> &'static str {
        self.family().unit()
    }

    /// What the kind takes for granted about the hardware, one sentence each (theory.md §9).
    pub fn assumptions(self) -> Vec<&'static str> {
        self.family().assumptions().to_vec()
    }

    /// The inference in which everything is rounded, if any.
    pub fn format(self) -> Option<Inference> {
        self.family().format()
    }

    pub(super) fn has_row_radii(self) -> bool {
        self.family().has_row_radii()
    }

    pub(super) fn parameters(
        self,
        layer: &str,
        affine: &Affine,
        radii: &[f64],
    ) -> Result<Parameters, ThreatError> {
        self.family().parameters(layer, affine, radii)
    }

    pub(super) fn biases(self, affine: &Affine, radius: f64) -> Vec<f64> {
        self.family().biases(affine, radius)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.family().written())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The kind `kind` when `text` is its name.
pub(super) fn named(text: &str, name: &str, kind: Kind) -> Option<Result<Kind, ThreatError>> {
    (text == name).then_some(Ok(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for text in [
            "absolute",
            "relative",
            "per-channel",
            "frobenius",
            "row-ball",
            "lsb",
            "int8",
            "int4:per-channel",
            "format:bf16",
            "format:fp8e4m3:any",
        ] {
            assert_eq!(text.parse::<Kind>().unwrap().to_string(), text);
        }
        assert!("format:fp7".parse::<Kind>().is_err());
        assert!("format:bf16any".parse::<Kind>().is_err());
        assert!("int".parse::<Kind>().is_err());
        let error = "".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("absolute, relative") && error.contains("format:bf16"), "{error}");
    }
}
