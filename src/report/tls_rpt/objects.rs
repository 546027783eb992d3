//! Lenient deserialization of the objects and texts of a TLS report from any JSON value.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::keys::{Child, Place, TEXT, child};
use super::reading::Reading;
use crate::report::values::blank_trimmed;
use crate::report::warnings::{Repair, Warnings};

/// Maximum number of entries kept of a list; an STS policy has one per line and one per MX host.
const LIST: usize = 64;

/// Deserializes objects of one kind from a single object, a list of them, or nothing.
pub(super) struct Objects<'o, 'r> {
    reading: &'o mut Reading<'r>,
    place: Place,
    /// True for the value of an unknown key that may hold the whole report: anything else there is ignored.
    is_wrapped: bool,
}

impl<'o, 'r> Objects<'o, 'r> {
    pub fn new(reading: &'o mut Reading<'r>, place: Place) -> Self {
        Self { reading, place, is_wrapped: false }
    }

    fn wrapped(reading: &'o mut Reading<'r>) -> Self {
        Self { reading, place: Place::Report, is_wrapped: true }
    }

    fn no_object<E>(self) -> Result<(), E> {
        if !self.is_wrapped {
            self.reading.warnings.note(Repair::WrongType, "");
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Objects<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { reading, place, is_wrapped } = self;
        let begun = reading.has_begun();
        // Of a list of reports in an object, the first is read.
        if is_wrapped && begun {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            reading.warnings.note(Repair::SecondReport, "");
            return Ok(());
        }
        let stopped = || A::Error::custom("no more is wanted");
        if !reading.begin(place) {
            return Err(stopped());
        }
        reading.weight.read("{}".len());
        while let Some(key) = map.next_key::<String>()? {
            reading.weight.read(key.len() + "\"\":".len());
            match child(place, &key) {
                Some(Child::Objects(place)) => map.next_value_seed(Objects::new(reading, place))?,
                Some(Child::Text(slot)) => {
                    let told = map.next_value_seed(Texts(&mut reading.warnings))?.join(", ");
                    reading.weight.read(told.len());
                    let told = reading.fitting(place, told, place.longest_text());
                    let slot = slot(&mut reading.held);
                    match slot {
                        None if !told.is_empty() => *slot = Some(told),
                        Some(first) if *first != told => reading.warnings.note(Repair::Repeated, &key),
                        _ => {}
                    }
                }
                Some(Child::Texts(slot)) => {
                    let told = map.next_value_seed(Texts(&mut reading.warnings))?;
                    reading.weight.read(told.iter().map(String::len).sum());
                    let room = LIST.saturating_sub(slot(&mut reading.held).len());
                    if told.len() > room {
                        reading.warnings.note(Repair::ListShortened, "");
                    }
                    for told in told.into_iter().take(room) {
                        let told = reading.fitting(place, told, TEXT);
                        slot(&mut reading.held).extend(Some(told).filter(|told| !told.is_empty()));
                    }
                }
                None if place == Place::Report && !reading.has_begun() => {
                    map.next_value_seed(Objects::wrapped(reading))?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if is_wrapped && reading.has_begun() {
            reading.warnings.once(Repair::WrappedObject);
        }
        if reading.end(place) { Ok(()) } else { Err(stopped()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { reading, place, is_wrapped } = self;
        while list.next_element_seed(Objects { reading: &mut *reading, place, is_wrapped })?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.no_object()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let text = blank_trimmed(text);
        if text.is_empty() {
            return Ok(());
        }
        if self.is_wrapped && text.starts_with('{') {
            let reading = self.reading;
            let parsed = Objects::wrapped(reading).deserialize(&mut serde_json::Deserializer::from_str(text));
            // Other text is no report, and nothing is lost.
            return parsed.or_else(|error| if reading.has_begun() { Err(E::custom(error)) } else { Ok(()) });
        }
        self.no_object()
    }
}

/// Deserializes any value as texts: a list as the texts of its entries, null and white space as none, numbers as digits.
struct Texts<'w>(&'w mut Warnings);

impl Texts<'_> {
    fn one(self, text: &str) -> Vec<String> {
        let text = blank_trimmed(text);
        let end = text.floor_char_boundary(TEXT);
        if end < text.len() {
            self.0.note(Repair::TextShortened, "");
        }
        text.get(..end).filter(|text| !text.is_empty()).map(str::to_owned).into_iter().collect()
    }
}

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<String>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = Vec<String>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(self.one(text))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Vec<String>, E> {
        Ok(vec![number.to_string()])
    }

    fn visit_u64<E>(self, number: u64) -> Result<Vec<String>, E> {
        Ok(vec![number.to_string()])
    }

    fn visit_f64<E>(self, number: f64) -> Result<Vec<String>, E> {
        Ok(vec![number.to_string()])
    }

    fn visit_bool<E>(self, value: bool) -> Result<Vec<String>, E> {
        Ok(vec![value.to_string()])
    }

    fn visit_unit<E>(self) -> Result<Vec<String>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut texts = Vec::new();
        while let Some(more) = list.next_element_seed(Texts(&mut *self.0))? {
            if texts.len() + more.len() > LIST {
                self.0.note(Repair::ListShortened, "");
            } else {
                texts.extend(more);
            }
        }
        Ok(texts)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
        self.0.note(Repair::WrongType, "");
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Vec::new())
    }
}
