//! Keys of a TLS report by the object they are in, and lenient deserialization of any JSON value for them.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Held, Reading};
use crate::report::values::blank_trimmed;
use crate::report::warnings::{Repair, Warnings};

/// Maximum bytes kept of a text, as in XML reports; and of one that is repeated in the events of other rows.
const TEXT: usize = 4 << 10;
const HEAD_TEXT: usize = 1 << 10;
/// Maximum bytes kept of a policy's type and of its domain: the length of a domain name (RFC 1035 section 2.3.4).
const NAME: usize = 255;
/// Maximum number of entries kept of a list; an STS policy has one per line and one per MX host.
const LIST: usize = 64;

/// An object of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Report,
    Range,
    /// One of `policies`.
    Policy,
    /// The `policy` object in one of `policies`.
    Described,
    Summary,
    /// One of `failure-details`.
    Failure,
}

/// Type of the value of a key.
#[derive(Clone, Copy)]
enum Child {
    Objects(Place),
    Text(fn(&mut Held) -> &mut Option<String>),
    Texts(fn(&mut Held) -> &mut Vec<String>),
}

/// RFC 8460 section 4.4; `mx-host-pattern` is the key in its text, `mx-host` that in its example.
const CHILDREN: &[(Place, &str, Child)] = &[
    (Place::Report, "organization-name", Child::Text(|held| &mut held.report.organization_name)),
    (Place::Report, "contact-info", Child::Text(|held| &mut held.report.contact_info)),
    (Place::Report, "report-id", Child::Text(|held| &mut held.report.report_id)),
    (Place::Report, "date-range", Child::Objects(Place::Range)),
    (Place::Report, "policies", Child::Objects(Place::Policy)),
    (Place::Range, "start-datetime", Child::Text(|held| &mut held.report.begin)),
    (Place::Range, "end-datetime", Child::Text(|held| &mut held.report.end)),
    (Place::Policy, "policy", Child::Objects(Place::Described)),
    (Place::Policy, "summary", Child::Objects(Place::Summary)),
    (Place::Policy, "failure-details", Child::Objects(Place::Failure)),
    (Place::Described, "policy-type", Child::Text(|held| &mut held.name.policy_type)),
    (Place::Described, "policy-domain", Child::Text(|held| &mut held.name.domain)),
    (Place::Described, "policy-string", Child::Texts(|held| &mut held.policy.strings)),
    (Place::Described, "mx-host", Child::Texts(|held| &mut held.policy.mx_hosts)),
    (Place::Described, "mx-host-pattern", Child::Texts(|held| &mut held.policy.mx_hosts)),
    (Place::Summary, "total-successful-session-count", Child::Text(|held| &mut held.policy.successful)),
    (Place::Summary, "total-failure-session-count", Child::Text(|held| &mut held.policy.failed)),
    (Place::Failure, "result-type", Child::Text(|held| &mut held.failure.result_type)),
    (Place::Failure, "sending-mta-ip", Child::Text(|held| &mut held.failure.sending_mta_ip)),
    (Place::Failure, "receiving-mx-hostname", Child::Text(|held| &mut held.failure.receiving_mx_hostname)),
    (Place::Failure, "receiving-mx-helo", Child::Text(|held| &mut held.failure.receiving_mx_helo)),
    (Place::Failure, "receiving-ip", Child::Text(|held| &mut held.failure.receiving_ip)),
    (Place::Failure, "failed-session-count", Child::Text(|held| &mut held.failure.failed)),
    (Place::Failure, "additional-information", Child::Text(|held| &mut held.failure.additional_information)),
    (Place::Failure, "failure-reason-code", Child::Text(|held| &mut held.failure.reason_code)),
];

impl Place {
    /// Maximum bytes kept of a single text: fewer if other rows repeat it.
    fn longest_text(self) -> usize {
        match self {
            Place::Report | Place::Range => HEAD_TEXT,
            Place::Described => NAME,
            Place::Policy | Place::Summary | Place::Failure => TEXT,
        }
    }
}

/// Looks up a key, normalised to lower case with hyphens.
fn child(place: Place, key: &str) -> Option<Child> {
    let key = key.trim().to_ascii_lowercase().replace('_', "-");
    CHILDREN.iter().find(|(inside, name, _)| (*inside, *name) == (place, key.as_str())).map(|(_, _, child)| *child)
}

impl Reading<'_> {
    /// Returns as much of a text as may be kept, `most` bytes.
    fn fitting(&mut self, place: Place, mut told: String, most: usize) -> String {
        let is_of_report = matches!(place, Place::Report | Place::Range);
        let room = match place {
            Place::Report | Place::Range => &mut self.head_room,
            Place::Policy | Place::Described | Place::Summary => &mut self.policy_room,
            Place::Failure => &mut self.failure_room,
        };
        let end = told.floor_char_boundary(most.min(*room));
        if end < told.len() {
            self.warnings.note(Repair::TextShortened, "");
            told.truncate(end);
        }
        *room -= told.len();
        if is_of_report {
            self.weight.head(&told);
        }
        told
    }
}

/// Deserializes objects of one kind from a single object, a list of them, or nothing.
pub(super) struct Objects<'o, 'r> {
    reading: &'o mut Reading<'r>,
    place: Place,
}

impl<'o, 'r> Objects<'o, 'r> {
    pub fn new(reading: &'o mut Reading<'r>, place: Place) -> Self {
        Self { reading, place }
    }

    fn no_object<E>(self) -> Result<(), E> {
        self.reading.warnings.note(Repair::WrongType, "");
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
        let Self { reading, place } = self;
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
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if reading.end(place) { Ok(()) } else { Err(stopped()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Objects::new(self.reading, self.place))?.is_some() {}
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

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if blank_trimmed(text).is_empty() { Ok(()) } else { self.no_object() }
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
