//! Writes the rows of aggregate reports as JSON; what all rows of a report have in common is encoded once.

use std::{ops::Range, sync::Arc};

use super::{
    fields::Selection,
    json::{self, Charset},
};
use crate::event::{EventType, Field, aggregate::ROW_KEYS, head::Head, schema};

/// Writer of the rows of one report after another.
#[derive(Debug)]
pub(super) struct Rows {
    parts: Vec<Part>,
    /// Report of the last row.
    head: Option<Arc<Head>>,
    /// Its fields, by [`Part::Shared`], in order.
    shared: Vec<Vec<u8>>,
}

/// Fields that are written, by their indexes among all fields of the event.
#[derive(Debug)]
enum Part {
    /// The same in all rows of a report.
    Shared(Range<usize>),
    Own(usize),
}

impl Rows {
    pub(super) fn new(selection: &Selection) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for (at, key) in schema::keys(EventType::DmarcAggregate).iter().enumerate() {
            match parts.last_mut() {
                _ if !selection.chooses(EventType::DmarcAggregate, at) => {}
                _ if ROW_KEYS.contains(&key.name) => parts.push(Part::Own(at)),
                Some(Part::Shared(range)) if range.end == at => range.end += 1,
                _ => parts.push(Part::Shared(at..at + 1)),
            }
        }
        Self { parts, head: None, shared: Vec::new() }
    }

    /// Writes a row of the report with this head. `fields` are all fields of its event.
    pub(super) fn write(
        &mut self,
        head: &Arc<Head>,
        fields: &[Field<'_>],
        selection: &Selection,
        charset: Charset,
        out: &mut Vec<u8>,
    ) {
        let member = |(key, value): &Field<'_>, out: &mut Vec<u8>| {
            if let Some(value) = selection.written(value) {
                out.push(b',');
                json::member(key, &value, charset, out);
            }
        };
        if !self.head.as_ref().is_some_and(|last| Arc::ptr_eq(last, head)) {
            let ranges = self.parts.iter().filter_map(|part| match part {
                Part::Shared(range) => fields.get(range.clone()),
                Part::Own(_) => None,
            });
            let encoded = |fields: &[Field<'_>]| {
                let mut out = Vec::new();
                fields.iter().for_each(|field| member(field, &mut out));
                out
            };
            self.shared = ranges.map(encoded).collect();
            self.head = Some(head.clone());
        }
        let start = out.len();
        let mut shared = self.shared.iter();
        for part in &self.parts {
            match part {
                Part::Shared(_) => out.extend_from_slice(shared.next().map_or(&[], Vec::as_slice)),
                Part::Own(at) => fields.get(*at).into_iter().for_each(|field| member(field, out)),
            }
        }
        // In place of the first comma.
        match out.get_mut(start) {
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }
}
