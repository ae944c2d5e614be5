//! Lines `m + s τ ± e`, |τ| ≤ 1, through a matrix: the loop in which the bounds of memory faults spend their time.

use crate::Matrix;
use crate::rows::vectorized;

/// Adds `W m` to the midpoints, `W s` to the slopes and `|W| (e + part · (|m| + |s|))` to the errors of each line; `part` is what the
/// sums lose by rounding. Inputs that are zero cost nothing, and those of several lines share one row of weights.
///
/// # Shapes
/// `weight`: the transposed matrix, (n_in, n_out); `from`, midpoints, slopes and errors: (lines, n_in) each; `to`: (lines, n_out) each.
pub fn add_lines(to: [&mut Matrix<f64>; 3], from: [&Matrix<f64>; 3], weight: &Matrix<f64>, part: f64) {
    let (lines, inputs, width) = (from[0].rows(), weight.rows(), weight.cols());
    for (to, from) in to.iter().zip(from) {
        let shapes = ((from.rows(), from.cols()), (to.rows(), to.cols()));
        assert_eq!(shapes, ((lines, inputs), (lines, width)), "shapes of lines");
    }
    let [mids, slopes, errors] = to;
    let (moving, [m, s, e]) = (moving(from), from);
    vectorized!(|| {
        for j in moving {
            let row = weight.row(j);
            for k in 0..lines {
                let (m, s, e) = (m[(k, j)], s[(k, j)], e[(k, j)]);
                let lost = e + part * (m.abs() + s.abs());
                let (mid, slope, error) = (mids.row_mut(k), slopes.row_mut(k), errors.row_mut(k));
                for (((w, mid), slope), error) in row.iter().zip(mid).zip(slope).zip(error) {
                    *mid += w * m;
                    *slope += w * s;
                    *error += w.abs() * lost;
                }
            }
        }
    });
}

/// The elements that are not zero on some line, rising.
pub fn moving(parts: [&Matrix<f64>; 3]) -> Vec<usize> {
    let mut moves = vec![0_u8; parts[0].cols()];
    let rows = parts.iter().flat_map(|part| (0..part.rows()).map(move |k| part.row(k)));
    for row in rows {
        vectorized!(|| moves.iter_mut().zip(row).for_each(|(moves, v)| *moves |= u8::from(*v != 0.0)));
    }
    (0..moves.len()).filter(|&j| moves[j] != 0).collect()
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
        let [mut mid, mut slope, mut error] = [(); 3].map(|()| Matrix::zeros(2, 2));
        let from = [vec![0.0, 0.0, 1.0, -1.0], vec![0.0, 2.0, 0.5, 0.0], vec![0.0, 0.0, 0.25, 0.0]]
            .map(|rows| Matrix::from_vec(2, 2, rows));
        add_lines([&mut mid, &mut slope, &mut error], from.each_ref(), &weight, 0.125);
        assert_eq!(mid.as_slice(), [0.0, 0.0, 1.0 - 3.0, -2.0 - 0.5]);
        assert_eq!(slope.as_slice(), [6.0, 1.0, 0.5, -1.0]);
        let second = [0.4375 + 3.0 * 0.125, 2.0 * 0.4375 + 0.5 * 0.125];
        assert_eq!(error.as_slice(), [3.0 * 0.25, 0.5 * 0.25, second[0], second[1]]);
    }

    #[test]
    fn extents_of_both_signs() {
        let found = extent_of_products(&[2.0, -1.0, 0.0], &[-1.0, -5.0, -9.0], &[0.5, 1.0, 9.0]);
        assert_eq!(found, (-2.0, 5.0));
    }
}
