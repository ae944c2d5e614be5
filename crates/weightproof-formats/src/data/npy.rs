//! NPY, the format of one NumPy array, versions 1.0 to 3.0.
//!
//! ```text
//! \x93NUMPY major minor | length of the header, u16 or u32 little endian | {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } | numbers
//! ```
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use super::array::{ArrayReader, Header};
use super::element::Element;
use super::source::{Source, read_full};
use crate::error::DataError;

/// First bytes of every NPY file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that is read; NumPy itself refuses more than 10,000 bytes.
const MAX_HEADER: usize = 1 << 16;

/// Most axes that NumPy allows.
const MAX_RANK: usize = 64;

impl<R: Source> ArrayReader<R> {
    /// Reads the header of an NPY stream, `len` bytes long where that is known.
    ///
    /// # Errors
    /// No NPY header, a type that is no number, Fortran order, a size that does not fit the length, no samples.
    pub fn npy(mut source: R, len: Option<u64>) -> Result<Self, DataError> {
        let start = read(&mut source, 8)?;
        if !start.starts_with(MAGIC) || start.len() < 8 {
            return Err(DataError::new(
                "first bytes",
                "\\x93NUMPY and a version",
                start.escape_ascii().to_string(),
            ));
        }
        let size_bytes = match start[6] {
            1 => 2,
            2 | 3 => 4,
            version => {
                return Err(DataError::new("NPY version", "1, 2 or 3", version.to_string()));
            }
        };
        let mut size = read(&mut source, size_bytes)?;
        let cut = || DataError::new("NPY header", "a complete header", "the end of the data");
        if size.len() < size_bytes {
            return Err(cut());
        }
        size.resize(4, 0);
        let size = size.iter().rev().fold(0_usize, |n, &byte| n << 8 | usize::from(byte));
        if size > MAX_HEADER {
            return Err(DataError::new(
                "NPY header",
                format!("at most {MAX_HEADER} bytes"),
                size.to_string(),
            ));
        }
        let text = read(&mut source, size)?;
        if text.len() < size {
            return Err(cut());
        }
        let text = std::str::from_utf8(&text).map_err(|_| bad_header("text", "bytes that are no UTF-8"))?;
        let header = parse(text, (8 + size_bytes + size) as u64)?;
        ArrayReader::new(source, header, len)
    }
}

/// Up to `n` bytes.
fn read(source: &mut impl Source, n: usize) -> Result<Vec<u8>, DataError> {
    let mut bytes = vec![0; n];
    let found = read_full(source, &mut bytes)
        .map_err(|e| DataError::new("NPY header", "readable data", e.to_string()))?;
    bytes.truncate(found);
    Ok(bytes)
}

fn bad_header(expected: &str, found: &str) -> DataError {
    let found: String = found.chars().take(40).collect();
    DataError::new("NPY header", expected, format!("{found:?}"))
}

/// The header of so many bytes that has this dictionary.
fn parse(text: &str, bytes: u64) -> Result<Header, DataError> {
    let mut literal = Literal(text);
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    literal.expect("{")?;
    while !literal.take("}") {
        let key = literal.string()?;
        literal.expect(":")?;
        match key {
            "descr" => descr = Some(literal.descr()?),
            "fortran_order" => fortran = Some(literal.boolean()?),
            "shape" => shape = Some(literal.shape()?),
            _ => return Err(bad_header("the keys descr, fortran_order and shape", key)),
        }
        if !literal.take(",") {
            literal.expect("}")?;
            break;
        }
    }
    if !literal.0.trim().is_empty() {
        return Err(bad_header("the end of the dictionary", literal.0));
    }
    let (Some(descr), Some(fortran), Some(shape)) = (descr, fortran, shape) else {
        return Err(bad_header("the keys descr, fortran_order and shape", text));
    };
    // With at most one axis longer than 1 both orders are the same.
    if fortran && shape.iter().filter(|&&size| size != 1).count() > 1 {
        return Err(DataError::new("NPY header", "an array in C order", "fortran_order: True")
            .with_hint("convert the array before saving it: np.save(file, np.ascontiguousarray(x))"));
    }
    let (element, big_endian) = element(descr)?;
    Ok(Header { element, big_endian, shape, bytes })
}

/// The number type that a descriptor such as `<f4` stands for, and whether it is big endian.
fn element(descr: &str) -> Result<(Element, bool), DataError> {
    let (order, kind) = match descr.chars().next() {
        Some('<' | '>' | '|' | '=') => descr.split_at(1),
        _ => ("", descr),
    };
    let element = match kind {
        "u1" => Element::U8,
        "i1" => Element::I8,
        "u2" => Element::U16,
        "i2" => Element::I16,
        "u4" => Element::U32,
        "i4" => Element::I32,
        "u8" => Element::U64,
        "i8" => Element::I64,
        "f2" => Element::F16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => {
            let error = DataError::new("NPY type", "u1 to u8, i1 to i8, f2, f4 or f8", format!("{descr:?}"));
            return Err(match kind.chars().next() {
                Some('b') => error.with_hint("convert the array before saving it: x.astype(np.uint8)"),
                Some('O') => error.with_hint("object arrays hold Python objects; save an array of numbers"),
                _ => error.with_hint("convert the array before saving it: x.astype(np.float64)"),
            });
        }
    };
    match order {
        "<" | "|" => Ok((element, false)),
        ">" => Ok((element, true)),
        _ if element.size() == 1 => Ok((element, false)),
        _ => Err(DataError::new("NPY type", "a byte order, < or >", format!("{descr:?}"))),
    }
}

/// What is left of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn take(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), DataError> {
        if self.take(token) { Ok(()) } else { Err(bad_header(&format!("{token:?}"), self.0)) }
    }

    fn string(&mut self) -> Result<&'a str, DataError> {
        let quote = if self.take("'") {
            '\''
        } else if self.take("\"") {
            '"'
        } else {
            return Err(bad_header("a quoted word", self.0));
        };
        let (word, rest) = self.0.split_once(quote).ok_or_else(|| bad_header("a closing quote", self.0))?;
        self.0 = rest;
        Ok(word)
    }

    fn descr(&mut self) -> Result<&'a str, DataError> {
        if self.take("[") {
            return Err(bad_header("an array of numbers", "structured records")
                .with_hint("save one array per field of the records"));
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, DataError> {
        if self.take("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn shape(&mut self) -> Result<Vec<usize>, DataError> {
        let mut shape = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            self.0 = self.0.trim_start();
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (digits, rest) = self.0.split_at(end);
            let size = digits.parse().map_err(|_| bad_header("the size of an axis", self.0))?;
            shape.push(size);
            // Python 2 wrote long integers as 3L.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if shape.len() > MAX_RANK {
                return Err(bad_header("at most 64 axes", self.0));
            }
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SampleReader;

    fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &[version, 0]].concat();
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn open(bytes: &[u8]) -> Result<ArrayReader<&[u8]>, DataError> {
        ArrayReader::npy(bytes, Some(bytes.len() as u64))
    }

    #[test]
    fn every_version_and_byte_order() {
        for version in 1..=3 {
            let little = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
            let bytes =
                npy(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }   \n", &little);
            let mut reader = open(&bytes).unwrap();
            assert_eq!((reader.shape(), reader.count()), ([2].as_slice(), Some(1)));
            assert_eq!(reader.read_rows(1).unwrap().unwrap().values, [1.5, -2.0]);
        }
        let bytes = npy(1, "{\"shape\":(2L,),\"descr\":\">i2\",\"fortran_order\":True}", &[0, 1, 0, 2]);
        assert_eq!(open(&bytes).unwrap().read_rows(2).unwrap().unwrap().values, [1.0, 2.0]);
        let bytes = npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 3)}", &[0; 6]);
        assert!(open(&bytes).unwrap().pixels());
    }

    #[test]
    fn what_is_not_supported_says_how_to_convert() {
        for (descr, order, hint) in [
            ("'|b1'", "False", "uint8"),
            ("'|O'", "False", "object"),
            ("'<c16'", "False", "float64"),
            ("[('a', '<f4')]", "False", "per field"),
            ("'<f4'", "True", "ascontiguousarray"),
        ] {
            let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': (2, 3)}}");
            let error = open(&npy(1, &header, &[])).err().unwrap();
            assert!(error.hint.as_ref().is_some_and(|h| h.contains(hint)), "{error:?}");
        }
    }

    #[test]
    fn damaged_headers() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}";
        for header in [
            "",
            "{",
            "{}",
            "{'descr'}",
            "{'descr': '<f4', 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 99999999999999999999)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': ()}",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
            "{'descr': 'f4', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        ] {
            assert!(open(&npy(1, header, &[0; 4])).is_err(), "{header}");
        }
        assert!(open(&npy(1, good, &[0; 4])).is_ok());
        assert!(open(&npy(1, good, &[0; 3])).is_err());
        assert!(open(&npy(4, good, &[0; 4])).is_err());
        assert!(open(&npy(1, good, &[0; 4])[..9]).is_err());
        let mut long = npy(2, good, &[]);
        long[8..12].copy_from_slice(&[0xff; 4]);
        assert!(open(&long).err().unwrap().to_string().contains("at most 65536 bytes"));
    }
}
