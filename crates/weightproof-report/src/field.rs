//! Fields of records. One line for each field serves CSV, Parquet in both directions and the list of samples of the text; JSON has
//! the same names, because the record itself is written.

use crate::table::{Side, Table};
use std::borrow::Cow;
use weightproof_figure::number::{exact, value};

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
    /// A number; missing when it is not finite.
    pub(crate) fn number(v: Option<f64>) -> Self {
        Cell::Number(v.filter(|v| v.is_finite()))
    }

    /// As CSV has it: missing values are empty.
    pub(crate) fn csv(self) -> String {
        match self {
            Cell::Integer(n) => n.map_or_else(String::new, |n| n.to_string()),
            Cell::Class(class) => class.map_or_else(String::new, |class| class.to_string()),
            Cell::Number(v) => v.map_or_else(String::new, exact),
            Cell::Text(text) => text.unwrap_or_default(),
        }
    }
}

type Getter<R, T> = Box<dyn Fn(&R) -> T>;

/// How the value of a field is read from a record.
enum Get<R> {
    Integer(Getter<R, Option<u64>>),
    Class(Getter<R, Option<u32>>),
    /// Also what is not finite.
    Number(Getter<R, Option<f64>>),
    Text(Getter<R, Option<String>>),
}

/// A field of the record `R`.
pub struct Field<R> {
    name: Cow<'static, str>,
    get: Get<R>,
    /// Object and key in JSON, where they are not `name` in the record itself.
    nested: Option<[&'static str; 2]>,
    /// Head of the column in the list of samples; `None` of a field that the list leaves out.
    heading: Option<&'static str>,
    /// What that list shows, where it is not the value.
    shown: Option<Getter<R, String>>,
}

impl<R: 'static> Field<R> {
    fn new(name: impl Into<Cow<'static, str>>, get: Get<R>) -> Self {
        Field { name: name.into(), get, nested: None, heading: None, shown: None }
    }

    /// A count or an index.
    pub(crate) fn integer(name: &'static str, get: impl Fn(&R) -> Option<u64> + 'static) -> Self {
        Field::new(name, Get::Integer(Box::new(get)))
    }

    /// A class.
    pub(crate) fn class(name: &'static str, get: impl Fn(&R) -> Option<u32> + 'static) -> Self {
        Field::new(name, Get::Class(Box::new(get)))
    }

    /// A number.
    pub(crate) fn number(
        name: impl Into<Cow<'static, str>>,
        get: impl Fn(&R) -> Option<f64> + 'static,
    ) -> Self {
        Field::new(name, Get::Number(Box::new(get)))
    }

    /// Words; none where they are empty.
    pub(crate) fn text<S: Into<String>>(name: &'static str, get: impl Fn(&R) -> Option<S> + 'static) -> Self {
        let filled = move |record: &R| get(record).map(Into::into).filter(|text: &String| !text.is_empty());
        Field::new(name, Get::Text(Box::new(filled)))
    }

    /// The field is in the list of samples, under this head.
    pub(crate) fn listed(self, heading: &'static str) -> Self {
        Field { heading: Some(heading), ..self }
    }

    /// The list of samples shows this instead of the value.
    pub(crate) fn shown(self, shown: impl Fn(&R) -> String + 'static) -> Self {
        Field { shown: Some(Box::new(shown)), ..self }
    }

    /// In JSON it is the field `key` of the object `object`.
    pub(crate) fn nested(self, object: &'static str, key: &'static str) -> Self {
        Field { nested: Some([object, key]), ..self }
    }

    /// The field of a record that has `R` as a part.
    pub(crate) fn of<W: 'static>(self, part: fn(&W) -> &R) -> Field<W> {
        let Field { name, get, nested, heading, shown } = self;
        let get = match get {
            Get::Integer(get) => Get::Integer(Box::new(move |whole| get(part(whole)))),
            Get::Class(get) => Get::Class(Box::new(move |whole| get(part(whole)))),
            Get::Number(get) => Get::Number(Box::new(move |whole| get(part(whole)))),
            Get::Text(get) => Get::Text(Box::new(move |whole| get(part(whole)))),
        };
        let shown = shown.map(|shown| -> Getter<W, String> { Box::new(move |whole| shown(part(whole))) });
        Field { name, get, nested, heading, shown }
    }

    /// Name of the column in CSV and Parquet.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Object and key in JSON, where they are not the name.
    #[cfg(any(feature = "parquet", test))]
    pub(crate) fn nested_at(&self) -> Option<[&'static str; 2]> {
        self.nested
    }

    /// What the column holds.
    pub fn kind(&self) -> Kind {
        match self.get {
            Get::Integer(_) => Kind::Integer,
            Get::Class(_) => Kind::Class,
            Get::Number(_) => Kind::Number,
            Get::Text(_) => Kind::Text,
        }
    }

    /// The value of one record.
    pub fn cell(&self, record: &R) -> Cell {
        match &self.get {
            Get::Integer(get) => Cell::Integer(get(record)),
            Get::Class(get) => Cell::Class(get(record)),
            Get::Number(get) => Cell::number(get(record)),
            Get::Text(get) => Cell::Text(get(record)),
        }
    }

    /// The value for people.
    fn read(&self, record: &R) -> String {
        let dash = || "-".to_owned();
        match (&self.shown, &self.get) {
            (Some(shown), _) => shown(record),
            (None, Get::Integer(get)) => get(record).map_or_else(dash, |n| n.to_string()),
            (None, Get::Class(get)) => get(record).map_or_else(dash, |class| class.to_string()),
            (None, Get::Number(get)) => get(record).map_or_else(dash, value),
            (None, Get::Text(get)) => get(record).unwrap_or_default(),
        }
    }

    fn side(&self) -> Side {
        match self.kind() {
            Kind::Integer | Kind::Class | Kind::Number => Side::Right,
            Kind::Text => Side::Left,
        }
    }
}

/// The listed fields of `records` as a table for people.
pub(crate) fn list<'r, R: 'static>(fields: &[Field<R>], records: impl Iterator<Item = &'r R>) -> Table {
    let listed: Vec<&Field<R>> = fields.iter().filter(|field| field.heading.is_some()).collect();
    let mut table = Table::new(listed.iter().map(|field| field.side()).collect::<Vec<_>>());
    table.push(listed.iter().filter_map(|field| field.heading));
    records.for_each(|record| table.push(listed.iter().map(|field| field.read(record))));
    table
}

/// A column of the table of summaries, of which there is one for each radius.
pub struct Total<S> {
    /// Its head.
    pub(crate) name: &'static str,
    /// What the numbers are worth; `None` is the guarantee of the method, empty of plain counts.
    pub(crate) guarantee: Option<&'static str>,
    /// The cell of one summary.
    pub(crate) shown: Getter<S, String>,
}

impl<S: 'static> Total<S> {
    /// Numbers that are worth what `guarantee` says.
    pub(crate) fn new(
        name: &'static str,
        guarantee: &'static str,
        shown: impl Fn(&S) -> String + 'static,
    ) -> Self {
        Total { name, guarantee: Some(guarantee), shown: Box::new(shown) }
    }

    /// Numbers that are worth what the method gives.
    pub(crate) fn by_method(name: &'static str, shown: impl Fn(&S) -> String + 'static) -> Self {
        Total { name, guarantee: None, shown: Box::new(shown) }
    }

    /// The column of a summary that has `S` as a part.
    pub(crate) fn of<W: 'static>(self, part: fn(&W) -> &S) -> Total<W> {
        let Total { name, guarantee, shown } = self;
        Total { name, guarantee, shown: Box::new(move |whole| shown(part(whole))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AttackRecord, CertifyRecord, ExactRadiusRecord, ExactRecord, FaultRecord, NoiseRecord, Record,
    };
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    /// The object with the fields of both.
    fn with(mut object: Value, more: Value) -> Value {
        let (Value::Object(into), Value::Object(more)) = (&mut object, more) else { panic!("two objects") };
        into.extend(more);
        object
    }

    /// Every field has the name and the value of JSON, and what JSON has is a field, but for `others`.
    fn agree<R: Record + DeserializeOwned>(json: &Value, others: &[&str]) {
        let record: R = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&record).unwrap(), *json);
        let fields = R::fields(None);
        let mut rest = json.clone();
        for field in &fields {
            let cell = match field.cell(&record) {
                Cell::Integer(n) => json!(n),
                Cell::Class(class) => json!(class),
                Cell::Number(v) => json!(v),
                Cell::Text(text) => json!(text),
            };
            let (object, key) = match field.nested_at() {
                Some([object, key]) => (&mut rest[object], key),
                None => (&mut rest, field.name()),
            };
            let found = object.as_object_mut().unwrap().remove(key);
            assert_eq!(found, Some(cell), "{} of {}", field.name(), R::COMMAND);
        }
        let rest = rest.as_object().unwrap().iter();
        let rest = rest.filter(|(key, value)| **value != json!({}) && !others.contains(&key.as_str()));
        assert_eq!(rest.count(), 0, "{json}");
        assert_eq!(list(&fields, [record].iter()).to_string().lines().count(), 2);
    }

    #[test]
    fn fields_are_those_of_json() {
        let clean = json!({ "index": 3, "label": 1, "predicted": 2, "margin": 0.5 });
        let settled = json!({ "runner_up": 4, "verdict": "unknown", "reason": "node-limit" });
        let certify = with(
            with(clean.clone(), settled.clone()),
            json!({ "margin_lower": -0.5, "deviation_upper": 2.0 }),
        );
        agree::<CertifyRecord>(&certify, &[]);
        agree::<NoiseRecord>(&with(certify.clone(), json!({ "failure_probability": 0.125 })), &[]);
        let exact = json!({
            "worst_margin": -0.25, "nodes": 7, "seconds": 0.5, "witness": "a.npz", "witness_sha256": "00",
            "oracle": { "verdict": "verified", "seconds": 0.25 },
        });
        agree::<ExactRecord>(&with(certify, exact), &["witness_sha256"]);
        let attack = json!({ "worst_margin": -0.25, "deviation": 2.0, "witness": "a.npz", "witness_sha256": "00", "gradients": 3 });
        agree::<AttackRecord>(&with(with(clean.clone(), settled), attack), &["witness_sha256"]);
        let radius = json!({ "certified_radius": 0.125, "attacked_radius": 0.25, "reason": null });
        agree::<ExactRadiusRecord>(&with(clean.clone(), radius), &[]);
        let hit = json!({
            "layer": "fc1", "row": 1, "column": 2, "bit": 7, "direction": "0→1", "before": 0.5, "after": -0.5,
        });
        let faults = json!({
            "verdict": "falsified", "reason": "attacked", "breaking": 5, "repairing": 1, "undecided": 2, "hit": hit,
            "hit_margin": -0.5, "certified_words": 1, "broken_words": 2, "gradient_words": null,
            "broken_by": "fc1[1, 2]", "broken_margin": -1.0, "nodes": 9,
        });
        agree::<FaultRecord>(&with(clean, faults), &[]);
    }
}
