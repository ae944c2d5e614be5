use super::*;

fn side(element: usize, above: bool) -> Side {
    Side { node: 1, element, value: 0.25, above }
}

fn open(sides: &[Side], lower: f64) -> Region {
    Region { sides: sides.to_vec(), open: Some(vec![RowLower::new(0, lower)]), exhausted: false }
}

fn answer(asked: &[Region], regions: &[Region], lower: f64) -> Searched {
    Searched {
        asked: asked.to_vec(),
        regions: regions.to_vec(),
        lower: vec![RowLower::new(0, lower)],
        found: None,
        broken: false,
        reason: Some(Reason::NodeLimit),
        nodes: 1,
        seconds: 0.5,
    }
}

/// Element 0 is split, and element 2 where it is above.
fn three() -> [Region; 3] {
    let (low, high) = (side(0, false), side(0, true));
    [open(&[low], -1.0), open(&[high, side(2, false)], -3.0), open(&[high, side(2, true)], -2.0)]
}

fn divided() -> Cover {
    let mut cover = Cover::default();
    cover.take(vec![answer(&cover.groups(1)[0], &three(), 0.75)]).unwrap();
    cover
}

#[test]
fn the_bound_of_a_row_is_the_least_of_all_regions() {
    let mut cover = divided();
    assert_eq!((cover.lower(0), cover.lower(1)), (-3.0, f64::NEG_INFINITY));
    assert_eq!(cover.reason(), Some(Reason::NodeLimit));
    let groups = cover.groups(2);
    let worst = |group: &Vec<Region>| group.iter().map(Region::worst).collect::<Vec<_>>();
    assert_eq!(groups.iter().map(worst).collect::<Vec<_>>(), [vec![-3.0, -1.0], vec![-2.0]]);
    let proved = |group: &Vec<Region>| -> Vec<Region> {
        group.iter().map(|region| Region::proved(region.sides.clone())).collect()
    };
    let answers = [0.25, 0.5].into_iter().zip(&groups).map(|(lower, g)| answer(g, &proved(g), lower));
    cover.take(answers.collect()).unwrap();
    assert!(cover.is_settled() && cover.lower(0) == 0.25 && cover.reason().is_none());
    assert_eq!(cover.regions, [Region::proved(Vec::new())], "both sides of proved splits become one");
    assert_eq!((cover.nodes(), cover.seconds()), (3, 1.5));
}

#[test]
fn exhausted_regions_are_not_searched_again() {
    let mut cover = Cover::default();
    let [a, b, c] = three();
    let regions = [Region { exhausted: true, ..a }, Region::proved(b.sides), Region::proved(c.sides)];
    cover.take(vec![answer(&cover.groups(1)[0], &regions, 0.5)]).unwrap();
    assert!(cover.is_settled() && cover.groups(4).is_empty());
    assert_eq!((cover.lower(0), cover.reason()), (-1.0, Some(Reason::Incomplete)));
}

/// Every way in which answers may fail to be a partition is refused by its name, and nothing is taken then.
#[test]
fn lost_duplicated_and_foreign_regions_are_refused() {
    let [a, b, c] = three();
    let stranger = open(&[side(0, true), side(5, true)], -2.0);
    let whole = [Region::whole()];
    let refused = |regions: &[Region]| {
        let mut cover = Cover::default();
        let error = cover.take(vec![answer(&whole, regions, 0.5)]).unwrap_err();
        assert_eq!(cover, Cover::default());
        error
    };
    let is = |error: CoverError, expected: &str| assert!(error.to_string().contains(expected), "{error}");
    is(
        refused(&[a.clone(), b.clone()]),
        "found none for region element 0 of node 1 ≥ 0.25, element 2 of node 1 ≥ 0.25",
    );
    is(refused(&[b.clone(), c.clone()]), "found none for region element 0 of node 1 ≤ 0.25");
    is(refused(&[]), "found none for whole set");
    is(
        refused(&[a.clone(), b.clone(), c.clone(), a.clone()]),
        "found region element 0 of node 1 ≤ 0.25 twice",
    );
    is(refused(&[a.clone(), b.clone(), c.clone(), Region::whole()]), "found whole set twice");
    is(
        refused(&[a.clone(), b.clone(), stranger.clone()]),
        "foreign region element 0 of node 1 ≥ 0.25, element 5",
    );
    let shifted = Region { sides: vec![Side { value: 0.5, ..side(0, true) }], ..a.clone() };
    is(refused(&[a.clone(), shifted]), "foreign region element 0 of node 1 ≥ 0.5");

    // Answers of a round.
    let own =
        |region: &Region| answer(std::slice::from_ref(region), &[Region::proved(region.sides.clone())], 0.5);
    let round = |answers: &[Searched]| {
        let mut cover = divided();
        let taken = cover.take(answers.to_vec());
        assert!(taken.is_ok() || cover == divided());
        taken
    };
    assert_eq!(round(&[own(&a), own(&b), own(&c)]), Ok(()));
    is(
        round(&[own(&a), own(&c)]).unwrap_err(),
        "found none for region element 0 of node 1 ≥ 0.25, element 2 of node 1 ≤",
    );
    is(round(&[own(&a), own(&b), own(&b), own(&c)]).unwrap_err(), "twice");
    is(round(&[own(&a), own(&b), own(&stranger)]).unwrap_err(), "foreign");
    let older = Region { open: Some(Vec::new()), ..c.clone() };
    is(round(&[own(&a), own(&b), own(&older)]).unwrap_err(), "foreign");
    // The region of another one, in the place of its own.
    let swapped = answer(std::slice::from_ref(&b), &[Region::proved(c.sides.clone())], 0.5);
    is(round(&[own(&a), swapped, own(&c)]).unwrap_err(), "foreign");
    let silent = Searched { lower: Vec::new(), ..own(&b) };
    is(round(&[own(&a), silent, own(&c)]).unwrap_err(), "expected a bound of row 0");
}
