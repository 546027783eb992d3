//! Selects the fields of an event that a sink writes, and joins arrays: presets, `only_fields`, `except_fields`,
//! `omit_null`.

use std::borrow::Cow;

use crate::{
    config::sink::{Arrays, Encoding, Preset},
    event::{
        EventType, Field, Value,
        schema::{self, Key, Part},
    },
};

/// Field selection of one sink.
#[derive(Debug)]
pub(super) struct Selection {
    /// By event type, then by index among its keys: true if the key is written.
    chosen: Vec<Box<[bool]>>,
    only: Vec<String>,
    except: Vec<String>,
    omit_null: bool,
    joined: bool,
}

impl Selection {
    pub(super) fn new(encoding: &Encoding) -> Self {
        let mut selection = Self {
            chosen: Vec::new(),
            only: encoding.only_fields.clone(),
            except: encoding.except_fields.clone(),
            omit_null: encoding.omit_null,
            joined: encoding.arrays == Arrays::Joined,
        };
        let chosen = |event_type: &EventType| {
            let chooses = |key: &Key| in_preset(key, *event_type, encoding.fields) && selection.permits(key.name);
            schema::keys(*event_type).iter().map(chooses).collect()
        };
        selection.chosen = EventType::ALL.iter().map(chosen).collect();
        selection
    }

    /// True if `only_fields` and `except_fields` permit a key, whatever the preset.
    pub(super) fn permits(&self, key: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|name| name == key);
        (self.only.is_empty() || listed(&self.only)) && !listed(&self.except)
    }

    /// True if the key at this index among those of its event type is written, unless its value is an omitted null.
    pub(super) fn chooses(&self, event_type: EventType, index: usize) -> bool {
        self.chosen.get(event_type as usize).and_then(|chosen| chosen.get(index)).is_some_and(|chosen| *chosen)
    }

    /// Returns the form in which a value is written; `None` if it is an omitted null.
    pub(super) fn written<'v, 'a>(&self, value: &'v Value<'a>) -> Option<Cow<'v, Value<'a>>> {
        let value = match value {
            Value::Texts(_) | Value::Objects(_) if self.joined => {
                Cow::Owned(joined(value).map_or(Value::Null, |text| Value::Text(Cow::Owned(text))))
            }
            value => Cow::Borrowed(value),
        };
        (!self.omit_null || *value != Value::Null).then_some(value)
    }

    /// Removes fields that are not written. `fields` must be all fields of an event of that type.
    pub(super) fn apply(&self, event_type: EventType, fields: &mut Vec<Field<'_>>) {
        let mut index = 0..;
        fields.retain_mut(|(_, value)| {
            if !index.next().is_some_and(|index| self.chooses(event_type, index)) {
                return false;
            }
            match self.written(value) {
                Some(Cow::Owned(written)) => *value = written,
                Some(Cow::Borrowed(_)) => {}
                None => return false,
            }
            true
        });
    }
}

fn in_preset(key: &Key, event_type: EventType, preset: Preset) -> bool {
    match preset {
        Preset::Full => true,
        // The seed schema covers rows only.
        Preset::Seed if event_type == EventType::DmarcAggregate => key.part == Part::Seed,
        Preset::Lean | Preset::Seed => !key.is_array() && !matches!(key.part, Part::Derived | Part::Provenance),
    }
}

/// Formats an array as one string: elements joined by `; ` and their values by `/`. `None` for an empty one.
pub(super) fn joined(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Texts(texts) => (!texts.is_empty()).then(|| texts.join("; ")),
        Value::Objects(objects) => {
            let element = |object: &crate::event::Object<'_>| {
                object.iter().map(|(_, value)| value.as_deref().unwrap_or_default()).collect::<Vec<_>>().join("/")
            };
            (!objects.is_empty()).then(|| objects.iter().map(element).collect::<Vec<_>>().join("; "))
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => None,
    }
}
