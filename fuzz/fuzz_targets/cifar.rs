//! Bytes of a CIFAR-10 or CIFAR-100 file.
#![no_main]

mod drain;

use drain::drain;
use libfuzzer_sys::fuzz_target;
use weightproof_formats::data::{CifarKind, CifarReader};

fuzz_target!(|bytes: &[u8]| {
    for kind in [CifarKind::Cifar10, CifarKind::Cifar100] {
        let _ = drain(CifarReader::new(bytes, kind, Some(bytes.len() as u64)));
        let _ = drain(CifarReader::new(bytes, kind, None));
    }
});
