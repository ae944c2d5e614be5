//! Bytes of a journal, behind the first line of a run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use weightproof_report::{AttackRecord, CertifyRecord, ExactRecord};
use weightproof_run::entry::Entry;
use weightproof_run::journal::parse;

fuzz_target!(|bytes: &[u8]| {
    let header = "{\"schema\":\"weightproof/journal/1\",\"seed\":1}\n";
    for text in [bytes.to_vec(), [header.as_bytes(), bytes].concat()] {
        check::<CertifyRecord>(&text);
        check::<ExactRecord>(&text);
        check::<AttackRecord>(&text);
    }
});

fn check<R: Entry>(text: &[u8]) {
    match parse::<R>(text, &json!({ "seed": 1 })) {
        Ok(settled) => assert!(settled.len() <= text.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
