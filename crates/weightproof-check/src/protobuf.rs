//! Reading protocol buffers: numbers and names of fields, no more.

/// A message: its fields in their order, each with its number.
#[derive(Clone, Debug, Default)]
pub struct Message<'a>(Vec<(u64, Field<'a>)>);

#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Integer(u64),
    /// Text, bytes, another message, packed numbers, or one number of four or eight bytes.
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Splits bytes into fields.
    ///
    /// # Errors
    /// Says where the bytes end too early or do not belong to a message.
    pub fn new(mut bytes: &'a [u8]) -> Result<Self, String> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = integer(&mut bytes)?;
            let length = match tag & 7 {
                0 => None,
                1 => Some(8),
                2 => Some(integer(&mut bytes)?),
                5 => Some(4),
                kind => return Err(format!("a field of the unknown kind {kind}")),
            };
            let field = match length {
                None => Field::Integer(integer(&mut bytes)?),
                Some(length) => Field::Bytes(take(&mut bytes, length)?),
            };
            fields.push((tag >> 3, field));
        }
        Ok(Message(fields))
    }

    fn all(&self, number: u64) -> impl Iterator<Item = Field<'a>> {
        self.0.iter().filter(move |(n, _)| *n == number).map(|(_, field)| *field)
    }

    /// Whether there is such a field.
    pub fn has(&self, number: u64) -> bool {
        self.all(number).next().is_some()
    }

    /// The bytes of a repeated field.
    pub fn bytes(&self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        self.all(number).filter_map(|field| if let Field::Bytes(bytes) = field { Some(bytes) } else { None })
    }

    /// The messages of a repeated field.
    ///
    /// # Errors
    /// As [`Message::new`].
    pub fn messages(&self, number: u64) -> Result<Vec<Message<'a>>, String> {
        self.bytes(number).map(Message::new).collect()
    }

    /// The texts of a repeated field.
    pub fn texts(&self, number: u64) -> Vec<String> {
        self.bytes(number).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// The text of a field, empty when there is none.
    pub fn text(&self, number: u64) -> String {
        self.texts(number).pop().unwrap_or_default()
    }

    /// The integers of a repeated field, packed or not.
    ///
    /// # Errors
    /// When packed ones end too early.
    pub fn integers(&self, number: u64) -> Result<Vec<i64>, String> {
        let mut all = Vec::new();
        for field in self.all(number) {
            match field {
                Field::Integer(value) => all.push(value as i64),
                Field::Bytes(mut bytes) => {
                    while !bytes.is_empty() {
                        all.push(integer(&mut bytes)? as i64);
                    }
                }
            }
        }
        Ok(all)
    }
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

fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Result<&'a [u8], String> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (taken, rest) = bytes.split_at_checked(count).ok_or("the bytes end too early")?;
    *bytes = rest;
    Ok(taken)
}
