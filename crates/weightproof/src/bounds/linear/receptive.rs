//! Receptive fields: what a tile of an image depends on, as a network of its own.
//!
//! A row that starts at one position of an image has coefficients at few positions of the images before it, and its pass is that of a
//! smaller network: the same kernels on windows that are cut to what is read. So the rows of all samples that start in one tile share
//! a pass through narrow nodes, and products as large as those of whole images.
//!
//! ```text
//! tile of a node → regions of the nodes that it reads → Field: steps, radii → boxes of some samples, cut → Backward
//! ```
//! # Guarantee
//! The elements of the tile are the same functions of the same parameters in both networks, and a box of a node holds for some of its
//! elements: what bounds the one bounds the other. Tiles depend on the network and on what moves, never on samples or threads.

use super::super::rounding::{Sums, sums};
use super::super::{Block, Bounds, State, States};
use super::propagate::{Backward, Reach, Row};
use super::relax::Relaxed;
use crate::kernels::{Matrix, Region, Scalar, Window};
use crate::memory::work;
use crate::model::{Affine, Link, Model, Radii, Rounding, Step};
use crate::network::Gather;
use crate::property::SpecRow;
use rayon::prelude::*;

/// Cutting the boxes and lines of a sample costs about as much as this many rows.
const ROWS_OF_A_SAMPLE: usize = 8;
/// Fields that save less than this part of the work are not worth it.
const WORTH: f64 = 0.8;

/// `(channels, height, width)` of a node that is an image.
type Image = [usize; 3];

/// The tiles of an image whose rows are moved on their own.
pub(super) struct Tiles {
    image: Image,
    side: usize,
    /// Multiply-adds of a row.
    pub work_of_row: u64,
}

/// A node of a field.
struct Place {
    /// The node in the whole network.
    node: usize,
    image: Image,
    /// The positions that are there.
    region: Region,
    /// What the positions are chosen from, where a reader needs fewer than another.
    cut_from: Option<usize>,
    /// Places that are read.
    inputs: Vec<usize>,
    /// Whether passes end here.
    is_end: bool,
}

impl Place {
    fn width(&self) -> usize {
        self.image[0] * self.region.positions()
    }

    /// Multiply-adds of a row of coefficients.
    fn work<T: Scalar>(&self, model: &Model<'_, T>) -> u64 {
        let is_passed = !self.is_end && self.cut_from.is_none();
        if is_passed { work(&model.network.nodes()[self.node].layer, self.width()) } else { 0 }
    }
}

/// The network of a tile: its nodes, the tile last.
struct Field<'n, T> {
    places: Vec<Place>,
    model: Model<'n, T>,
    radii: Radii<T>,
}

impl Tiles {
    /// The tiles of node `start`, where passes through fields are cheaper than whole ones.
    pub fn of<T: Scalar>(states: &States<'_, T>, start: usize) -> Option<Self> {
        let prepared = states.prepared();
        let image = image(prepared.model, start)?;
        let [channels, height, width] = image;
        let cost = |places: &[Place], rows: f64| places.iter().map(Place::width).sum::<usize>() as f64 * rows;
        let whole = places(states, start, Region { y: (0, height), x: (0, width) })?;
        let sides = (0..).map(|k| 1_usize << k).take_while(|side| *side < height.max(width));
        let of_side = |side: usize| {
            // In the middle, where nothing is cut off by a border.
            let middle = |extent: usize| {
                let from = extent.saturating_sub(side) / 2;
                (from, extent.min(from + side))
            };
            let region = Region { y: middle(height), x: middle(width) };
            let rows = channels as f64 + ROWS_OF_A_SAMPLE as f64 / region.positions() as f64;
            let places = places(states, start, region)?;
            let work_of_row = places.iter().map(|place| place.work(prepared.model)).sum();
            Some((cost(&places, rows), Tiles { image, side, work_of_row }))
        };
        let (least, tiles) = sides.filter_map(of_side).min_by(|a, b| a.0.total_cmp(&b.0))?;
        (least < WORTH * cost(&whole, channels as f64)).then_some(tiles)
    }

    /// Bounds of rows of single elements of node `start`: see [`Backward::by_fields`].
    ///
    /// # Panics
    /// When a row is of two elements, or none.
    pub fn bounds<T: Scalar, F>(
        &self,
        pass: &Backward<'_, T>,
        start: usize,
        rows: &[Row],
        bound: &F,
    ) -> Vec<T>
    where
        F: Fn(&Backward<'_, T>, usize, &[Row], &[usize]) -> Vec<T> + Sync,
    {
        let [_, height, width] = self.image;
        let across = width.div_ceil(self.side);
        let mut of_tile: Vec<Vec<usize>> = vec![Vec::new(); across * height.div_ceil(self.side)];
        for (r, (_, row)) in rows.iter().enumerate() {
            let position = row.plus.xor(row.minus).expect("rows of one element") % (height * width);
            of_tile[position / width / self.side * across + position % width / self.side].push(r);
        }
        let of_rows = |(tile, which): (usize, &Vec<usize>)| {
            if which.is_empty() {
                return Vec::new();
            }
            let along = |k: usize, extent: usize| (k * self.side, extent.min((k + 1) * self.side));
            let region = Region { y: along(tile / across, height), x: along(tile % across, width) };
            let rows: Vec<Row> = which.iter().map(|&r| rows[r]).collect();
            // At a border tiles may read nothing but padding.
            match Field::new(pass, start, region) {
                Some(field) => field.bounds(pass, (&rows, which), bound),
                None => bound(pass, start, &rows, which),
            }
        };
        let found: Vec<Vec<T>> = if pass.block.divided {
            of_tile.par_iter().enumerate().map(of_rows).collect()
        } else {
            of_tile.iter().enumerate().map(of_rows).collect()
        };
        let mut bounds = vec![T::neg_infinity(); rows.len()];
        for (&r, &bound) in of_tile.iter().flatten().zip(found.iter().flatten()) {
            bounds[r] = bound;
        }
        bounds
    }
}

impl<'n, T: Scalar> Field<'n, T> {
    /// The field of a tile; `None` where [`places`] finds none.
    fn new(pass: &Backward<'n, T>, start: usize, region: Region) -> Option<Self> {
        let prepared = pass.block.prepared;
        let places = places(pass.states, start, region)?;
        let step = |place: &Place| step(prepared.model, &places, place);
        let steps: Vec<Step<T>> = places.iter().map(step).collect();
        let link = |place: &Place| Link::new(&place.inputs, place.width());
        let links = places.iter().map(link).collect();
        let model = Model::of_steps(prepared.model.network, steps, links);
        let whole = prepared.radii;
        let own = |place: &&Place| !place.is_end && place.cut_from.is_none();
        let layer =
            |place: &Place| Some(place).filter(own).and_then(|place| whole.layers[place.node].clone());
        let rounding = |place: &Place| {
            Some(place).filter(own).map_or_else(Rounding::default, |place| whole.roundings[place.node])
        };
        let radii = Radii {
            layers: places.iter().map(layer).collect(),
            roundings: places.iter().map(rounding).collect(),
            set: whole.set.clone(),
        };
        Some(Field { places, model, radii })
    }

    /// Bounds of `rows` of the whole network, whose elements are in the tile.
    fn bounds<F>(&self, pass: &Backward<'_, T>, (rows, which): (&[Row], &[usize]), bound: &F) -> Vec<T>
    where
        F: Fn(&Backward<'_, T>, usize, &[Row], &[usize]) -> Vec<T> + Sync,
    {
        let (whole, tile) = (pass.states, &self.places[self.places.len() - 1]);
        let mut samples: Vec<usize> = rows.iter().map(|(s, _)| *s).collect();
        samples.sort_unstable();
        samples.dedup();
        let is_independent = |place: &Place| place.cut_from.is_none() && whole.is_independent(place.node);
        let independent = self.places.iter().map(is_independent).collect();
        let prepared = pass.block.prepared.part(&self.model, &self.radii, independent);
        let cut = |place: &Place, m: &Matrix<T>| cut(m, &samples, place);
        let cut_bounds = |place: &Place, of: &Bounds<T>| Bounds {
            lower: cut(place, &of.lower),
            upper: cut(place, &of.upper),
        };
        // No pass reads other values than these.
        let value = |place: &Place| {
            let is_read = pass.block.fixed[place.node].is_some();
            if is_read { cut(place, whole.value(place.node)) } else { Matrix::zeros(samples.len(), 0) }
        };
        let fixed = |place: &Place| pass.block.fixed[place.node].as_ref().map(|of| cut_bounds(place, of));
        let values: Vec<Matrix<T>> = self.places.iter().map(value).collect();
        let fixed: Vec<Option<Bounds<T>>> = self.places.iter().map(fixed).collect();
        let block = Block { prepared: &prepared, values: &values, fixed: &fixed, ..*pass.block };
        let mut states = States::of_part(&block);
        let last = self.places.len() - 1;
        for (k, place) in self.places[..last].iter().enumerate() {
            let state = match whole.state(place.node) {
                State::Fixed => State::Fixed,
                State::Box(bounds) => State::Box(cut_bounds(place, bounds)),
            };
            let sums = self.sums(whole, (&block, &states), k, &samples);
            states.push_known(state, sums, samples.iter().map(|&s| whole.size(place.node, s)).collect());
        }
        let sums = self.sums(whole, (&block, &states), last, &samples);
        states.push_sums(sums);
        let relaxed: Vec<Option<Relaxed<T>>> = (0..last).map(|k| Relaxed::new(&block, &states, k)).collect();
        let within = |i: usize| {
            let (plane, across) = (tile.image[1] * tile.image[2], tile.image[2]);
            let (channel, position) = (i / plane, i % plane);
            let (y, x) = (position / across - tile.region.y.0, position % across - tile.region.x.0);
            channel * tile.region.positions() + y * tile.region.width() + x
        };
        let row = |(s, row): &Row| {
            let own = samples.binary_search(s).expect("the samples of all rows");
            (own, SpecRow { plus: row.plus.map(within), minus: row.minus.map(within) })
        };
        let rows: Vec<Row> = rows.iter().map(row).collect();
        bound(&Backward::new(&block, &states, Reach::Input(&relaxed), pass.sharing), last, &rows, which)
    }

    /// What rounding in the step through place `k` is charged by.
    fn sums(
        &self,
        whole: &States<'_, T>,
        (block, states): (&Block<'_, T>, &States<'_, T>),
        k: usize,
        samples: &[usize],
    ) -> Option<Sums<T>> {
        let place = &self.places[k];
        if place.cut_from.is_some() {
            return sums(block, states, k);
        }
        let of_whole = whole.sums(place.node).filter(|_| !place.is_end)?;
        Some(Sums {
            terms: cut(&of_whole.terms, samples, place),
            uses: of_whole.uses.as_ref().map(|uses| cut(uses, samples, place)),
            underflow: samples.iter().map(|&s| of_whole.underflow[s]).collect(),
        })
    }
}

/// `(channels, height, width)` of node `index`, if it is an image.
fn image<T: Scalar>(model: &Model<'_, T>, index: usize) -> Option<Image> {
    model.network.nodes()[index].shape.as_slice().try_into().ok()
}

/// The samples of a node of the whole network, cut to a place.
fn cut<T: Scalar>(m: &Matrix<T>, samples: &[usize], place: &Place) -> Matrix<T> {
    let mut data = Vec::with_capacity(samples.len() * place.width());
    let [_, height, width] = place.image;
    samples.iter().for_each(|&s| place.region.append([height, width], m.row(s), &mut data));
    Matrix::from_vec(samples.len(), place.width(), data)
}

/// The numbers of an image at the positions of a region.
fn pick<T: Copy>(numbers: &[T], [channels, height, width]: Image, region: Region) -> Vec<T> {
    let mut picked = Vec::with_capacity(channels * region.positions());
    region.append([height, width], numbers, &mut picked);
    picked
}

/// The nodes that a region of node `start` depends on, the input of the network first; `None` where they are not images, or where a node
/// reads more of an image than a region.
fn places<T: Scalar>(states: &States<'_, T>, start: usize, region: Region) -> Option<Vec<Place>> {
    let model = states.prepared().model;
    let mut needed: Vec<Option<Region>> = vec![None; start + 1];
    let mut edges: Vec<(usize, usize, Region)> = Vec::new();
    needed[start] = Some(region);
    for node in (0..=start).rev() {
        let Some(region) = needed[node].filter(|_| !is_end(states, node)) else { continue };
        // What is read, and of which image.
        let (read, of) = match &model.steps[node] {
            Step::Affine(Affine { window: Some(window), .. })
            | Step::MaxPool(window)
            | Step::AveragePool { window, .. } => (window.read_by(region)?, window.input),
            Step::Scale { .. } | Step::Activation(_) | Step::Add | Step::Multiply => {
                (region, image(model, node)?)
            }
            Step::Affine(_) | Step::Input | Step::DynamicQuantize(_) | Step::Gather(_) | Step::Reshape => {
                return None;
            }
        };
        for &input in model.inputs_of(node) {
            // Nodes of one width may be images of other shapes.
            if image(model, input) != Some(of) {
                return None;
            }
            edges.push((node, input, read));
            needed[input] = Some(needed[input].map_or(read, |other| other.union(&read)));
        }
    }
    let mut places: Vec<Place> = Vec::new();
    // For each node its place, and those of the parts that single readers need.
    let mut found: Vec<Vec<(Region, usize)>> = vec![Vec::new(); start + 1];
    for node in 0..=start {
        let nothing = (node == 0).then_some(Region { y: (0, 0), x: (0, 0) });
        let Some(region) = needed[node].or(nothing) else { continue };
        let is_end = is_end(states, node);
        let read = |input: &usize| {
            let (.., region) = edges.iter().find(|(reader, read, _)| (*reader, *read) == (node, *input))?;
            found[*input].iter().find(|(of, _)| of == region).map(|(_, place)| *place)
        };
        let inputs = if is_end {
            Vec::new()
        } else {
            model.inputs_of(node).iter().map(read).collect::<Option<_>>()?
        };
        let image = image(model, node).unwrap_or([0, 1, 1]);
        found[node].push((region, places.len()));
        places.push(Place { node, image, region, cut_from: None, inputs, is_end });
        let whole = places.len() - 1;
        for (.., part) in edges.iter().filter(|(_, read, _)| *read == node) {
            if found[node].iter().all(|(of, _)| of != part) {
                found[node].push((*part, places.len()));
                places.push(Place {
                    node,
                    image,
                    region: *part,
                    cut_from: Some(whole),
                    inputs: vec![whole],
                    is_end: false,
                });
            }
        }
    }
    Some(places)
}

/// Whether passes end at node `index`, with nothing but its box.
fn is_end<T: Scalar>(states: &States<'_, T>, index: usize) -> bool {
    let model = states.prepared().model;
    // What a layer with a fixed input adds follows from what it reads.
    let is_layer = model.affine_of(index).is_some();
    let is_input = matches!(model.steps[index], Step::Input);
    is_input || states.is_fixed(index) || (!is_layer && states.is_independent(index))
}

/// The step of a place.
fn step<T: Scalar>(model: &Model<'_, T>, places: &[Place], place: &Place) -> Step<T> {
    if let Some(of) = place.cut_from {
        let of = &places[of];
        let within = |(from, to): (usize, usize), first: usize| (from - first, to - first);
        let (y, x) = (within(place.region.y, of.region.y.0), within(place.region.x, of.region.x.0));
        let image = [of.image[0], of.region.height(), of.region.width()];
        let elements: Vec<Option<usize>> = (0..of.width()).map(Some).collect();
        return Step::Gather(Gather { source: pick(&elements, image, Region { y, x }), constant: 0.0 });
    }
    if place.is_end {
        return Step::Input;
    }
    let of_region = |window: &Window| window.of_region(place.region).expect("its field was found");
    match &model.steps[place.node] {
        Step::Affine(layer) => {
            Step::Affine(Affine { window: layer.window.as_ref().map(of_region), ..layer.clone() })
        }
        Step::Scale { scale, shift } => {
            let numbers = |all: &[T]| pick(all, place.image, place.region);
            Step::Scale { scale: numbers(scale), shift: numbers(shift) }
        }
        Step::MaxPool(window) => Step::MaxPool(of_region(window)),
        Step::AveragePool { window, factor } => {
            let factor = pick(factor, [1, place.image[1], place.image[2]], place.region);
            Step::AveragePool { window: of_region(window), factor }
        }
        Step::Activation(f) => Step::Activation(*f),
        Step::Add => Step::Add,
        Step::Multiply => Step::Multiply,
        Step::Input | Step::DynamicQuantize(_) | Step::Gather(_) | Step::Reshape => {
            unreachable!("places are images")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::propagate::{RowBound, Sharing};
    use super::super::{Intermediate, Linear};
    use super::*;
    use crate::bounds::Prepared;
    use crate::network::{Activation, Network, NetworkBuilder, Scale};
    use crate::threat::{Kind, ThreatModel};
    use crate::verdict::Guarantee;

    fn wave(i: usize, phase: f64) -> f64 {
        (1.7 * i as f64 + phase).sin()
    }

    /// Joins that read different regions of one node, with and without a convolution, pooling of both kinds, factors, groups, a product.
    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![2, 7, 6]);
        let conv = |builder: &mut NetworkBuilder, input: usize, window: Window| {
            let (rows, patch) = (window.channels, window.patch());
            let weight = Matrix::from_fn(rows, patch, |i, j| {
                wave(i * patch + j, input as f64) / (patch as f64).sqrt()
            });
            builder.conv(&format!("conv{}", builder.last()), input, weight, vec![0.1; rows], window).unwrap()
        };
        let same =
            |channels: usize| Window { padding: [[1, 1]; 2], ..Window::new([channels, 7, 6], 4, [3, 3]) };
        let numbers = |n: usize, phase: f64| (0..n).map(|i| 1.0 + 0.3 * wave(i, phase)).collect();
        let factors = |n: usize| Scale { scale: numbers(n, 0.1), shift: numbers(n, 0.7), divisor: None };
        let scaled = builder.scale("scale", 0, factors(84)).unwrap();
        let first = conv(&mut builder, scaled, same(2));
        let z = builder.activation("relu0", first, Activation::Relu).unwrap();
        let inner = conv(&mut builder, z, same(4));
        let inner = builder.activation("relu1", inner, Activation::Relu).unwrap();
        let inner = conv(&mut builder, inner, Window { groups: 2, ..same(4) });
        let sum = builder.add("sum", vec![inner, z]).unwrap();
        let z = builder.activation("relu2", sum, Activation::Sigmoid).unwrap();
        let z = builder.scale("scale2", z, factors(168)).unwrap();
        let half = Window { stride: [2; 2], ..same(4) };
        let main = conv(&mut builder, z, half.clone());
        let short = conv(&mut builder, z, Window { kernel: [1; 2], padding: [[0; 2]; 2], ..half });
        let gate = builder.activation("gate", short, Activation::Sigmoid).unwrap();
        let gated = builder.multiply("gated", [main, gate]).unwrap();
        let sum = builder.add("sum2", vec![gated, short]).unwrap();
        let pooling = Window { padding: [[1, 0]; 2], ..Window::pooling([4, 4, 3], [2, 2]) };
        let most = builder.max_pool("most", sum, pooling.clone()).unwrap();
        let mean = builder.average_pool("mean", sum, pooling, false).unwrap();
        let sum = builder.add("sum3", vec![most, mean]).unwrap();
        let z = builder.activation("relu3", sum, Activation::Relu).unwrap();
        let last =
            conv(&mut builder, z, Window { padding: [[1, 1]; 2], ..Window::new([4, 4, 3], 3, [3, 3]) });
        let z = builder.activation("relu4", last, Activation::Relu).unwrap();
        builder.dense("out", z, Matrix::from_fn(2, 36, |i, j| wave(i * 36 + j, 0.5)), vec![0.0; 2]).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn a_field_bounds_as_the_whole_network_does() {
        let network = network();
        let model = Model::<f64>::new(&network);
        let mut compared = 0;
        for (kind, input_radius, activation_radius) in [
            (Kind::Absolute, 0.0, 0.0),
            (Kind::Relative, 0.0, 0.01),
            (Kind::Absolute, 0.02, 0.0),
            (Kind::Frobenius, 0.0, 0.0),
            (Kind::RowBall, 0.01, 0.0),
        ] {
            let threat = ThreatModel { input_radius, activation_radius, ..ThreatModel::new(kind, 0.01) };
            let set = threat.resolve(&network).unwrap();
            let radii = Radii::new(&set, network.nodes().len());
            let prepared = Prepared::new(&model, &radii, Guarantee::RealArithmetic);
            let values = model.forward(Matrix::from_fn(3, 84, |s, j| 0.5 + 0.4 * wave(j, s as f64)));
            let fixed = prepared.enclosed(&values);
            let block =
                Block { prepared: &prepared, values: &values, fixed: &fixed, divided: true, quantiles: None };
            let (states, relaxed) = Linear { intermediate: Intermediate::Interval }.analysis(&block);
            for (start, sharing) in
                (0..network.output()).flat_map(|n| [(n, Sharing::Shared), (n, Sharing::PerUse)])
            {
                let image = image(&model, start).filter(|_| !network.nodes()[start].layer.is_nonlinear());
                // Not the first sample.
                let elements =
                    (0..model.width(start)).flat_map(|i| [(1, SpecRow::lower(i)), (2, SpecRow::upper(i))]);
                let mut rows: Vec<Row> = elements.collect();
                rows.sort_by_key(|(s, _)| *s);
                let pass = Backward::new(&block, &states, Reach::Input(&relaxed), sharing);
                let Some(image) = image.filter(|_| !pass.ends_at(start, false)) else { continue };
                let whole = pass.rows(start, &rows);
                let ascended = |pass: &Backward<'_, f64>, start: usize, rows: &[Row], _: &[usize]| {
                    let mut found = vec![RowBound::nothing(); rows.len()];
                    pass.ascend(start, (rows, None), &mut found, 3, f64::INFINITY);
                    found.into_iter().map(|bound| bound.lower).collect::<Vec<f64>>()
                };
                let (some, best) = (&rows[..8], ascended(&pass, start, &rows[..8], &[]));
                let of_tiles = Tiles { image, side: 2, work_of_row: 0 }.bounds(&pass, start, some, &ascended);
                for (tile, whole) in of_tiles.iter().zip(&best) {
                    assert!(
                        (tile - whole).abs() < 1e-9,
                        "{kind:?} {start} {sharing:?}: {tile} {whole}, ascended"
                    );
                }
                for side in [1, 2, 3] {
                    let tiles = Tiles { image, side, work_of_row: 0 };
                    let of_tiles =
                        tiles.bounds(&pass, start, &rows, &|pass, start, rows, _| pass.rows(start, rows));
                    for (tile, whole) in of_tiles.iter().zip(&whole) {
                        assert!(
                            (tile - whole).abs() < 1e-9,
                            "{kind:?} {start} {sharing:?} {side}: {tile} {whole}"
                        );
                    }
                    compared += of_tiles.len();
                }
            }
        }
        assert!(compared > 30_000, "{compared} bounds");
    }

    /// A sum of as many elements in another order of rows and columns has no field.
    #[test]
    fn images_of_other_shapes_are_not_cut() {
        for inner in [[1, 4, 3], [1, 3, 4]] {
            let mut builder = NetworkBuilder::new(vec![1, 4, 3]);
            let point = |input: [usize; 3]| Window::new(input, 1, [1, 1]);
            let one = || Matrix::from_vec(1, 1, vec![1.0]);
            let first = builder.conv("first", 0, one(), Vec::new(), point([1, 4, 3])).unwrap();
            let z = builder.activation("relu", first, Activation::Relu).unwrap();
            let other = builder.conv("other", z, one(), Vec::new(), point(inner)).unwrap();
            let sum = builder.add("sum", vec![z, other]).unwrap();
            builder.dense("out", sum, Matrix::zeros(2, 12), Vec::new()).unwrap();
            let network = builder.finish().unwrap();
            let set = ThreatModel::new(Kind::Absolute, 0.1).resolve(&network).unwrap();
            let (model, radii) = (Model::<f64>::new(&network), Radii::new(&set, network.nodes().len()));
            let prepared = Prepared::new(&model, &radii, Guarantee::RealArithmetic);
            let values = model.forward(Matrix::from_fn(1, 12, |_, j| wave(j, 0.1)));
            let fixed = prepared.enclosed(&values);
            let block =
                Block { prepared: &prepared, values: &values, fixed: &fixed, divided: true, quantiles: None };
            let (states, _) = Linear { intermediate: Intermediate::Interval }.analysis(&block);
            let corner = Region { y: (0, 1), x: (0, 1) };
            assert_eq!(places(&states, sum, corner).is_some(), inner == [1, 4, 3]);
        }
    }
}
