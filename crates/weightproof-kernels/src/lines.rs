//! Lines `m + s τ ± e`, |τ| ≤ 1, through a matrix: the loop in which the bounds of memory faults spend their time.

use crate::Matrix;
use crate::rows::vectorized;

/// Numbers of a row of lines: midpoints, slopes, and how far values may be from the line.
pub type Lines<'a> = [&'a [f64]; 3];

/// Adds `W m` to the midpoints, `W s` to the slopes and `|W| (e + part · (|m| + |s|))` to the errors; `part` is what the sums lose by
/// rounding. Inputs that are zero cost nothing.
///
/// # Shapes
/// `weight`: the transposed matrix, (n_in, n_out); `from`: n_in; `to`: n_out.
pub fn add_lines(to: [&mut [f64]; 3], from: Lines<'_>, weight: &Matrix<f64>, part: f64) {
    let [mid, slope, error] = to;
    let width = weight.cols();
    assert!(mid.len() == width && slope.len() == width && error.len() == width, "lengths of outputs");
    for (j, ((&m, &s), &e)) in from[0].iter().zip(from[1]).zip(from[2]).enumerate() {
        if m == 0.0 && s == 0.0 && e == 0.0 {
            continue;
        }
        let row = weight.row(j);
        let lost = e + part * (m.abs() + s.abs());
        vectorized!(|| {
            for (((w, mid), slope), error) in row.iter().zip(&mut *mid).zip(&mut *slope).zip(&mut *error) {
                *mid += w * m;
                *slope += w * s;
                *error += w.abs() * lost;
            }
        });
    }
}

/// Least and largest `x_j d` over the columns of a row, with zero: `d` anywhere between `low_j` ≤ 0 and `high_j` ≥ 0.
pub fn extent_of_products(x: &[f64], low: &[f64], high: &[f64]) -> (f64, f64) {
    vectorized!(|| {
        let (mut least, mut most) = (0.0_f64, 0.0_f64);
        for ((&x, &low), &high) in x.iter().zip(low).zip(high) {
            let (a, b) = (x * low, x * high);
            let (below, above) = if x < 0.0 { (b, a) } else { (a, b) };
            least = if below < least { below } else { least };
            most = if above > most { above } else { most };
        }
        (least, most)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_hand() {
        let weight = Matrix::from_vec(2, 2, vec![1.0, -2.0, 3.0, 0.5]);
        let (mut mid, mut slope, mut error) = (vec![0.0; 2], vec![0.0; 2], vec![0.0; 2]);
        let from: Lines<'_> = [&[1.0, -1.0], &[0.5, 0.0], &[0.25, 0.0]];
        add_lines([&mut mid, &mut slope, &mut error], from, &weight, 0.125);
        assert_eq!(mid, [1.0 - 3.0, -2.0 - 0.5]);
        assert_eq!(slope, [0.5, -1.0]);
        assert_eq!(error, [0.4375 + 3.0 * 0.125, 2.0 * 0.4375 + 0.5 * 0.125]);
    }

    #[test]
    fn extents_of_both_signs() {
        let found = extent_of_products(&[2.0, -1.0, 0.0], &[-1.0, -5.0, -9.0], &[0.5, 1.0, 9.0]);
        assert_eq!(found, (-2.0, 5.0));
    }
}
