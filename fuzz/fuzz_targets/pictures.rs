//! Bytes of a PNG or JPEG file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weightproof_formats::data::decode_picture;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(([channels, height, width], values)) = decode_picture(bytes) {
        assert_eq!(values.len(), channels * height * width);
        assert!(values.iter().all(|v| (0.0..=255.0).contains(v)));
    }
});
