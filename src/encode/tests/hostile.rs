//! Property tests with hostile texts: framing and JSON stay valid, and limits hold.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::invisible::is_invisible;
use crate::{
    event::{Provenance, Value},
    report::{Aggregate, DkimAuth, Override, Row, SpfAuth},
    trouble::{Reason, Trouble},
};

/// Texts of characters that break log lines, of any other characters, and occasionally of 100 kB.
fn told() -> impl Strategy<Value = Option<String>> {
    let trouble = prop::sample::select(
        [
            "\"",
            "\\",
            "] ",
            "]",
            "\n",
            "\r\n",
            "\0",
            "\u{1b}[31m",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{202e}",
            "\u{feff}",
        ]
        .into_iter()
        .chain([" ", "=", "a", "é", "😀", "\u{200d}", "<1>1 - - - - - - x", "\\n", "\\u0041", "-", "{}", "\u{e0041}"])
        .collect::<Vec<_>>(),
    );
    prop_oneof![
        2 => Just(None),
        8 => prop::collection::vec(trouble, 0..12).prop_map(|parts| Some(parts.concat())),
        4 => any::<String>().prop_map(Some),
        1 => ("\\PC", 10_000..40_000usize).prop_map(|(part, times)| Some(part.repeat(times))),
    ]
}

prop_compose! {
    fn aggregate()(texts in prop::collection::vec(told(), 24), lists in prop::collection::vec(told(), 0..40)) -> Event<'static> {
        let mut texts = texts.into_iter();
        let mut next = move || texts.next().flatten().map(Cow::Owned);
        let strings: Vec<String> = lists.iter().flatten().cloned().collect();
        let mut report = Aggregate {
            org_name: next(), email: next(), extra_contact_info: next(), report_id: next(), generator: next(),
            version: next(), xml_namespace: next(), begin: next(), errors: strings.clone(), warnings: strings,
            ..Default::default()
        };
        (report.policy.domain, report.policy.p, report.policy.fo) = (next(), next(), next());
        let quads = lists.chunks_exact(4);
        let told = |text: &Option<String>| text.clone().map(Cow::Owned);
        let row = Row {
            source_ip: next(), count: next(), disposition: next(), dkim: next(), spf: next(), header_from: next(),
            envelope_from: next(),
            dkim_auth: quads.clone().map(|t| DkimAuth {
                domain: told(&t[0]), selector: told(&t[1]), result: told(&t[2]), human_result: told(&t[3]),
            }).collect(),
            spf_auth: quads.clone().map(|t| SpfAuth {
                domain: told(&t[3]), scope: told(&t[2]), result: told(&t[1]), human_result: told(&t[0]),
            }).collect(),
            reasons: quads.map(|t| Override { kind: told(&t[0]), comment: told(&t[1]) }).collect(),
            ..Default::default()
        };
        let provenance = Provenance { attachment: next().map(Cow::into_owned), mail_from: next().map(Cow::into_owned), mail_message_id: next().map(Cow::into_owned), ..sample::provenance() };
        sample::aggregate_of(&report, row, provenance)
    }
}

fn event() -> impl Strategy<Value = Event<'static>> {
    let error = told().prop_map(|detail| {
        sample::ingest_error_of(Trouble::new(Reason::XmlMalformed, detail.unwrap_or_default()), Some(sample::SHA256))
    });
    prop_oneof![4 => aggregate(), 1 => error]
}

fn encoding() -> impl Strategy<Value = Encoding> {
    let presets = prop::sample::select(vec![Preset::Full, Preset::Lean, Preset::Seed]);
    (presets, any::<(bool, bool)>()).prop_map(|(fields, (omit_null, joined))| Encoding {
        fields,
        omit_null,
        arrays: if joined { Arrays::Joined } else { Arrays::Nested },
        ..Default::default()
    })
}

fn config() -> impl Strategy<Value = Syslog> {
    let limits = prop_oneof![Just(8000), Just(1400), Just(SMALLEST_LIMIT), 480..20_000u32];
    (limits, any::<(bool, bool)>(), "\\PC{0,300}").prop_map(|(max_message_bytes, (rfc5424, structured_data), name)| {
        let format = if rfc5424 { SyslogFormat::Rfc5424 } else { SyslogFormat::Rfc3164 };
        Syslog { mode: SyslogMode::Udp, hostname: Some(name), max_message_bytes, format, structured_data, ..syslog() }
    })
}

fn json_of(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Text(text) => text.as_ref().into(),
        Value::Texts(texts) => texts.to_vec().into(),
        Value::Objects(objects) => objects
            .iter()
            .map(|object| object.iter().map(|(key, text)| (*key, text.as_deref())).collect::<serde_json::Value>())
            .collect(),
    }
}

/// Parses a message and compares it with the event: equal values, or shorter ones if `truncated` is set.
fn check_json(message: &str, event: &Event) {
    let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(message).unwrap();
    let mut fields = Vec::new();
    event.fields(&mut fields);
    let truncated = parsed.get("truncated") == Some(&true.into());
    for (key, told) in parsed.iter().filter(|(key, _)| *key != "truncated") {
        let original = json_of(&fields.iter().find(|(name, _)| name == key).unwrap().1);
        match (told, &original) {
            _ if *told == original => {}
            (serde_json::Value::String(told), serde_json::Value::String(original)) if truncated => {
                assert!(original.starts_with(told.as_str()), "{key}");
                assert!(!matches!(key.as_str(), "event_id" | "event_type" | "document_sha256"));
            }
            (serde_json::Value::Array(told), serde_json::Value::Array(original)) if truncated => {
                assert!(told.len() <= original.len(), "{key}");
            }
            // Arrays may be joined.
            (serde_json::Value::String(_) | serde_json::Value::Null, serde_json::Value::Array(_)) => {}
            _ => panic!("{key}: {told:?} was {original:?}"),
        }
    }
}

fn assert_one_clean_line(frame: &str) {
    assert!(!frame.chars().any(|c| c.is_control() || is_invisible(c)), "{frame:?}");
}

/// A strict parser for RFC 5424 section 6: returns the parameters of the structured data, and MSG.
fn parse_rfc5424(frame: &str) -> (Vec<(&str, String)>, &str) {
    let mut header = frame.splitn(7, ' ');
    let priority = header.next().unwrap().strip_prefix('<').unwrap().strip_suffix(">1").unwrap();
    assert!(priority.parse::<u8>().unwrap() <= 191);
    let time = header.next().unwrap();
    assert!(time.len() == 27 && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    for (field, max) in header.by_ref().take(4).zip([255, 48, 128, 32]) {
        assert!((1..=max).contains(&field.len()) && field.bytes().all(|byte| byte.is_ascii_graphic()), "{field}");
    }
    let rest = header.next().unwrap();
    if let Some(message) = rest.strip_prefix("- ") {
        return (Vec::new(), message);
    }
    let mut rest = rest.strip_prefix("[dmarc@32473").unwrap();
    let mut params = Vec::new();
    while let Some(param) = rest.strip_prefix(' ') {
        let (key, quoted) = param.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(chars.next().filter(|(_, c)| matches!(c, '"' | '\\' | ']')).unwrap().1),
                (_, c) => {
                    assert_ne!(c, ']');
                    value.push(c);
                }
            }
        };
        params.push((key, value));
        rest = &quoted[end + 1..];
    }
    (params, rest.strip_prefix("] ").unwrap())
}

/// Parses a frame with a reader that others wrote, and compares each of its parts.
fn check_with_another_reader(frame: &str, params: &[(&str, String)], message: &str) {
    let read = syslog_rfc5424::parse_message(frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
    let mut header = frame.splitn(7, ' ');
    let priority = format!("<{}>1", read.facility as u16 * 8 + read.severity as u16);
    assert_eq!(header.next(), Some(&*priority));
    let time: jiff::Timestamp = header.next().unwrap().parse().unwrap();
    assert_eq!((read.timestamp, read.timestamp_nanos), (Some(time.as_second()), Some(time.subsec_nanosecond() as u32)));
    let process = read.procid.map(|id| match id {
        syslog_rfc5424::message::ProcId::PID(id) => id.to_string(),
        syslog_rfc5424::message::ProcId::Name(name) => name,
    });
    for told in [read.hostname, read.appname, process, read.msgid] {
        assert_eq!(header.next(), Some(told.as_deref().unwrap_or("-")));
    }
    let none = std::collections::BTreeMap::new();
    let element = read.sd.find_sdid("dmarc@32473").unwrap_or(&none);
    let expected = params.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    assert_eq!((element, read.sd.len()), (&expected, usize::from(!params.is_empty())));
    assert_eq!(read.msg, message);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..Default::default() })]

    #[test]
    fn json_lines_parse_back_to_the_same_values(event in event(), encoding in encoding()) {
        let line = encode(file(), encoding, &event);
        let line = line.strip_suffix('\n').unwrap();
        assert_one_clean_line(line);
        check_json(line, &event);
        prop_assert!(line.len() <= LARGEST as usize);
    }

    #[test]
    fn stdout_lines_keep_to_their_limit(event in event(), encoding in encoding(), limit in 481..20_000u32) {
        for codec in [Codec::Json, Codec::Text] {
            let line = encode(stdout(limit), Encoding { codec, ..encoding.clone() }, &event);
            prop_assert!(line.len() <= limit as usize);
            let line = line.strip_suffix('\n').unwrap();
            assert_one_clean_line(line);
            if codec == Codec::Json {
                check_json(line, &event);
            }
        }
    }

    #[test]
    fn syslog_frames_are_strict_and_keep_to_their_limit(event in event(), encoding in encoding(), config in config()) {
        let frame = encode(SinkKind::Syslog(config.clone()), encoding, &event);
        prop_assert!(frame.len() <= config.max_message_bytes as usize, "{} of {}", frame.len(), config.max_message_bytes);
        assert_one_clean_line(&frame);
        let message = if config.format == SyslogFormat::Rfc5424 {
            let (params, message) = parse_rfc5424(&frame);
            check_with_another_reader(&frame, &params, message);
            if let Some((key, id)) = params.first() {
                prop_assert_eq!((*key, id.as_str()), ("event_id", &*event.event_id()));
                // The structured data ends where Fluent Bit ends it. The host's name may contain brackets too.
                let (_, data) = frame.split_once(" [dmarc@").unwrap();
                let (_, after) = data.split_once("] ").unwrap();
                prop_assert_eq!(after, message);
            }
            message
        } else {
            // The host's name, after a time of 15 characters, may look like the end of a tag.
            let (_, header) = frame.split_once('>').unwrap();
            let (_, tagged) = header[16..].split_once(' ').unwrap();
            tagged.split_once("]: ").unwrap().1
        };
        prop_assert!(message.is_ascii());
        check_json(message, &event);
    }

    #[test]
    fn text_lines_have_exactly_their_own_keys(event in event(), encoding in encoding()) {
        let line = encode(file(), Encoding { codec: Codec::Text, ..encoding.clone() }, &event);
        let mut rest = line.strip_suffix('\n').unwrap();
        assert_one_clean_line(rest);
        prop_assert!(rest.len() <= LARGEST as usize);
        if rest.ends_with(" truncated=true") {
            return Ok(());
        }
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let (key, value) = rest.split_once('=').unwrap();
            keys.push(key.trim_start());
            rest = if value.starts_with('"') {
                let mut values = serde_json::Deserializer::from_str(value).into_iter::<String>();
                values.next().unwrap().unwrap();
                &value[values.byte_offset()..]
            } else {
                &value[value.find(' ').unwrap_or(value.len())..]
            };
        }
        let mut fields = Vec::new();
        event.fields(&mut fields);
        fields::Selection::new(&encoding).apply(event.event_type(), &mut fields);
        let names: Vec<_> = fields.iter().map(|(key, _)| if *key == "source_ip" { "ip" } else { key }).collect();
        prop_assert_eq!(keys, names);
    }
}
