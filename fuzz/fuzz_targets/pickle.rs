//! Bytes of a batch of CIFAR as Python pickles it.
#![no_main]

mod drain;

use drain::drain;
use libfuzzer_sys::fuzz_target;
use weightproof_formats::data::read_cifar_pickle;

fuzz_target!(|bytes: &[u8]| {
    let _ = drain(read_cifar_pickle(bytes));
});
