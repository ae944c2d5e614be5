//! Reading protocol buffers: numbers and names of fields, no more.

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// An integer of variable length.
    Integer(u64),
    /// Four bytes.
    Four(u32),
    /// Eight bytes.
    Eight(u64),
    /// Text, bytes, another message, or packed numbers.
    Bytes(&'a [u8]),
}

/// All fields of a message, in their order.
///
/// # Errors
/// Says where the bytes end too early or do not belong to a message.
pub fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = integer(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Integer(integer(&mut bytes)?),
            1 => Field::Eight(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().expect("eight bytes"))),
            2 => {
                let length = integer(&mut bytes)?;
                Field::Bytes(take(&mut bytes, usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => Field::Four(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().expect("four bytes"))),
            kind => return Err(format!("a field of the unknown kind {kind}")),
        };
        fields.push((tag >> 3, field));
    }
    Ok(fields)
}

fn integer(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for place in 0..10 {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("an integer of more than ten bytes".into())
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    if count > bytes.len() {
        return Err(format!("expected {count} more bytes, found {}", bytes.len()));
    }
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    Ok(taken)
}

impl<'a> Field<'a> {
    /// The bytes.
    ///
    /// # Errors
    /// When it is a number.
    pub fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            Field::Integer(_) | Field::Four(_) | Field::Eight(_) => {
                Err("expected bytes, found a number".into())
            }
        }
    }

    /// The text.
    ///
    /// # Errors
    /// When it is a number, or not UTF-8.
    pub fn text(self) -> Result<String, String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| "a name that is not UTF-8".into())
    }

    /// The integer, of which negative ones are the complement.
    ///
    /// # Errors
    /// When it is something else.
    pub fn integer(self) -> Result<i64, String> {
        match self {
            Field::Integer(value) => Ok(value as i64),
            Field::Bytes(_) | Field::Four(_) | Field::Eight(_) => Err("expected an integer".into()),
        }
    }

    /// Adds the integers of a repeated field, packed or not.
    ///
    /// # Errors
    /// When it is something else.
    pub fn integers(self, all: &mut Vec<i64>) -> Result<(), String> {
        match self {
            Field::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    all.push(integer(&mut bytes)? as i64);
                }
                Ok(())
            }
            one => Ok(all.push(one.integer()?)),
        }
    }

    /// Adds the little-endian bits of a repeated field of numbers, packed or not.
    pub fn bits(self, all: &mut Vec<u8>) {
        match self {
            Field::Bytes(bytes) => all.extend(bytes),
            Field::Four(bits) => all.extend(bits.to_le_bytes()),
            Field::Eight(bits) => all.extend(bits.to_le_bytes()),
            Field::Integer(_) => {}
        }
    }
}
