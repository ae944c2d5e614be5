//! The geometry of convolutions and pooling: which input elements an output element reads.

use super::Scalar;

/// A window that slides over an image, `(channels, height, width)` row-major. One-dimensional layers have height 1.
///
/// ```text
/// output (o, y, x) reads (c, y·stride₀ − before₀ + ky·dilation₀, x·stride₁ − before₁ + kx·dilation₁)
/// for every tap (ky, kx) and every input channel c of the group of o; taps outside of the image read nothing
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Input `(channels, height, width)`.
    pub input: [usize; 3],
    /// Output channels.
    pub channels: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Taps along height and width.
    pub kernel: [usize; 2],
    /// Steps along height and width.
    pub stride: [usize; 2],
    /// Distances of neighbouring taps along height and width.
    pub dilation: [usize; 2],
    /// Elements added `[before, after]` along height and width.
    pub padding: [[usize; 2]; 2],
}

impl Window {
    /// A window without padding, stride, dilation or groups.
    pub fn new(input: [usize; 3], channels: usize, kernel: [usize; 2]) -> Self {
        let [stride, dilation] = [[1; 2]; 2];
        Window { input, channels, groups: 1, kernel, stride, dilation, padding: [[0; 2]; 2] }
    }

    /// A window over each channel on its own, as pooling slides it.
    pub fn pooling(input: [usize; 3], kernel: [usize; 2]) -> Self {
        Window { groups: input[0], ..Window::new(input, input[0], kernel) }
    }

    /// What is wrong with the numbers, if anything: a zero, groups that do not divide the channels, a kernel that does not
    /// fit, or sizes whose products overflow.
    pub fn defect(&self) -> Option<String> {
        let sizes = [self.kernel, self.stride, self.dilation].concat();
        if self.input.contains(&0) || self.channels == 0 || self.groups == 0 || sizes.contains(&0) {
            return Some("sizes, strides, dilations and groups of at least 1".into());
        }
        if !self.input[0].is_multiple_of(self.groups) || !self.channels.is_multiple_of(self.groups) {
            let (from, to) = (self.input[0], self.channels);
            return Some(format!("groups that divide {from} input and {to} output channels"));
        }
        for axis in 0..2 {
            let reach = self.reach(axis);
            let padded = self.padded(axis);
            let (Some(reach), Some(padded)) = (reach, padded) else {
                return Some("sizes that fit into memory".into());
            };
            if reach > padded {
                return Some(format!("a kernel that fits into {padded} elements, found one over {reach}"));
            }
        }
        let elements = |sizes: &[usize]| sizes.iter().try_fold(1_usize, |n, &s| n.checked_mul(s));
        let fits = [
            elements(&self.input),
            elements(&self.output()),
            elements(&[self.channels, self.input[0], self.kernel[0], self.kernel[1]]),
            elements(&[self.input[0], self.kernel[0], self.kernel[1], self.extent(0), self.extent(1)]),
        ];
        let most = isize::MAX as usize / 16;
        fits.iter().any(|n| n.is_none_or(|n| n > most)).then(|| "sizes that fit into memory".into())
    }

    /// Elements from the first to the last tap along an axis.
    fn reach(&self, axis: usize) -> Option<usize> {
        (self.kernel[axis] - 1).checked_mul(self.dilation[axis])?.checked_add(1)
    }

    /// Elements along an axis with what is added, if they can be counted.
    pub(crate) fn padded(&self, axis: usize) -> Option<usize> {
        self.input[axis + 1].checked_add(self.padding[axis][0])?.checked_add(self.padding[axis][1])
    }

    /// Output positions along an axis.
    pub fn extent(&self, axis: usize) -> usize {
        match (self.padded(axis), self.reach(axis)) {
            (Some(padded), Some(reach)) if reach <= padded => (padded - reach) / self.stride[axis] + 1,
            _ => 0,
        }
    }

    /// Output `(channels, height, width)`.
    pub fn output(&self) -> [usize; 3] {
        [self.channels, self.extent(0), self.extent(1)]
    }

    /// Output positions of one channel.
    pub fn positions(&self) -> usize {
        self.extent(0) * self.extent(1)
    }

    /// Elements of one input channel.
    pub fn plane(&self) -> usize {
        self.input[1] * self.input[2]
    }

    /// Taps of one channel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Input channels of one group.
    pub fn group_inputs(&self) -> usize {
        self.input[0] / self.groups
    }

    /// Output channels of one group.
    pub fn group_outputs(&self) -> usize {
        self.channels / self.groups
    }

    /// Weights of one output channel: the columns of a weight matrix, ordered by channel, row and column of the kernel.
    pub fn patch(&self) -> usize {
        self.group_inputs() * self.taps()
    }

    /// Elements of the input.
    pub fn input_width(&self) -> usize {
        self.input[0] * self.plane()
    }

    /// Elements of the output.
    pub fn output_width(&self) -> usize {
        self.channels * self.positions()
    }

    /// The elements of every channel of the image that the output positions of `region` read; `None` where there are none.
    pub fn read_by(&self, region: Region) -> Option<Region> {
        let along = |axis: usize, (from, to): (usize, usize)| {
            let (start, end) = self.span(axis, (from, to))?;
            let before = self.padding[axis][0];
            let image = (start.saturating_sub(before), end.saturating_sub(before).min(self.input[axis + 1]));
            (image.0 < image.1).then_some(image)
        };
        Some(Region { y: along(0, region.y)?, x: along(1, region.x)? })
    }

    /// The window that gives the output positions of `region` from the elements that they read, [`Window::read_by`]; `None` where
    /// there are none.
    pub fn of_region(&self, region: Region) -> Option<Window> {
        let read = self.read_by(region)?;
        let padding = |axis: usize, of: (usize, usize)| {
            let (start, end) = self.span(axis, of)?;
            let before = self.padding[axis][0];
            Some([before.saturating_sub(start), end.saturating_sub(before + self.input[axis + 1])])
        };
        let padding = [padding(0, region.y)?, padding(1, region.x)?];
        Some(Window { input: [self.input[0], read.height(), read.width()], padding, ..self.clone() })
    }

    /// The elements along an axis, with the padding before them, from the first to the last that output positions read.
    fn span(&self, axis: usize, (from, to): (usize, usize)) -> Option<(usize, usize)> {
        let last = to.checked_sub(1).filter(|last| *last >= from)?;
        Some((from * self.stride[axis], last * self.stride[axis] + self.reach(axis)?))
    }

    /// Whether the only position reads all elements, each once: the weights are those of a dense layer.
    pub(crate) fn is_dense(&self) -> bool {
        let has_one_position = self.output() == [self.channels, 1, 1] && self.padding == [[0; 2]; 2];
        has_one_position && self.groups == 1 && self.input[1..] == self.kernel
    }

    /// Where tap `k` of an axis reads at output position `at`, if inside the image.
    pub fn source_on(&self, axis: usize, at: usize, k: usize) -> Option<usize> {
        let padded = at * self.stride[axis] + k * self.dilation[axis];
        let source = padded.checked_sub(self.padding[axis][0])?;
        (source < self.input[axis + 1]).then_some(source)
    }

    /// The input element that the weight of row `row` and column `column` meets at an output position, `None` in the padding.
    pub fn element(&self, row: usize, column: usize, position: usize) -> Option<usize> {
        let first = row / self.group_outputs() * self.group_inputs();
        let place = self.source(position, column % self.taps())?;
        Some((first + column / self.taps()) * self.plane() + place)
    }

    /// The element of a channel's plane that tap `tap` reads at output position `position`, if inside the image.
    pub fn source(&self, position: usize, tap: usize) -> Option<usize> {
        let (width, columns) = (self.extent(1), self.kernel[1]);
        let y = self.source_on(0, position / width, tap / columns)?;
        let x = self.source_on(1, position % width, tap % columns)?;
        Some(y * self.input[2] + x)
    }

    /// The taps along an axis that read inside of the image at output position `at`: a range.
    pub fn taps_inside(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let (dilation, before) = (self.dilation[axis], self.padding[axis][0]);
        let start = at * self.stride[axis];
        let first = before.saturating_sub(start).div_ceil(dilation);
        // start + k·dilation − before < input
        let end = (self.input[axis + 1] + before).saturating_sub(start).div_ceil(dilation);
        let end = end.min(self.kernel[axis]);
        first.min(end)..end
    }

    /// The output positions along an axis whose tap `k` reads inside of the image: a range.
    pub fn covered(&self, axis: usize, k: usize) -> std::ops::Range<usize> {
        let (stride, before) = (self.stride[axis], self.padding[axis][0]);
        let offset = k * self.dilation[axis];
        let first = before.saturating_sub(offset).div_ceil(stride);
        // at·stride + offset − before < input
        let end = (self.input[axis + 1] + before).saturating_sub(offset).div_ceil(stride);
        let end = end.min(self.extent(axis));
        first.min(end)..end
    }
}

/// Output positions `[from, to)` along height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Rows.
    pub y: (usize, usize),
    /// Columns.
    pub x: (usize, usize),
}

impl Region {
    /// All positions.
    pub fn all(window: &Window) -> Self {
        Region { y: (0, window.extent(0)), x: (0, window.extent(1)) }
    }

    /// The smallest region that holds every position where a channel of `a`, rows of coefficients, is not zero; `None` when
    /// there is none.
    pub fn support<T: Scalar>(window: &Window, a: &[T]) -> Option<Self> {
        let (height, width) = (window.extent(0), window.extent(1));
        let all = Region::all(window);
        let mut found: Option<Region> = None;
        for (k, row) in a.chunks_exact(width).enumerate() {
            if found == Some(all) {
                break;
            }
            let Some(first) = row.iter().position(|a| *a != T::zero()) else { continue };
            let last = row.iter().rposition(|a| *a != T::zero()).unwrap_or(first) + 1;
            let y = k % height;
            let region = found.get_or_insert(Region { y: (y, y + 1), x: (first, last) });
            region.y = (region.y.0.min(y), region.y.1.max(y + 1));
            region.x = (region.x.0.min(first), region.x.1.max(last));
        }
        found
    }

    /// Rows of positions.
    pub fn height(&self) -> usize {
        self.y.1 - self.y.0
    }

    /// Positions of a row.
    pub fn width(&self) -> usize {
        self.x.1 - self.x.0
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.height() * self.width()
    }

    /// The smallest region that holds both.
    #[must_use]
    pub fn union(&self, other: &Region) -> Self {
        let around = |a: (usize, usize), b: (usize, usize)| (a.0.min(b.0), a.1.max(b.1));
        Region { y: around(self.y, other.y), x: around(self.x, other.x) }
    }

    /// The positions of this region in every channel of `a`, one after the other.
    pub fn crop<T: Scalar>(&self, window: &Window, a: &[T], out: &mut Vec<T>) {
        out.clear();
        self.append([window.extent(0), window.extent(1)], a, out);
    }

    /// Appends to `out` the positions of this region in every plane of `[height, width]` numbers.
    pub fn append<T: Copy>(&self, [height, width]: [usize; 2], planes: &[T], out: &mut Vec<T>) {
        let Region { y, x } = *self;
        for plane in planes.chunks_exact(height * width) {
            let rows = plane[y.0 * width..y.1 * width].chunks_exact(width);
            rows.for_each(|row| out.extend_from_slice(&row[x.0..x.1]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_a_region_reads_what_its_positions_read() {
        for (stride, dilation, padding) in [(1, 1, [1, 2]), (2, 1, [1, 1]), (3, 2, [2, 0]), (2, 3, [0, 5])] {
            let window = Window {
                stride: [stride; 2],
                dilation: [dilation; 2],
                padding: [padding; 2],
                ..Window::new([1, 9, 11], 1, [3, 2])
            };
            for (from, to) in
                (0..window.extent(0)).flat_map(|from| (from + 1..=window.extent(0)).map(move |to| (from, to)))
            {
                let region = Region { y: (from, to), x: (1, window.extent(1)) };
                let (Some(read), Some(own)) = (window.read_by(region), window.of_region(region)) else {
                    let padding_only = (from..to).all(|y| window.taps_inside(0, y).is_empty());
                    assert!(padding_only, "{window:?} {region:?}");
                    continue;
                };
                assert_eq!(own.defect(), None);
                assert_eq!(own.output(), [1, to - from, window.extent(1) - 1]);
                for position in 0..own.positions() {
                    let (y, x) = (position / own.extent(1), position % own.extent(1));
                    let of_whole = (y + from) * window.extent(1) + x + 1;
                    for tap in 0..window.taps() {
                        let moved = own.source(position, tap).map(|at| {
                            let (y, x) = (at / own.input[2], at % own.input[2]);
                            (y + read.y.0) * window.input[2] + x + read.x.0
                        });
                        assert_eq!(moved, window.source(of_whole, tap), "{window:?} {region:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn covered_positions_are_those_with_a_source() {
        for (stride, dilation, padding) in [(1, 1, [0, 0]), (2, 1, [1, 1]), (3, 2, [2, 0]), (2, 3, [0, 5])] {
            let window = Window {
                stride: [stride; 2],
                dilation: [dilation; 2],
                padding: [padding; 2],
                ..Window::new([1, 9, 11], 1, [3, 2])
            };
            assert_eq!(window.defect(), None);
            for axis in 0..2 {
                for at in 0..window.extent(axis) {
                    let taps = window.taps_inside(axis, at);
                    for k in 0..window.kernel[axis] {
                        assert_eq!(window.source_on(axis, at, k).is_some(), taps.contains(&k));
                    }
                }
                for k in 0..window.kernel[axis] {
                    let covered = window.covered(axis, k);
                    for at in 0..window.extent(axis) {
                        let inside = window.source_on(axis, at, k).is_some();
                        assert_eq!(inside, covered.contains(&at), "{window:?} axis {axis} tap {k} at {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn impossible_windows_are_described() {
        let window = Window::new([4, 5, 5], 6, [3, 3]);
        assert_eq!(window.defect(), None);
        assert_eq!(window.output(), [6, 3, 3]);
        assert!(Window { groups: 3, ..window.clone() }.defect().unwrap().contains("divide 4 input"));
        assert!(Window { kernel: [6, 1], ..window.clone() }.defect().unwrap().contains("fits into 5"));
        assert!(Window { stride: [0, 1], ..window.clone() }.defect().is_some());
        assert!(Window { dilation: [usize::MAX, 1], ..window.clone() }.defect().is_some());
        assert!(Window { padding: [[usize::MAX / 2; 2]; 2], ..window }.defect().is_some());
    }
}
