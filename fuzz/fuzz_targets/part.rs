//! Bytes of a part of a run, as JSON, Parquet or a journal: `merge` reads it from a file. The same bytes as an answer about regions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{env, fs, process};
use weightproof::exact::cover::Cover;
use weightproof_run::divide::Answer;
use weightproof_run::merge::{AnyMerged, merge};

fuzz_target!(|bytes: &[u8]| {
    let path = env::temp_dir().join(format!("weightproof-part-{}", process::id()));
    fs::write(&path, bytes).expect("a folder for files");
    let loaded = merge(&[path]).and_then(|merged| match merged {
        AnyMerged::Certify(merged) => merged.load().map(drop),
        AnyMerged::Exact(merged) => merged.load().map(drop),
        AnyMerged::Noise(merged) => merged.load().map(drop),
        AnyMerged::Attack(merged) => merged.load().map(drop),
        AnyMerged::Draws(merged) => merged.load().map(drop),
        AnyMerged::Radius(merged) => merged.load().map(drop),
        AnyMerged::ExactRadius(merged) => merged.load().map(drop),
        AnyMerged::Faults(merged) => merged.load().map(drop),
        AnyMerged::Measure(_) => Ok(()),
    });
    if let Err(error) = loaded {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes) {
        let mut cover = Cover::default();
        if cover.take(vec![answer.searched]).is_ok() {
            assert!(cover.groups(3).len() <= 3);
        }
    }
});
