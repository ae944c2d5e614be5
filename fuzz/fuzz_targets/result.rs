//! Bytes of a JSON result; one that is accepted must also become a page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weightproof_page::Page;
use weightproof_report::reading::read;

fuzz_target!(|bytes: &[u8]| match read("result.json", bytes) {
    Ok(loaded) => assert!(Page::new(&[loaded]).html().contains("</html>")),
    Err(error) => {
        assert!(!error.to_string().is_empty());
        let _ = error.hint();
    }
});
