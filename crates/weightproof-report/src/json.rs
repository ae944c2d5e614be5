//! JSON: one line for each block of the header and for each sample, so that large reports are readable and diffable.

use crate::report::{Record, Report, SampleSource};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};

/// Writes the fields of one object line by line, values in compact form.
pub(crate) struct Fields<'w, W: Write> {
    out: &'w mut W,
    indent: usize,
    empty: bool,
}

impl<'w, W: Write> Fields<'w, W> {
    /// Opens the object.
    pub(crate) fn open(out: &'w mut W, indent: usize) -> io::Result<Self> {
        write!(out, "{{")?;
        Ok(Fields { out, indent: indent + 2, empty: true })
    }

    fn key(&mut self, key: &str) -> io::Result<()> {
        let comma = if self.empty { "" } else { "," };
        self.empty = false;
        write!(self.out, "{comma}\n{:1$}\"{key}\": ", "", self.indent)
    }

    /// A field on one line.
    pub(crate) fn field(&mut self, key: &str, value: &impl Serialize) -> io::Result<()> {
        self.key(key)?;
        serde_json::to_writer(&mut *self.out, value).map_err(io::Error::from)
    }

    /// An array with one line for each item, written by `write`.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        items: &[T],
        mut write: impl FnMut(&mut W, &T, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        self.streamed(key, |line| {
            items.iter().try_for_each(|item| line(&mut |out, indent| write(out, item, indent)))
        })
    }

    /// An array with one line for each item that `items` gives to its argument, as what writes it.
    pub(crate) fn streamed(
        &mut self,
        key: &str,
        items: impl FnOnce(Line<'_, W>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.key(key)?;
        write!(self.out, "[")?;
        let mut empty = true;
        let (out, indent) = (&mut *self.out, self.indent + 2);
        items(&mut |write| {
            let comma = if empty { "" } else { "," };
            empty = false;
            write!(out, "{comma}\n{:1$}", "", indent)?;
            write(out, indent)
        })?;
        if !empty {
            write!(self.out, "\n{:1$}", "", self.indent)?;
        }
        write!(self.out, "]")
    }

    /// Closes the object.
    pub(crate) fn close(self) -> io::Result<()> {
        write!(self.out, "\n{:1$}}}", "", self.indent - 2)
    }
}

/// Writes the line of one item.
pub(crate) type Line<'l, W> =
    &'l mut dyn FnMut(&mut dyn FnMut(&mut W, usize) -> io::Result<()>) -> io::Result<()>;

/// One item of a list in compact form.
pub(crate) fn compact<W: Write, T: Serialize>(out: &mut W, item: &T, _indent: usize) -> io::Result<()> {
    serde_json::to_writer(out, item).map_err(io::Error::from)
}

/// Writes a report; `summary` and `samples` stand at the top when there is one radius, else in `results`.
pub(crate) fn report<R: Record>(
    report: &Report<R>,
    source: &dyn SampleSource<R>,
    out: &mut impl Write,
) -> io::Result<()> {
    let header = &report.header;
    let mut fields = Fields::open(out, 0)?;
    fields.field("schema", &format!("weightproof/{}/1", R::COMMAND))?;
    fields.field("partial", &report.partial)?;
    if let Some(shard) = &header.shard {
        fields.field("shard", shard)?;
    }
    fields.field("model", &header.model)?;
    fields.field("data", &header.data)?;
    fields.field("threat", &header.threat)?;
    fields.field("method", &header.method)?;
    fields.field("guarantee", &header.guarantee)?;
    fields.field("config", &header.config)?;
    if let Some(certificate) = &header.certificate {
        fields.field("certificate", certificate)?;
    }
    if let [_] = report.results.as_slice() {
        body((report, source), 0, &mut fields)?;
    } else {
        let all: Vec<usize> = (0..report.results.len()).collect();
        fields.list("results", &all, |out, &k, indent| {
            let mut fields = Fields::open(out, indent)?;
            fields.field("radius", &report.results[k].radius)?;
            body((report, source), k, &mut fields)?;
            fields.close()
        })?;
    }
    fields.field("environment", &report.environment)?;
    fields.close()?;
    writeln!(out)
}

fn body<R: Record, W: Write>(
    (report, source): (&Report<R>, &dyn SampleSource<R>),
    k: usize,
    fields: &mut Fields<'_, W>,
) -> io::Result<()> {
    let summary = &report.results[k].summary;
    fields.field("summary", summary)?;
    for (name, value) in R::more_fields(summary) {
        if let Value::Array(items) = &value {
            fields.list(name, items, compact)?;
        } else {
            fields.field(name, &value)?;
        }
    }
    if let Some(counts) = R::part_fields(summary).filter(|_| report.header.shard.is_some()) {
        fields.field("counts", &counts)?;
    }
    fields.streamed("samples", |line| {
        source.each(k, &mut |sample| line(&mut |out, indent| compact(out, sample, indent)))
    })
}
