//! Figures as SVG: in a page, where style sheets colour them and scripts add values under the pointer, and as files of their own.
//!
//! ```text
//! Chart | Bars | Ranges | Matrix | Shares → Drawing → inline SVG | file.svg → file.png (feature `raster`)
//! ```
//! Every mark has its colours as attributes, so that a file needs nothing else, and a class, by which a page restyles it. Series
//! differ in colour (Okabe and Ito's palette), dash and marker.

mod axis;
mod bars;
mod chart;
mod drawing;
pub mod features;
mod frame;
mod matrix;
pub mod number;
mod palette;
mod ranges;
mod raster;
mod shares;

pub use axis::{Axis, Scale};
pub use bars::{Bar, BarGroup, Bars};
pub use chart::{Band, Chart, Series};
pub use drawing::Drawing;
pub use matrix::{Matrix, MatrixCell};
pub use palette::Ink;
pub use ranges::{Quantiles, Range, RangeRow, Ranges};
pub use raster::{RasterError, png};
pub use shares::Shares;
