//! Columns of per-sample results, for the formats that are tables.

/// What a column holds. Every column may have missing values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count or an index.
    Integer,
    /// A class.
    Class,
    /// A floating-point number; what is not finite is missing.
    Number,
    /// Words.
    Text,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

impl Column {
    /// Counts or indices.
    pub const fn integer(name: &'static str) -> Self {
        Column { name, kind: Kind::Integer }
    }

    /// Classes.
    pub const fn class(name: &'static str) -> Self {
        Column { name, kind: Kind::Class }
    }

    /// Numbers.
    pub const fn number(name: &'static str) -> Self {
        Column { name, kind: Kind::Number }
    }

    /// Words.
    pub const fn text(name: &'static str) -> Self {
        Column { name, kind: Kind::Text }
    }
}

/// A cell; `None` is missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Below [`Kind::Integer`].
    Integer(Option<u64>),
    /// Below [`Kind::Class`].
    Class(Option<u32>),
    /// Below [`Kind::Number`].
    Number(Option<f64>),
    /// Below [`Kind::Text`].
    Text(Option<String>),
}

impl Cell {
    /// A count or an index.
    pub(crate) fn integer(n: usize) -> Self {
        Cell::Integer(Some(n as u64))
    }

    /// A number; missing when it is not finite.
    pub(crate) fn number(v: impl Into<Option<f64>>) -> Self {
        Cell::Number(v.into().filter(|v: &f64| v.is_finite()))
    }

    /// Words; missing when there are none.
    pub(crate) fn text(text: &str) -> Self {
        Cell::Text((!text.is_empty()).then(|| text.to_owned()))
    }

    /// As CSV has it: missing values are empty.
    pub(crate) fn csv(self) -> String {
        match self {
            Cell::Integer(n) => n.map_or_else(String::new, |n| n.to_string()),
            Cell::Class(class) => class.map_or_else(String::new, |class| class.to_string()),
            Cell::Number(v) => v.map_or_else(String::new, weightproof_figure::number::exact),
            Cell::Text(text) => text.unwrap_or_default(),
        }
    }
}
