//! Damaged texts for parsers: a short fuzz with a fixed seed that runs on stable Rust.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Pieces that mean something in JSON and TOML, or nothing.
const PIECES: [&str; 20] = [
    "{",
    "}",
    "[",
    "]",
    "[[",
    ",",
    ":",
    "=",
    "\"",
    "\n",
    "null",
    "true",
    "-1",
    "1e999",
    "-0.0",
    "nan",
    "18446744073709551616",
    "\\u0000",
    "\u{feff}",
    "é",
];

/// `count` texts that are `text` with a few pieces changed, cut, repeated or moved; not always UTF-8.
pub fn damaged(text: &str, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(18);
    (0..count).map(move |_| {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..=3) {
            damage(&mut bytes, &mut rng);
        }
        bytes
    })
}

fn damage(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.random_range(0..bytes.len());
    let end = at + rng.random_range(1..=16.min(bytes.len() - at));
    let piece = PIECES[rng.random_range(0..PIECES.len())].bytes();
    match rng.random_range(0..7) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random_range(b'0'..=b'9'),
        2 => drop(bytes.splice(at..at, piece)),
        3 => drop(bytes.splice(at..end, piece)),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let copied = bytes[at..end].to_vec();
            let to = rng.random_range(0..=bytes.len());
            bytes.splice(to..to, copied);
        }
        // Seldom, as little is left to read.
        _ if rng.random_bool(0.2) => bytes.truncate(at),
        _ => {}
    }
}
