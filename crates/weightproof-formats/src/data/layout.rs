//! Channels first or last: how an image lies in a row of numbers.

/// Order of the axes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// (channels, height, width).
    First,
    /// (height, width, channels).
    Last,
}

/// Moves the channels of every sample `to` the front or the back.
///
/// # Shapes
/// `shape`: one sample as it is, (c, h, w) for [`ChannelOrder::Last`] and (h, w, c) for [`ChannelOrder::First`]; `rows`:
/// (count, c·h·w). Returns the shape and the rows in the other order. Samples with fewer than three axes have one channel,
/// and stay as they are.
///
/// # Panics
/// If `rows` are not whole samples.
pub fn reorder(shape: &[usize], rows: &[f64], to: ChannelOrder) -> (Vec<usize>, Vec<f64>) {
    let &[a, b, c] = shape else { return (shape.to_vec(), rows.to_vec()) };
    let width = a * b * c;
    assert!(width > 0 && rows.len().is_multiple_of(width), "{} values are no samples of {width}", rows.len());
    // Either way a sample is a matrix that is transposed.
    let (outer, inner, shape) = match to {
        ChannelOrder::Last => (a, b * c, vec![b, c, a]),
        ChannelOrder::First => (a * b, c, vec![c, a, b]),
    };
    let mut moved = Vec::with_capacity(rows.len());
    for sample in rows.chunks_exact(width) {
        for column in 0..inner {
            moved.extend((0..outer).map(|row| sample[row * inner + column]));
        }
    }
    (shape, moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_move_and_come_back() {
        // Two channels of 1 × 3 pixels, two samples.
        let first: Vec<f64> = [1, 2, 3, 10, 20, 30, 4, 5, 6, 40, 50, 60].map(f64::from).to_vec();
        let (shape, last) = reorder(&[2, 1, 3], &first, ChannelOrder::Last);
        assert_eq!(shape, [1, 3, 2]);
        assert_eq!(last, [1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60].map(f64::from));
        assert_eq!(reorder(&shape, &last, ChannelOrder::First), (vec![2, 1, 3], first));
    }

    #[test]
    fn one_channel_stays() {
        assert_eq!(reorder(&[2], &[1.0, 2.0], ChannelOrder::Last), (vec![2], vec![1.0, 2.0]));
    }
}
