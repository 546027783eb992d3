//! Combinations of options that are valid alone but not together.

use super::*;

/// Returns the small configuration with `lines` as its only sink.
fn sink(lines: &str) -> String {
    SMALL.replace("    type: stdout\n", &lines.lines().map(|line| format!("    {line}\n")).collect::<String>())
}

/// Returns the small configuration with `lines` added to its source.
fn source(lines: &str) -> String {
    let lines = lines.lines().map(|line| format!("    {line}\n")).collect::<String>();
    SMALL.replace("sinks:\n", &format!("{lines}sinks:\n"))
}

#[track_caller]
fn refused(text: &str, key: &str, part: &str) {
    let told = problems(text);
    let fits = |line: &String| line.contains(&format!(": {key}: ")) && line.contains(part);
    assert!(told.len() == 1 && told.iter().all(fits), "{key} {part}: {told:#?}");
}

#[test]
fn a_certificate_goes_with_its_key() {
    refused(&source("tls: {crt_file: /a}"), "sources.rua.tls.crt_file", "needs tls.key_file");
    refused(&source("tls: {key_file: /a}"), "sources.rua.tls.key_file", "needs tls.crt_file");
    yaml(&source("tls: {key_file: /a, crt_file: /b}")).unwrap();
}

#[test]
fn require_authenticated_needs_servers_whose_word_counts() {
    let key = "sources.rua.require_authenticated";
    refused(&source("require_authenticated: true"), key, "needs trusted_authserv_ids");
    refused(&source("require_authenticated: true\ntrusted_authserv_ids: []"), key, "needs trusted_authserv_ids");
    let file = "sources: {a: {type: file, path: /a, require_authenticated: true}}\nsinks: {out: {type: stdout}}\n";
    refused(file, "sources.a.require_authenticated", "needs trusted_authserv_ids");
    let config =
        yaml(&source("require_authenticated: true\ntrusted_authserv_ids: [MX.example.com, (none)]")).unwrap().config;
    assert_eq!(config.sources["rua"].options().senders().trusted_authserv_ids, ["mx.example.com", ""]);
}

#[test]
fn an_array_is_for_file_sinks() {
    refused(
        &sink("type: stdout\nencoding: {codec: array}"),
        "sinks.out.encoding.codec",
        "array is not for sinks of type stdout",
    );
    yaml(&sink("type: file\npath: /a\nencoding: {codec: array}")).unwrap();
}

#[test]
fn fields_must_exist() {
    let key = "sinks.out.encoding.only_fields";
    refused(&sink("type: stdout\nencoding: {only_fields: [org, source_pi]}"), key, "did you mean source_ip?");
    let key = "sinks.out.encoding.except_fields";
    refused(&sink("type: stdout\nencoding: {except_fields: [nonsense]}"), key, "`schema event` lists them");
    let text = sink("type: stdout\nencoding: {only_fields: [anything]}");
    assert!(parse(&text, Format::Yaml, "f").is_ok(), "without a list of fields, they are not checked");
}

#[test]
fn retention_needs_a_date_in_the_path_and_patterns_must_be_sound() {
    refused(
        &sink("type: file\npath: /a/b.json\nretention_days: 3"),
        "sinks.out.retention_days",
        "needs a date in path",
    );
    yaml(&sink("type: file\npath: /a/%Y%m%d.json\nretention_days: 3")).unwrap();
    refused(&sink("type: file\npath: /a/%!.json"), "sinks.out.path", "is no strftime pattern");
    refused(&sink("type: stdout\nretention_days: 3"), "sinks.out.retention_days", "unknown option");
}

#[test]
fn udp_takes_no_tls_no_framing_no_strict_acknowledgement_and_no_frame_beyond_a_datagram() {
    let udp = |line: &str| sink(&format!("type: syslog\nmode: udp\naddress: a\n{line}"));
    refused(&udp("tls: {ca_file: /a}"), "sinks.out.tls", "only for mode: tls");
    refused(&udp("framing: {method: newline_delimited}"), "sinks.out.framing.method", "no meaning with mode: udp");
    refused(&udp("acknowledgements: strict"), "sinks.out.acknowledgements", "strict can't be");
    refused(&udp("max_message_bytes: 70000"), "sinks.out.max_message_bytes", "65507");
    refused(&udp("max_message_bytes: 479"), "sinks.out.max_message_bytes", "from 480");
    yaml(&udp("max_message_bytes: 480")).unwrap();
}

#[test]
fn addresses_without_a_readable_host_and_port_are_refused() {
    for address in
        ["'::1:514'", "'a:'", "'a:0'", "'a:70000'", "'[::1'", "'[a]:1'", "'[::1]x'", "':514'", "'a b:1'", "'a:x'"]
    {
        refused(&sink(&format!("type: syslog\naddress: {address}")), "sinks.out.address", "expected host:port");
    }
}

#[test]
fn folders_must_differ_and_be_there() {
    refused(&source("archive_folder: inbox"), "sources.rua.archive_folder", "again for ever");
    refused(&source("folder: A\nquarantine_folder: A"), "sources.rua.quarantine_folder", "again for ever");
    refused(&source("after: archive"), "sources.rua.after", "needs an archive_folder");
    refused(&source("archive_folder: Done/%Q"), "sources.rua.archive_folder", "%Y");
    refused(&source("quarantine_folder: '\\Spam'"), "sources.rua.quarantine_folder", "\\Junk");
    refused(&source("without_report: archive"), "sources.rua.without_report", "needs an archive_folder");
    refused(&source("without_report: quarantine"), "sources.rua.without_report", "needs a quarantine_folder");
}

#[test]
fn an_archive_folder_that_no_mail_goes_to_is_warned_about() {
    let warned = |lines: &str| {
        let warnings = yaml(&source(lines)).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("archive_folder") && warning.contains("is not used"))
    };
    assert!(warned("archive_folder: Done\nafter: seen"));
    assert!(!warned("archive_folder: Done\nafter: seen\nwithout_report: archive"));
    assert!(!warned("archive_folder: Done"));
}

#[test]
fn sinks_must_not_share_a_place() {
    let two = |a: &str, b: &str| SMALL.replace("  out:\n    type: stdout\n", &format!("  a: {a}\n  b: {b}\n"));
    refused(&two("{type: stdout}", "{type: stdout}"), "sinks.b.type", "written by the sink a already");
    let file = "{type: file, path: /x/%Y}";
    refused(&two(file, file), "sinks.b.path", "/x/%Y is written by the sink a already");
    yaml(&two(file, "{type: file, path: /y/%Y}")).unwrap();
}

#[test]
fn inputs_must_name_sources_however_they_are_written() {
    for inputs in ["[rua, ruf]", "rua, ruf", "['${NAME:-ruf}']", "ruf"] {
        let told = problems(&format!("{SMALL}    inputs: {inputs}\n"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("sinks.out.inputs: \"ruf\" is no source; did you mean rua?"), "{told:?}");
    }
    yaml(&format!("{SMALL}    inputs: rua\n")).unwrap();
}

#[test]
fn one_sink_must_be_required() {
    refused(&sink("type: stdout\nrequired: false"), "sinks", "no sink is required");
}

#[test]
fn a_secret_is_needed_once() {
    refused(&SMALL.replace("    password: s3cret\n", ""), "sources.rua.password", "write password_file");
    refused(&source("password_file: /a"), "sources.rua.password_file", "excludes password");
}

#[test]
fn header_names_of_frames_are_printable_and_short() {
    let syslog = |line: &str| sink(&format!("type: syslog\naddress: a\n{line}"));
    refused(&syslog("app_name: my app"), "sinks.out.app_name", "without spaces");
    refused(&syslog(&format!("app_name: {}", "a".repeat(49))), "sinks.out.app_name", "at most 48");
    refused(&syslog("facility: local8"), "sinks.out.facility", "local0 to local7");
    refused(&syslog("facility: 24"), "sinks.out.facility", "from 0 to 23");
}

#[test]
fn what_is_allowed_but_unwise_is_warned_about() {
    let warned = |text: &str, part: &str| {
        let warnings = yaml(text).unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    };
    warned(SMALL, "data_dir is not set");
    warned(&source("security: none"), "sources.rua.security: none sends password or token");
    warned(&source("tls: {verify_certificate: false}"), "sources.rua.tls.verify_certificate: false lets");
    assert_eq!(yaml(&format!("data_dir: /d\n{SMALL}")).unwrap().warnings, [""; 0]);
}
