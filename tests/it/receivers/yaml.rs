//! Converts YAML of other programs' configurations to JSON; does not support anchors and tags, which no example needs.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Parses `text`, which must be a single document; fails if it is not well-formed or has a duplicate key.
#[track_caller]
pub fn parse(text: &str) -> Value {
    let mut parser = Parser::new_from_str(text);
    let mut events = std::iter::from_fn(move || parser.next_event().map(|event| event.unwrap().0));
    let begin = events.find(|event| !matches!(event, Event::StreamStart | Event::DocumentStart(_)));
    let value = node(begin.unwrap(), &mut events);
    assert!(!events.any(|event| matches!(event, Event::DocumentStart(_))), "one document");
    value
}

fn node<'a>(begin: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match begin {
        Event::Scalar(text, ScalarStyle::Plain, ..) => match &*text {
            "true" => true.into(),
            "false" => false.into(),
            "" | "null" | "~" => Value::Null,
            text => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        },
        Event::Scalar(text, ..) => text.into_owned().into(),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            while let Some(event) = events.next().filter(|event| !matches!(event, Event::SequenceEnd)) {
                list.push(node(event, events));
            }
            list.into()
        }
        Event::MappingStart(..) => {
            let mut table = Map::new();
            while let Some(event) = events.next().filter(|event| !matches!(event, Event::MappingEnd)) {
                let key = match node(event, events) {
                    Value::String(key) => key,
                    key => key.to_string(),
                };
                let begin = events.next().unwrap();
                let value = node(begin, events);
                assert!(table.insert(key.clone(), value).is_none(), "{key} twice");
            }
            table.into()
        }
        other => panic!("not expected in an example: {other:?}"),
    }
}
