//! Defaults, variables and secrets.

use super::*;
use crate::event::EventType;

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let loaded = yaml(SMALL).unwrap();
    let config = &loaded.config;
    assert_eq!((config.data_dir.clone(), config.tenant.clone()), (None, None));
    assert_eq!((config.give_up_after, config.shutdown_timeout), (Duration::from_secs(300), Duration::from_secs(25)));
    assert_eq!((config.intake_max_size, config.ledger.retention_days), (32 << 20, 400));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Auto));
    assert_eq!(config.limits, Limits::default());
    assert_eq!((config.limits.mail_bytes, config.limits.mail_parts), (64 << 20, 256));
    let imap = imap(&loaded);
    assert_eq!((imap.port, imap.security, imap.folder[0].as_str()), (993, source::Security::Tls, "INBOX"));
    assert_eq!((imap.poll_interval, imap.connect_timeout), (Duration::from_secs(300), Duration::from_secs(10)));
    assert_eq!((imap.read_timeout, imap.max_messages_per_run), (Duration::from_secs(60), None));
    assert!(imap.tls.verify_certificate && imap.tls.verify_hostname);
    let out = &config.sinks["out"];
    assert!(out.required && out.inputs.is_empty() && out.events.is_empty());
    assert_eq!((out.buffer_max_size, out.rate.events, out.rate.per), (8 << 20, None, Duration::from_secs(1)));
    assert!(matches!(&out.kind, sink::SinkKind::Stdout(stdout) if stdout.max_line_bytes == 16_000));
}

#[test]
fn syslog_defaults_depend_on_the_mode() {
    for (mode, port, bytes) in [("tls", 6514, 8_000), ("tcp", 601, 8_000), ("udp", 514, 1_400)] {
        let text = format!(
            "sources: {{f: {{type: file, path: /x}}}}\nsinks: {{s: {{type: syslog, mode: {mode}, address: siem}}}}\n"
        );
        let loaded = yaml(&text).unwrap();
        let syslog = syslog(&loaded);
        assert_eq!((syslog.host.as_str(), syslog.port, syslog.max_message_bytes), ("siem", port, bytes));
        assert_eq!((syslog.facility, syslog.app_name.as_str(), syslog.enterprise_number), (16, "DMARC_DATA", 32_473));
        assert!(syslog.structured_data);
        assert_eq!(syslog.send_timeout, Duration::from_secs(30));
    }
}

#[test]
fn every_option_is_decoded_into_its_field() {
    let text = "\
data_dir: /var/lib/dmarc
tenant: acme
intake: {max_size: 64MiB}
limits: {document_bytes: 10MB, rows: 5}
log: {level: DEBUG, format: json}
sources:
  rua: {type: imap, host: '[2001:db8::1]', security: starttls, user: me, password: 0123, archive_folder: Done}
sinks:
  siem:
    type: syslog
    address: '[::1]:1514'
    mode: tcp
    format: rfc3164
    framing: {method: newline_delimited}
    encoding: {codec: text, only_fields: [org, count], omit_null: true, arrays: joined, fields: lean}
    events: report, ingest_error
    inputs: rua
    facility: 23
    rate_limit_num: 2000
    rate_limit_duration_secs: 10
    rate_limit_bytes: 1MiB
    required: yes
";
    let told = problems(text);
    assert_eq!(told, ["dmarc.yaml:22:15: sinks.siem.required: expected true or false, not \"yes\""]);
    let loaded = yaml(&text.replace("yes", "true")).unwrap();
    let config = &loaded.config;
    assert_eq!((config.intake_max_size, config.limits.document_bytes, config.limits.rows), (64 << 20, 10_000_000, 5));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Json));
    let imap = imap(&loaded);
    assert_eq!((imap.host.as_str(), imap.port), ("2001:db8::1", 143));
    assert_eq!(password(imap).reveal().unwrap(), "0123");
    assert_eq!(imap.archive_folder.as_deref(), Some("Done"));
    let sink = &config.sinks["siem"];
    assert_eq!(sink.events, [EventType::Report, EventType::IngestError]);
    assert_eq!((sink.inputs.join(","), sink.encoding.only_fields.join(",")), ("rua".into(), "org,count".into()));
    assert_eq!((sink.encoding.codec, sink.encoding.arrays), (sink::Codec::Text, sink::Arrays::Joined));
    assert_eq!(sink.rate.events.map(u32::from), Some(2000));
    assert_eq!(sink.rate.bytes_per_second.map(u32::from), Some(1 << 20));
    let syslog = syslog(&loaded);
    assert_eq!((syslog.host.as_str(), syslog.port, syslog.facility), ("::1", 1514, 23));
    assert_eq!(syslog.framing, sink::Framing::NewlineDelimited);
}

#[test]
fn yaml_toml_and_json_decode_to_the_same_configuration() {
    let toml = "\
[sources.rua]
type = 'imap'
host = 'h'
port = 1_993
user = 'u'
password = \"p\\u00e4\"
[sinks.out]
type = 'stdout'
required = true
";
    let json = r#"{"sources": {"rua": {"type": "imap", "host": "h", "port": 1993, "user": "u", "password": "p\u00e4"}},
        "sinks": {"out": {"type": "stdout", "required": true}}}"#;
    for (text, format) in [(toml, Format::Toml), (json, Format::Json), (json, Format::Yaml)] {
        let loaded = load_as(text, format, "f", &[]).unwrap();
        let imap = imap(&loaded);
        assert_eq!((imap.port, password(imap).reveal().unwrap().as_str()), (1993, "pä"), "{format:?}");
    }
}

#[test]
fn variables_are_interpolated_in_values_but_never_become_structure() {
    let text = SMALL
        .replace("imap.example.com", "${HOST}\n    port: ${PORT}\n    archive_folder: ${ARCHIVE:-}")
        .replace("s3cret", "${PASSWORD}");
    let tricky = "x\n    user: root # ${HOST} $$";
    let loaded = yaml_with(&text, &[("HOST", "mail.example.com"), ("PORT", "1993"), ("PASSWORD", tricky)]).unwrap();
    let imap = imap(&loaded);
    assert_eq!((imap.host.as_str(), imap.port, imap.user.as_str()), ("mail.example.com", 1993, "dmarc@example.com"));
    assert_eq!(password(imap).reveal().unwrap(), tricky);
    assert_eq!(imap.archive_folder, None, "a variable that leaves nothing is as if nothing were written");
}

#[test]
fn a_required_option_whose_variable_is_empty_is_missing() {
    let told = lines(yaml_with(&SMALL.replace("imap.example.com", "${HOST}"), &[("HOST", "")]).unwrap_err());
    assert_eq!(told, ["dmarc.yaml:4:11: sources.rua.host: is missing; expected a host name or address"]);
}

#[test]
fn null_means_unset_and_an_empty_text_is_refused() {
    let loaded = yaml(&format!("tenant:\nlog: ~\n{SMALL}    encoding:\n    buffer: {{max_size: null}}\n")).unwrap();
    assert_eq!((loaded.config.tenant, loaded.config.sinks["out"].buffer_max_size), (None, 8 << 20));
    assert_eq!(problems(&format!("tenant: ''\n{SMALL}")), ["dmarc.yaml:1:9: tenant: must not be empty"]);
}

#[test]
fn folder_is_a_text_or_a_list_and_may_contain_commas() {
    let folders = |written: &str| {
        let loaded =
            yaml(&SMALL.replace("password: s3cret", &format!("password: s3cret\n    folder: {written}"))).unwrap();
        imap(&loaded).folder.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(folders("Reports, old"), ["Reports, old"]);
    assert_eq!(folders("[INBOX, Junk, 'Reports/*']"), ["INBOX", "Junk", "Reports/*"]);
    let told = problems(&SMALL.replace("password: s3cret", "password: s3cret\n    folder: [Inbox, INBOX]"));
    assert_eq!(told, ["dmarc.yaml:7:13: sources.rua.folder: contains \"INBOX\" twice; keep one of them"]);
}

#[test]
fn a_source_may_have_a_tenant_of_its_own() {
    let text = SMALL.replace("password: s3cret", "password: s3cret\n    tenant: acme");
    let loaded = yaml(&format!("tenant: all\n{text}")).unwrap();
    assert_eq!((loaded.config.tenant_of("rua"), loaded.config.tenant_of("other")), (Some("acme"), Some("all")));
}

#[test]
fn control_characters_are_refused_and_escaped_in_problems() {
    let told = problems(&SMALL.replace("user: dmarc@example.com", "user: \"a\\r\\nb\"\n    \"\\e[2J\": 1"));
    assert_eq!(
        told,
        [
            "dmarc.yaml:5:11: sources.rua.user: must not contain control characters, as \"a\\r\\nb\" does",
            "dmarc.yaml:6:5: sources.rua.\\u{1b}[2J: unknown option; known here: type, host, security, port, user, password, \
             password_file, auth, oauth, tls, folder, search, archive_folder, quarantine_folder, after, without_report, watch, \
             poll_interval, max_messages_per_run, connect_timeout, read_timeout, pipelining, tenant, trusted_authserv_ids, require_authenticated"
        ]
    );
}

#[test]
fn secrets_never_appear_in_problems_warnings_or_debug_output() {
    let broken = SMALL.replace("password: s3cret", "password: s3cret${\n    password_file: /nowhere\n    port: 0");
    let told = problems(&broken).join("\n");
    assert!(told.contains("sources.rua.password: a ${ is not closed"), "{told}");
    assert!(told.contains("sources.rua.password_file: can't be combined with password"), "{told}");
    assert!(!told.contains("s3cret"), "{told}");
    let told = problems(&SMALL.replace("password: s3cret", "password: [s3cret]")).join("\n");
    assert!(told.contains("expected a text, not a list") && !told.contains("s3cret"), "{told}");
    let loaded = yaml(SMALL).unwrap();
    assert!(!format!("{loaded:?}").contains("s3cret"));
}

#[cfg(unix)]
#[test]
fn world_readable_and_missing_secret_files_give_warnings() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let text = SMALL.replace("password: s3cret", &format!("password_file: {}", secret.display()));
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true)] {
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(mode)).unwrap();
        let loaded = yaml(&text).unwrap();
        assert_eq!(password(imap(&loaded)).reveal().unwrap(), "s3cret");
        let about: Vec<_> = loaded.warnings.iter().filter(|w| w.starts_with("sources.rua.password_file: ")).collect();
        assert_eq!(!about.is_empty(), warned, "{mode:o}: {about:?}");
    }
    std::fs::remove_file(&secret).unwrap();
    assert!(yaml(&text).unwrap().warnings.iter().any(|warning| warning.contains("can't be read now")));
}

/// Regression: the byte order mark was part of the password, and the login failed.
#[test]
fn secret_files_are_read_without_their_byte_order_mark() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let utf16 = |unit: fn(u16) -> [u8; 2]| "\u{feff}s3crét\r\n".encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    for bytes in ["\u{feff}s3crét\n".as_bytes().to_vec(), utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(secret::Secret::File(file.clone()).reveal().unwrap(), "s3crét", "{bytes:?}");
    }
    // A mark anywhere else belongs to the secret.
    std::fs::write(&file, "a\u{feff}").unwrap();
    assert_eq!(secret::Secret::File(file.clone()).reveal().unwrap(), "a\u{feff}");
    for (bytes, part) in [(&b"\xff\xfe\x00\xd8"[..], "password"), (b"p\xe4ss", "UTF-8")] {
        std::fs::write(&file, bytes).unwrap();
        let told = secret::Secret::File(file.clone()).reveal().unwrap_err();
        assert!(told.starts_with("can't read the secret file ") && told.contains(part), "{told}");
    }
}

#[test]
fn limits_of_a_file_and_of_arguments_have_the_syntax_and_errors_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dmarc.yaml");
    // The secret of another part of the file need not be there.
    let text = SMALL.replace("s3cret", "${NO_SUCH_VARIABLE_HERE}");
    std::fs::write(&file, format!("limits: {{rows: 5, document_bytes: 10MB}}\n{text}")).unwrap();
    let changed = |changes: &[&str]| {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        limits(Some(&file), &changes).map_err(|problems| problems.to_string())
    };
    let told = changed(&["limits.rows=7", "mail_bytes = 2MiB"]).unwrap();
    assert_eq!((told.rows, told.mail_bytes, told.document_bytes), (7, 2 << 20, 10_000_000));
    assert_eq!(told.nesting, Limits::default().nesting);
    assert_eq!(limits(None, &[]).unwrap(), Limits::default());
    for (change, part) in [
        ("rows", "--limit rows: expected NAME=VALUE"),
        ("rows=many", "--limit rows=many: limits.rows: expected a whole number"),
        ("rows=", "limits.rows: expected"),
        ("row=1", "limits.row: unknown option; did you mean rows?"),
        ("mail_bytes=1", "limits.mail_bytes: expected a size"),
    ] {
        let told = changed(&[change]).unwrap_err();
        assert!(told.contains(part), "{told}");
    }
    std::fs::write(&file, "limits: 5\n").unwrap();
    assert!(changed(&[]).unwrap_err().contains("limits: expected a table"), "{:?}", changed(&[]));
    std::fs::write(&file, SMALL).unwrap();
    assert_eq!(changed(&[]).unwrap(), Limits::default());
}

#[cfg(unix)]
#[test]
fn a_world_readable_configuration_file_with_a_password_gives_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dmarc.yaml");
    for (text, mode, warned) in [
        (SMALL.to_owned(), 0o644, true),
        (SMALL.to_owned(), 0o640, false),
        (SMALL.replace("s3cret", "${PATH}"), 0o644, false),
    ] {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        let warnings = load(&file).unwrap().warnings;
        assert_eq!(warnings.iter().any(|warning| warning.contains("contains a secret")), warned, "{mode:o}");
    }
}

#[test]
fn invalid_domains_are_all_reported() {
    let load = |domains: &str| yaml(&format!("domains: {domains}\n{SMALL}"));
    assert_eq!(load("[Example.com., b.example]").unwrap().config.domains, ["example.com", "b.example"]);
    assert_eq!(load("example.com, b.example").unwrap().config.domains, ["example.com", "b.example"]);
    assert!(yaml(SMALL).unwrap().config.domains.is_empty());
    let told = problems(&format!("domains: ['*.example.com', good.example, a@b.example]\n{SMALL}"));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("domains[0]") && told[0].contains("subdomains are included"), "{told:?}");
}
