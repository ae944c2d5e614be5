//! What the positions of a window read, laid out for products.
//!
//! ```text
//! patches (patch, positions):  X[(c, tap), p] = z[c, source(p, tap)], 0 outside of the image
//! ```

use super::rows::{add, vectorized};
use super::{Region, Scalar, Window};

/// The patches of one group of one image, (patch, positions of a region), in scratch memory.
#[derive(Clone, Debug, Default)]
pub struct Patches<T> {
    data: Vec<T>,
    runs: Runs,
}

impl<T: Scalar> Patches<T> {
    /// All entries, row after row.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    pub(crate) fn resize(&mut self, len: usize) {
        self.data.resize(len, T::zero());
    }

    /// Lays out the patches of `group` of the image `z` at the positions of `region`.
    pub fn unfold(&mut self, window: &Window, group: usize, z: &[T], region: Region) {
        T::unfold(self, window, group, z, region);
    }

    pub(crate) fn unfold_generic(&mut self, window: &Window, group: usize, z: &[T], region: Region) {
        self.resize(window.patch() * region.positions());
        let of_channel = (window.taps() * region.positions()).max(1);
        let runs = self.runs.of(window, region);
        if runs.iter().map(|run| run.count).sum::<usize>() < of_channel {
            self.data.fill(T::zero());
        }
        let inputs = window.group_inputs() * window.plane();
        let planes = z[group * inputs..(group + 1) * inputs].chunks_exact(window.plane());
        for (patches, plane) in self.data.chunks_exact_mut(of_channel).zip(planes) {
            for run in runs {
                let (patches, plane) =
                    (&mut patches[run.patch..run.patch + run.count], &plane[run.element..]);
                if run.stride == 1 {
                    patches.copy_from_slice(&plane[..run.count]);
                } else {
                    let values = plane.iter().step_by(run.stride);
                    patches.iter_mut().zip(values).for_each(|(out, &z)| *out = z);
                }
            }
        }
    }

    /// Adds the patches of some channels onto their planes: the transposed of [`Patches::unfold`].
    pub(crate) fn fold(&mut self, planes: &mut [T], window: &Window, region: Region) {
        let of_channel = (window.taps() * region.positions()).max(1);
        let runs = self.runs.of(window, region);
        let planes = planes.chunks_exact_mut(window.plane());
        vectorized!(|| {
            for (patches, plane) in self.data.chunks_exact(of_channel).zip(planes) {
                for run in runs {
                    let patches = &patches[run.patch..run.patch + run.count];
                    let plane = &mut plane[run.element..];
                    if run.stride == 1 {
                        add(&mut plane[..run.count], patches);
                    } else {
                        for (k, &a) in patches.iter().enumerate() {
                            plane[k * run.stride] += a;
                        }
                    }
                }
            }
        });
    }
}

/// Neighbouring entries of the patches of a channel that read elements of its plane a stride apart.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// First place among the patches of a channel, (taps, positions of the region).
    patch: usize,
    /// First element in the plane of a channel.
    element: usize,
    count: usize,
    stride: usize,
}

/// All runs of a region, in the order of the patches.
#[derive(Clone, Debug, Default)]
struct Runs {
    /// What they were made for.
    of: Option<(Window, Region)>,
    runs: Vec<Run>,
}

impl Runs {
    /// The runs of `region`, made again where they were those of another.
    fn of(&mut self, window: &Window, region: Region) -> &[Run] {
        let is_same = self.of.as_ref().is_some_and(|(of, at)| of == window && *at == region);
        if !is_same {
            self.of = Some((window.clone(), region));
            self.make(window, region);
        }
        &self.runs
    }

    fn make(&mut self, window: &Window, region: Region) {
        self.runs.clear();
        for tap in 0..window.taps() {
            let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
            let (from, to) = clipped(window, 1, kx, region.x);
            for y in (region.y.0..region.y.1).filter(|_| from < to) {
                let Some(source) = window.source_on(0, y, ky) else { continue };
                let patch = tap * region.positions() + (y - region.y.0) * region.width() + from - region.x.0;
                let element = source * window.input[2] + source_x(window, from, kx);
                let count = to - from;
                let stride = if count == 1 { 1 } else { window.stride[1] };
                // Where a row has one position, neighbouring taps read neighbouring elements.
                match self.runs.last_mut() {
                    Some(last)
                        if last.stride == 1
                            && stride == 1
                            && last.patch + last.count == patch
                            && last.element + last.count == element =>
                    {
                        last.count += count;
                    }
                    _ => self.runs.push(Run { patch, element, count, stride }),
                }
            }
        }
    }
}

/// The positions of `range` whose tap reads inside of the image.
fn clipped(window: &Window, axis: usize, tap: usize, range: (usize, usize)) -> (usize, usize) {
    let covered = window.covered(axis, tap);
    let from = covered.start.clamp(range.0, range.1);
    (from, covered.end.clamp(from, range.1))
}

/// The column of the image that column `kx` of the kernel reads at output column `x`.
pub(crate) fn source_x(window: &Window, x: usize, kx: usize) -> usize {
    x * window.stride[1] + kx * window.dilation[1] - window.padding[1][0]
}
