//! Expected bytes of each codec, format and framing; arbitrary texts are in [`hostile`], events that are too large in
//! [`shrunk`].

mod hostile;
mod shrunk;

use std::sync::Arc;

use super::*;
use crate::{
    config::sink::*,
    event::{EventType, failure::Addresses, sample},
    report::TlsRow,
};

fn sink(kind: SinkKind, encoding: Encoding) -> SinkConfig {
    let rate = Rate::default();
    SinkConfig { inputs: vec![], required: true, events: vec![], encoding, buffer_max_size: 1 << 20, rate, kind }
}

fn syslog() -> Syslog {
    Syslog {
        host: "siem.example".into(),
        port: 601,
        mode: SyslogMode::Tcp,
        tls: Default::default(),
        format: SyslogFormat::Rfc5424,
        framing: Framing::NewlineDelimited,
        acknowledgements: Acknowledgements::Kernel,
        facility: 16,
        app_name: "DMARC_DATA".into(),
        hostname: None,
        enterprise_number: 32473,
        structured_data: true,
        event_time: EventTime::Ingest,
        max_message_bytes: 8000,
        connect_timeout: Default::default(),
        send_timeout: Default::default(),
    }
}

fn seed() -> Encoding {
    Encoding { fields: Preset::Seed, ..Default::default() }
}

fn text() -> Encoding {
    Encoding { codec: Codec::Text, ..seed() }
}

fn stdout(max_line_bytes: u32) -> SinkKind {
    SinkKind::Stdout(Stdout { max_line_bytes })
}

fn file() -> SinkKind {
    SinkKind::File(File { path: "out".into(), retention_days: None, compression: Compression::None })
}

fn encode(kind: SinkKind, encoding: Encoding, event: &Event) -> String {
    let host = Host { name: "host.example".into(), pid: 77 };
    let mut out = Vec::new();
    Encoder::new(&sink(kind, encoding), &host).encode(event, &mut out);
    String::from_utf8(out).unwrap()
}

const SEED: &str = r#"{"org":"Receiver Inc.","report_id":"4711-example.com","domain":"example.com","policy":"reject","source_ip":"192.0.2.10","count":42,"disposition":"none","dkim":"pass","spf":"fail","header_from":"news.example.com","begin":"2026-10-30T00:00:00Z","end":"2026-10-30T23:59:59Z","dkim_domain":"example.com","dkim_result":"pass","spf_domain":"bounce.example.net","spf_result":"pass","ingest_timestamp":"2026-11-01T12:00:00Z"}"#;
const HEADER: &str = "<134>1 2026-11-01T12:00:00.123456Z host.example DMARC_DATA 77 dmarc_aggregate ";
const SD: &str = r#"[dmarc@32473 event_id="bfd49ea31c049e2fddf3f42ea9e69554" org="Receiver Inc." report_id="4711-example.com" domain="example.com" source_ip="192.0.2.10" count="42" disposition="none" dkim="pass" spf="fail" header_from="news.example.com"]"#;
const LINE: &str = r#"org="Receiver Inc." report_id=4711-example.com domain=example.com policy=reject ip=192.0.2.10 count=42 disposition=none dkim=pass spf=fail header_from=news.example.com begin=2026-10-30T00:00:00Z end=2026-10-30T23:59:59Z dkim_domain=example.com dkim_result=pass spf_domain=bounce.example.net spf_result=pass ingest_timestamp=2026-11-01T12:00:00Z"#;

#[test]
fn stdout_and_file_events_are_json_lines_or_array_elements() {
    let array = Encoding { codec: Codec::Array, ..seed() };
    assert_eq!(encode(stdout(16_000), seed(), &sample::aggregate()), format!("{SEED}\n"));
    assert_eq!(encode(file(), seed(), &sample::aggregate()), format!("{SEED}\n"));
    assert_eq!(encode(file(), array, &sample::aggregate()), SEED);
    assert_eq!(encode(file(), text(), &sample::aggregate()), format!("{LINE}\n"));
}

#[test]
fn a_full_event_has_every_key_in_its_order() {
    let line = encode(file(), Encoding::default(), &sample::aggregate());
    let expected = concat!(
        r#""ingest_timestamp":"2026-11-01T12:00:00Z","event_type":"dmarc_aggregate","schema_version":1,"#,
        r#""event_id":"bfd49ea31c049e2fddf3f42ea9e69554","tenant":"acme","org_email":"noreply@receiver.example","#,
        r#""org_contact":"https://receiver.example/dmarc","generator":"reportd 3.1","report_version":"1.0","#,
        r#""xml_namespace":"urn:ietf:params:xml:ns:dmarc-2.0","report_errors":["DNS timed out"],"#,
        r#""subdomain_policy":"quarantine","nonexistent_policy":"reject","pct":100,"adkim":"r","aspf":"s","fo":"1","#,
        r#""testing":"n","discovery_method":"psl","envelope_from":"bounce.example.net","envelope_to":"receiver.example","#,
        r#""dkim_selector":"s1","spf_scope":"mfrom","dmarc_pass":true,"dkim_aligned":true,"spf_aligned":false,"#,
        r#""org_domain":"example.com","policy_effective":"quarantine","override_reason":"local_policy","#,
        r#""failure_class":"pass","dkim_auth":[{"domain":"example.net","selector":"k1","result":"pass","human_result":null},"#,
        r#"{"domain":"example.com","selector":"s1","result":"pass","human_result":null}],"#,
        r#""spf_auth":[{"domain":"bounce.example.net","scope":"mfrom","result":"pass","human_result":null}],"#,
        r#""reasons":[{"type":"local_policy","comment":"known sender"}],"#,
        r#""extensions":[{"path":"record/arc/cv","namespace":"https://receiver.example/ns/1","value":"pass"}],"#,
        r#""record_index":3,"#,
        r#""document_sha256":"abababababababababababababababababababababababababababababababab","#,
        r#""attachment":"receiver.example!example.com!1793318400!1793404799.xml.gz","source":"rua","mailbox":"INBOX","#,
        r#""mail_uid":4711,"mail_message_id":"<1@receiver.example>","mail_from":"noreply@receiver.example","#,
        r#""mail_date":"2026-10-31T04:05:06Z","mail_auth":[{"method":"spf","result":"pass","domain":"bounce.receiver.example"},"#,
        r#"{"method":"dmarc","result":"pass","domain":"receiver.example"}],"reporter_aligned":true,"#,
        r#""parse_warnings":["trailing_junk: data after the end of the report was skipped","several_rows: a record has several rows, each was read as a separate record"],"truncated":false}"#,
        "\n"
    );
    let start = SEED.split_once(r#""ingest_timestamp""#).unwrap().0;
    assert_eq!(line, format!("{start}{expected}"));
}

#[test]
fn rfc5424_frames_are_framed_as_configured() {
    let frame = format!("{HEADER}{SD} {SEED}");
    let counted = Syslog { framing: Framing::OctetCounting, ..syslog() };
    let datagram = Syslog { mode: SyslogMode::Udp, ..counted.clone() };
    let encode = |syslog| encode(SinkKind::Syslog(syslog), seed(), &sample::aggregate());
    assert_eq!(encode(syslog()), format!("{frame}\n"));
    assert_eq!(encode(counted), format!("{} {frame}", frame.len()));
    assert_eq!(encode(datagram), frame);
}

#[test]
fn rfc3164_frames_match_a_filter_on_the_program_name() {
    let config = Syslog { format: SyslogFormat::Rfc3164, event_time: EventTime::Begin, ..syslog() };
    let frame = encode(SinkKind::Syslog(config.clone()), text(), &sample::aggregate());
    assert_eq!(frame, format!("<134>Oct 30 00:00:00 host.example DMARC_DATA[77]: {LINE}\n"));
    let config = Syslog { event_time: EventTime::Ingest, ..config };
    let frame = encode(SinkKind::Syslog(config), text(), &sample::aggregate());
    assert!(frame.starts_with("<134>Nov  1 12:00:00 host.example "), "the day is padded with a space: {frame}");
}

#[test]
fn event_time_sets_the_frame_timestamp_or_falls_back_to_ingest() {
    let time = |event_time, event: &Event| {
        let frame = encode(SinkKind::Syslog(Syslog { event_time, ..syslog() }), seed(), event);
        frame.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(time(EventTime::Begin, &sample::aggregate()), "2026-10-30T00:00:00.000000Z");
    assert_eq!(time(EventTime::End, &sample::report_event()), "2026-10-30T23:59:59.000000Z");
    assert_eq!(time(EventTime::End, &sample::silent()), "2026-11-01T12:00:00.123456Z");
    assert_eq!(time(EventTime::Begin, &sample::ingest_error()), "2026-11-01T12:00:00.123456Z");
}

#[test]
fn ingest_errors_have_severity_warning() {
    let frame = encode(SinkKind::Syslog(Syslog { facility: 200, ..syslog() }), seed(), &sample::ingest_error());
    let start = "<188>1 2026-11-01T12:00:00.123456Z host.example DMARC_DATA 77 ingest_error \
                 [dmarc@32473 event_id=\"0476000591a3a97611f5831c30bd1749\"] ";
    let message = r#"{"event_type":"ingest_error","schema_version":1,"event_id":"0476000591a3a97611f5831c30bd1749","tenant":"acme","reason":"document_too_large","detail":"the size of the document, in bytes, exceeds 1073741824; raise limits.document_bytes to read it","limit_setting":"limits.document_bytes","limit_value":1073741824,"suppressed":2,"ingest_timestamp":"2026-11-01T12:00:00Z","truncated":false}"#;
    assert_eq!(frame, format!("{start}{message}\n"));
}

#[test]
fn a_probe_event_has_its_own_type_and_note() {
    let frame = encode(SinkKind::Syslog(syslog()), seed(), &sample::probe());
    let start = "<134>1 2026-11-01T12:00:00.123456Z host.example DMARC_DATA 77 probe \
                 [dmarc@32473 event_id=\"df22957ecec2e224b6e81ce2b072a211\"] ";
    let message = r#"{"event_type":"probe","schema_version":1,"event_id":"df22957ecec2e224b6e81ce2b072a211","tenant":"acme","note":"test event sent by dmarc-shipper check; it does not come from a report","ingest_timestamp":"2026-11-01T12:00:00Z","truncated":false}"#;
    assert_eq!(frame, format!("{start}{message}\n"));
}

#[test]
fn reports_and_errors_are_text_lines_too() {
    let line = encode(file(), text(), &sample::report_event());
    assert_eq!(
        line,
        "event_type=report schema_version=1 event_id=61bc0349ce19c96fe8dbc66b8f70355f tenant=acme report_type=dmarc_aggregate \
         outcome=partial org=\"Receiver Inc.\" org_email=noreply@receiver.example report_id=4711-example.com \
         domain=example.com begin=2026-10-30T00:00:00Z end=2026-10-30T23:59:59Z rows=12 rows_skipped=1 count_sum=345 \
         ingest_timestamp=2026-11-01T12:00:00Z truncated=false\n"
    );
    let line = encode(file(), text(), &sample::ingest_error());
    assert!(
        line.contains(r#" reason=document_too_large detail="the size of the document, in bytes, exceeds"#),
        "{line}"
    );
}

#[test]
fn structured_data_can_be_turned_off_and_obeys_the_field_lists() {
    let off = Syslog { structured_data: false, ..syslog() };
    assert_eq!(encode(SinkKind::Syslog(off), seed(), &sample::aggregate()), format!("{HEADER}- {SEED}\n"));
    let except = Encoding { except_fields: vec!["org".into(), "header_from".into()], ..seed() };
    let frame = encode(SinkKind::Syslog(syslog()), except, &sample::aggregate());
    assert!(!frame.contains("Receiver") && !frame.contains("news.example.com"), "{frame}");
    let only = Encoding { only_fields: vec!["pct".into()], ..Default::default() };
    assert_eq!(encode(SinkKind::Syslog(syslog()), only, &sample::aggregate()), format!("{HEADER}- {{\"pct\":100}}\n"));
}

#[test]
fn presets_and_lists_choose_the_keys() {
    let keys = |encoding, event: &Event| -> Vec<String> {
        let line = encode(file(), encoding, event);
        serde_json::from_str::<serde_json::Map<_, _>>(&line).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    let has = |keys: &[String], key: &str| keys.iter().any(|other| other == key);
    let lean = keys(Encoding { fields: Preset::Lean, ..Default::default() }, &sample::aggregate());
    assert!(has(&lean, "spf_result") && has(&lean, "event_id") && has(&lean, "pct") && has(&lean, "truncated"));
    for left_out in ["dkim_auth", "parse_warnings", "dmarc_pass", "mail_uid", "document_sha256", "record_index"] {
        assert!(!has(&lean, left_out), "{left_out}");
    }
    let lists = Encoding {
        only_fields: vec!["count".into(), "source_ip".into(), "reasons".into()],
        except_fields: vec!["count".into()],
        ..Default::default()
    };
    assert_eq!(keys(lists, &sample::aggregate()), ["reasons", "source_ip"]);
    let nulls = Encoding { omit_null: true, ..seed() };
    assert_eq!(keys(nulls, &sample::silent()), ["ingest_timestamp"]);
    assert_eq!(keys(seed(), &sample::silent()).len(), 17);
    assert_eq!(EventType::ALL.iter().map(|event_type| *event_type as usize).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn joined_arrays_are_one_string_and_empty_ones_null() {
    let encoding = |omit_null| Encoding {
        only_fields: ["dkim_auth", "reasons", "parse_warnings"].map(str::to_owned).to_vec(),
        arrays: Arrays::Joined,
        omit_null,
        ..Default::default()
    };
    assert_eq!(
        encode(file(), encoding(false), &sample::aggregate()),
        concat!(
            r#"{"dkim_auth":"example.net/k1/pass/; example.com/s1/pass/","reasons":"local_policy/known sender","#,
            r#""parse_warnings":"trailing_junk: data after the end of the report was skipped; several_rows: a record has several rows, each was read as a separate record"}"#,
            "\n"
        )
    );
    let silent = |omit_null| {
        let except_fields = vec!["parse_warnings".to_owned()];
        encode(file(), Encoding { except_fields, ..encoding(omit_null) }, &sample::silent())
    };
    assert_eq!(silent(false), "{\"dkim_auth\":null,\"reasons\":null}\n");
    assert_eq!(silent(true), "{}\n");
}

#[test]
fn null_is_a_dash_in_text_lines_and_a_dash_is_quoted() {
    let report = crate::report::Aggregate { org_name: sample::some("-"), ..Default::default() };
    let event = sample::aggregate_of(&report, Default::default(), sample::provenance());
    let line = encode(file(), text(), &event);
    assert!(line.starts_with(r#"org="-" report_id=- domain=- policy=- ip=- count=- "#), "{line}");
}

#[test]
fn header_fields_are_printable_ascii_of_the_lengths_of_the_rfc() {
    let config = Syslog { app_name: "Ä b]".repeat(40), hostname: Some("h ö\n".repeat(100)), ..syslog() };
    let frame = encode(SinkKind::Syslog(config.clone()), seed(), &sample::aggregate());
    let fields: Vec<_> = frame.split(' ').collect();
    assert_eq!((fields[2].len(), fields[3].len(), fields[4]), (255, 48, "77"));
    assert!(fields[2].starts_with("h___h___") && fields[3].starts_with("__b]__b]"), "{frame}");
    let config =
        Syslog { format: SyslogFormat::Rfc3164, app_name: "a[1]: b".into(), hostname: Some(String::new()), ..config };
    let frame = encode(SinkKind::Syslog(config), seed(), &sample::aggregate());
    assert!(frame.starts_with("<134>Nov  1 12:00:00 - a_1___b[77]: {"), "{frame}");
}

#[test]
fn encoder_buffers_are_reused() {
    let mut encoder = Encoder::new(&sink(file(), seed()), &Host { name: String::new(), pid: 1 });
    let mut out = Vec::new();
    encoder.encode(&sample::aggregate(), &mut out);
    let kept = (encoder.fields.as_ptr(), encoder.frame.as_ptr());
    assert!(encoder.fields.is_empty() && encoder.fields.capacity() > 0);
    encoder.encode(&sample::silent(), &mut out);
    assert_eq!((encoder.fields.as_ptr(), encoder.frame.as_ptr()), kept);
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2, "frames are appended");
}

#[test]
fn structured_data_of_tls_rpt_and_failure_events_has_key_fields() {
    let tls = sample::tls_event(sample::tls_rpt(), TlsRow::Failure(sample::tls_failure()));
    let frame = encode(SinkKind::Syslog(syslog()), seed(), &tls);
    assert!(frame.contains(r#" domain="example.com" source_ip="192.0.2.10" count="2" policy_type="sts" result_type="certificate-expired"] "#), "{frame}");
    assert!(frame.starts_with("<134>1 ") && frame.contains(" tls_rpt [dmarc@"), "{frame}");
    let failure = sample::failure_event(&sample::failure(), Addresses::Masked);
    let frame = encode(SinkKind::Syslog(syslog()), seed(), &failure);
    assert!(
        frame.contains(r#" source_ip="192.0.2.10" count="2" header_from="example.com" auth_failure="dmarc"] "#),
        "{frame}"
    );
    assert!(frame.contains(" dmarc_failure [dmarc@"), "{frame}");
}

/// Regression of the kind: bytes of one report in the row of another.
#[test]
fn an_encoder_writes_each_row_as_a_new_one_would() {
    let other = crate::report::Aggregate { org_name: Some("Another".into()), ..sample::report() };
    let reports = [sample::report(), other, Default::default()];
    let shared: Vec<_> = reports
        .iter()
        .map(|report| crate::event::aggregate::Shared::new(report, sample::SHA256, Arc::new(sample::provenance())))
        .collect();
    let host = Host { name: "host.example".into(), pid: 77 };
    let (omit, joined) =
        (Encoding { omit_null: true, ..seed() }, Encoding { arrays: Arrays::Joined, ..Default::default() });
    let one = Encoding { only_fields: vec!["spf_scope".into()], omit_null: true, ..Default::default() };
    for encoding in [Encoding::default(), seed(), omit, joined, one] {
        for kind in
            [file(), SinkKind::Syslog(syslog()), SinkKind::Syslog(Syslog { max_message_bytes: 480, ..syslog() })]
        {
            let config = sink(kind, encoding.clone());
            let mut reused = Encoder::new(&config, &host);
            for at in [0, 0, 1, 0, 2, 2, 1] {
                let row = if at == 1 { crate::report::Row::default() } else { sample::row() };
                let event = crate::event::aggregate::AggregateEvent::new(shared[at].clone(), row);
                let event = Event::Aggregate(Box::new(event));
                let (mut by_reused, mut by_new) = (Vec::new(), Vec::new());
                reused.encode(&event, &mut by_reused);
                Encoder::new(&config, &host).encode(&event, &mut by_new);
                assert_eq!(String::from_utf8(by_reused), String::from_utf8(by_new));
                // By another way: the fields that are left, as one object.
                let mut fields = Vec::new();
                event.fields(&mut fields);
                reused.selection.apply(EventType::DmarcAggregate, &mut fields);
                let mut object = Vec::new();
                reused.message.write(&fields, &mut object);
                let frame = std::mem::take(&mut reused.frame);
                assert!(frame.ends_with(&object) || frame.len() <= 480, "{}", String::from_utf8_lossy(&frame));
            }
        }
    }
}
