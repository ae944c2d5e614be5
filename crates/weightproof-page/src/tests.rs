use crate::Page;
use weightproof_report::reading::read;
use weightproof_testkit::damage::damaged;

/// A short fuzz: what is read of a damaged result becomes a page.
#[test]
fn every_result_that_is_read_becomes_a_page() {
    let whole = include_str!("../../weightproof-cli/tests/results/certify-several.json");
    let read: Vec<_> = damaged(whole, 2000).filter_map(|bytes| read("r.json", &bytes).ok()).collect();
    assert!(read.len() > 50, "{} are read", read.len());
    for loaded in read {
        assert!(Page::new(&[loaded]).html().contains("</html>"));
    }
}
