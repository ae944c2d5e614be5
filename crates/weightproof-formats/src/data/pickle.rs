//! The Python version of CIFAR: a pickled dictionary of an array and lists.
//!
//! A pickle is a program of a small stack machine that may call any Python function. This one calls none: it knows the few operations
//! that dictionaries, lists, numbers, texts and NumPy arrays are made of, and everything else is an error.
//!
//! Source: <https://docs.python.org/3/library/pickletools.html>; <https://www.cs.toronto.edu/~kriz/cifar.html>.

use super::memory::MemoryReader;
use crate::error::DataError;
use std::rc::Rc;

/// The most values that one pickle may make.
const MAX_VALUES: usize = 1 << 22;
/// Bytes of an image, three channels of 32 × 32.
const PIXELS: usize = 3 * 32 * 32;

/// What lies on the stack.
#[derive(Clone, Debug)]
enum Value {
    Mark,
    Number(i64),
    Text(Rc<[u8]>),
    List(Vec<Rc<Value>>),
    Pairs(Vec<(Rc<Value>, Rc<Value>)>),
    /// A function that would be called, or an object of one; an array keeps its state.
    Object(Option<Rc<Value>>),
    Other,
}

/// Whether the first bytes are those of a pickle of protocol 2 or later.
pub(crate) fn is_pickle(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

/// The images of a pickled batch of CIFAR-10 or CIFAR-100, and which of the two it is.
///
/// # Errors
/// Operations of other objects, damaged bytes, no array of bytes with one label for each row.
pub(crate) fn cifar(bytes: &[u8]) -> Result<(MemoryReader, &'static str), DataError> {
    let Value::Pairs(pairs) = load(bytes)? else {
        return Err(DataError::new("pickle", "a dictionary", "another object"));
    };
    let find = |wanted: &str| {
        let is = |key: &Value| matches!(key, Value::Text(text) if text.as_ref() == wanted.as_bytes());
        pairs.iter().find(|(key, _)| is(key)).map(|(_, value)| value.as_ref())
    };
    let (labels, name) = match (find("labels"), find("fine_labels")) {
        (Some(labels), _) => (labels, "cifar-10"),
        (None, Some(labels)) => (labels, "cifar-100"),
        (None, None) => return Err(DataError::new("pickle", "the key labels or fine_labels", "neither")),
    };
    let number = |value: &Rc<Value>| {
        let Value::Number(n) = value.as_ref() else { return None };
        u32::try_from(*n).ok()
    };
    let labels: Option<Vec<u32>> =
        if let Value::List(list) = labels { list.iter().map(number).collect() } else { None };
    let labels =
        labels.ok_or_else(|| DataError::new("labels", "a list of integers ≥ 0", "another object"))?;
    // The state of an array: version, shape, type, order, bytes.
    let state = match find("data") {
        Some(Value::Object(Some(state))) => Some(state.as_ref()),
        _ => None,
    };
    let pixels = match state {
        Some(Value::List(state)) => match state.last().map(Rc::as_ref) {
            Some(Value::Text(bytes)) => Some(bytes.to_vec()),
            _ => None,
        },
        _ => None,
    };
    let pixels = pixels.filter(|bytes| bytes.len() == labels.len().saturating_mul(PIXELS));
    let pixels = pixels.ok_or_else(|| {
        let expected = format!("an array of {} rows of {PIXELS} bytes", labels.len());
        DataError::new("data", expected, "another object")
    })?;
    Ok((MemoryReader::new(vec![3, 32, 32], pixels, Some(labels))?, name))
}

/// Runs a pickle.
fn load(bytes: &[u8]) -> Result<Value, DataError> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), memo: Vec::new(), made: 0 };
    loop {
        if let Some(result) = machine.step()? {
            return Ok(result);
        }
    }
}

struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    stack: Vec<Rc<Value>>,
    memo: Vec<Rc<Value>>,
    made: usize,
}

impl<'b> Machine<'b> {
    fn fail(&self, expected: &str, found: impl Into<String>) -> DataError {
        DataError::new(format!("pickle, byte {}", self.at), expected, found)
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], DataError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fail("a complete pickle", "the end of the data"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// A little-endian number of `count` bytes.
    fn number(&mut self, count: usize) -> Result<usize, DataError> {
        let number = self.take(count)?.iter().rev().fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
        usize::try_from(number).map_err(|_| self.fail("a length that fits into memory", "a larger one"))
    }

    fn line(&mut self) -> Result<&'b [u8], DataError> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&b| b == b'\n');
        let length = length.ok_or_else(|| self.fail("a line", "none"))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn push(&mut self, value: Value) -> Result<(), DataError> {
        self.made += 1;
        if self.made > MAX_VALUES {
            return Err(self.fail("at most 4 million values", "more"));
        }
        self.stack.push(Rc::new(value));
        Ok(())
    }

    fn pop(&mut self) -> Result<Rc<Value>, DataError> {
        self.stack.pop().ok_or_else(|| self.fail("a value on the stack", "none"))
    }

    /// The values above the topmost mark.
    fn above_mark(&mut self) -> Result<Vec<Rc<Value>>, DataError> {
        let mark = self.stack.iter().rposition(|value| matches!(value.as_ref(), Value::Mark));
        let mark = mark.ok_or_else(|| self.fail("a mark on the stack", "none"))?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    /// The topmost value, to be changed; the memo keeps what it was.
    fn top(&mut self) -> Result<&mut Value, DataError> {
        match self.stack.last_mut() {
            Some(value) => Ok(Rc::make_mut(value)),
            None => Err(DataError::new("pickle", "a value on the stack", "none")),
        }
    }

    fn extend(&mut self, values: Vec<Rc<Value>>) -> Result<(), DataError> {
        let Value::List(list) = self.top()? else { return Err(self.fail("a list", "another object")) };
        list.extend(values);
        Ok(())
    }

    fn set(&mut self, values: &[Rc<Value>]) -> Result<(), DataError> {
        if let Value::Pairs(pairs) = self.top()?
            && values.len().is_multiple_of(2)
        {
            pairs.extend(values.chunks_exact(2).map(|pair| (Rc::clone(&pair[0]), Rc::clone(&pair[1]))));
            return Ok(());
        }
        Err(self.fail("a dictionary and pairs", "another object"))
    }

    fn remember(&mut self, place: usize) -> Result<(), DataError> {
        if place > self.bytes.len() {
            return Err(self.fail("a place of the memo", "a larger one"));
        }
        let value = Rc::clone(self.stack.last().ok_or_else(|| self.fail("a value on the stack", "none"))?);
        if self.memo.len() <= place {
            self.memo.resize(place + 1, Rc::new(Value::Other));
        }
        self.memo[place] = value;
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), DataError> {
        let value = self.memo.get(place).cloned();
        let value = value.ok_or_else(|| self.fail("a value in the memo", "none"))?;
        self.made += 1;
        self.stack.push(value);
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), DataError> {
        let start = self.stack.len().checked_sub(count);
        let start = start.ok_or_else(|| self.fail("values on the stack", "fewer"))?;
        let values = self.stack.split_off(start);
        self.push(Value::List(values))
    }

    /// One operation; the result at the end.
    fn step(&mut self) -> Result<Option<Value>, DataError> {
        let code = self.take(1)?[0];
        match code {
            0x80 => {
                self.take(1)?;
            }
            0x95 => {
                self.take(8)?;
            }
            b'}' => self.push(Value::Pairs(Vec::new()))?,
            b']' | b')' => self.push(Value::List(Vec::new()))?,
            b'(' => self.push(Value::Mark)?,
            b'N' | 0x88 | 0x89 => self.push(Value::Other)?,
            b'K' | b'M' | b'J' => {
                let count = match code {
                    b'K' => 1,
                    b'M' => 2,
                    _ => 4,
                };
                let number = i64::try_from(self.number(count)?).unwrap_or(i64::MAX);
                self.push(Value::Number(if count == 4 { i64::from(number as u32 as i32) } else { number }))?;
            }
            0x8a => {
                let length = self.number(1)?;
                self.take(length)?;
                self.push(Value::Other)?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Other)?;
            }
            b'U' | b'C' | 0x8c | b'T' | b'B' | b'X' | 0x8e | 0x8d => {
                let length = self.number(match code {
                    b'U' | b'C' | 0x8c => 1,
                    b'T' | b'B' | b'X' => 4,
                    _ => 8,
                })?;
                let text = self.take(length)?.into();
                self.push(Value::Text(text))?;
            }
            b'c' => {
                let name = [self.line()?, b".", self.line()?].concat();
                self.check_name(&name)?;
                self.push(Value::Object(None))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (module.as_ref(), name.as_ref()) {
                    (Value::Text(module), Value::Text(name)) => {
                        self.check_name(&[module, b".".as_slice(), name].concat())?;
                    }
                    _ => return Err(self.fail("the name of a function", "another object")),
                }
                self.push(Value::Object(None))?;
            }
            b'R' => {
                let (arguments, _) = (self.pop()?, self.pop()?);
                // Bytes that Python 3 writes as text are the only argument of an encoding.
                let text = if let Value::List(list) = arguments.as_ref()
                    && let [text, _] = list.as_slice()
                    && let Value::Text(text) = text.as_ref()
                {
                    std::str::from_utf8(text).ok().and_then(latin)
                } else {
                    None
                };
                self.push(text.map_or(Value::Object(None), |text| Value::Text(text.into())))?;
            }
            b'b' => {
                let state = self.pop()?;
                let Value::Object(own) = self.top()? else {
                    return Err(self.fail("an object", "another value"));
                };
                *own = Some(state);
            }
            b'a' => {
                let value = self.pop()?;
                self.extend(vec![value])?;
            }
            b'e' => {
                let values = self.above_mark()?;
                self.extend(values)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let values = self.above_mark()?;
                self.set(&values)?;
            }
            b't' => {
                let values = self.above_mark()?;
                self.push(Value::List(values))?;
            }
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b'q' => {
                let place = self.number(1)?;
                self.remember(place)?;
            }
            b'r' => {
                let place = self.number(4)?;
                self.remember(place)?;
            }
            0x94 => {
                let place = self.memo.len();
                self.remember(place)?;
            }
            b'h' => {
                let place = self.number(1)?;
                self.recall(place)?;
            }
            b'j' => {
                let place = self.number(4)?;
                self.recall(place)?;
            }
            b'.' => return Ok(Some(self.pop()?.as_ref().clone())),
            other => {
                let found = format!("the operation {:?}", char::from(other));
                return Err(self.fail("operations of dictionaries, lists and arrays", found));
            }
        }
        if self.made > MAX_VALUES {
            return Err(self.fail("at most 4 million values", "more"));
        }
        Ok(None)
    }

    /// Only what makes arrays.
    fn check_name(&self, name: &[u8]) -> Result<(), DataError> {
        const KNOWN: [&[u8]; 5] = [
            b"numpy.core.multiarray._reconstruct",
            b"numpy._core.multiarray._reconstruct",
            b"numpy.ndarray",
            b"numpy.dtype",
            b"_codecs.encode",
        ];
        if KNOWN.contains(&name) {
            return Ok(());
        }
        let name: String =
            String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).take(60).collect();
        Err(self.fail("an array of NumPy, no other object", name))
    }
}

/// The bytes of a text whose characters are bytes.
fn latin(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::SampleReader;
    use super::*;

    /// A batch of two images as Python 2 writes it.
    fn batch() -> Vec<u8> {
        let pixels: Vec<u8> = (0..2 * PIXELS).map(|k| (k % 251) as u8).collect();
        let mut bytes = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\0\x85U\x01b\x87R(K\x01K\x02M\0\x0c\x86cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T".to_vec();
        bytes.extend(u32::try_from(pixels.len()).unwrap().to_le_bytes());
        bytes.extend(&pixels);
        bytes.extend(b"tbU\x06labelsq\x05]q\x06(K\x03K\x07eu.");
        bytes
    }

    #[test]
    fn a_batch_of_images() {
        let (mut reader, name) = cifar(&batch()).unwrap();
        assert_eq!((name, reader.shape(), reader.count()), ("cifar-10", [3, 32, 32].as_slice(), Some(2)));
        assert_eq!(reader.skip(1).unwrap(), 1);
        let rows = reader.read_rows(9).unwrap().unwrap();
        assert_eq!((rows.count, rows.labels), (1, Some(vec![7])));
        assert_eq!(
            rows.values[..2],
            [f64::from((PIXELS % 251) as u8), f64::from(((PIXELS + 1) % 251) as u8)]
        );
    }

    #[test]
    fn no_function_is_called() {
        let error = cifar(b"\x80\x02cos\nsystem\nU\x02ls\x85R.").err().unwrap().to_string();
        assert!(error.ends_with("expected an array of NumPy, no other object, found os.system"), "{error}");
        assert!(cifar(b"\x80\x02}.").err().unwrap().to_string().contains("labels or fine_labels"));
        assert!(cifar(b"\x80\x02Q").err().unwrap().to_string().contains("the operation 'Q'"));
    }

    #[test]
    fn damaged_pickles_are_refused_or_read() {
        let original = batch();
        // The middle are pixels: cuts and changes are made around them.
        for end in 0..300.min(original.len()) {
            assert!(cifar(&original[..end]).is_err());
        }
        for at in (0..200).chain(original.len() - 30..original.len()) {
            for byte in [0, b'(', b'h', b'q', 0x94, 0xff] {
                let mut damaged = original.clone();
                damaged[at] = byte;
                let _ = cifar(&damaged);
            }
        }
    }
}
