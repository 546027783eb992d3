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
fn crt_file_and_key_file_require_each_other() {
    refused(&source("tls: {crt_file: /a}"), "sources.rua.tls.crt_file", "needs tls.key_file");
    refused(&source("tls: {key_file: /a}"), "sources.rua.tls.key_file", "needs tls.crt_file");
    yaml(&source("tls: {key_file: /a, crt_file: /b}")).unwrap();
}

#[test]
fn require_authenticated_needs_trusted_authserv_ids() {
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
fn codec_array_is_only_for_file_sinks() {
    refused(
        &sink("type: stdout\nencoding: {codec: array}"),
        "sinks.out.encoding.codec",
        "array is not supported by sinks of type stdout",
    );
    yaml(&sink("type: file\npath: /a\nencoding: {codec: array}")).unwrap();
    refused(
        &sink("type: file\npath: /a\ncompression: zstd\nencoding: {codec: array}"),
        "sinks.out.encoding.codec",
        "array is not supported by sinks of type file with compression",
    );
}

#[test]
fn unknown_fields_in_only_fields_and_except_fields_are_refused() {
    let key = "sinks.out.encoding.only_fields";
    refused(&sink("type: stdout\nencoding: {only_fields: [org, source_pi]}"), key, "did you mean source_ip?");
    let key = "sinks.out.encoding.except_fields";
    refused(&sink("type: stdout\nencoding: {except_fields: [nonsense]}"), key, "`schema event` lists all");
    let text = sink("type: stdout\nencoding: {only_fields: [anything]}");
    assert!(parse(&text, Format::Yaml, "f").is_ok(), "without a list of fields, they are not checked");
}

#[test]
fn retention_days_needs_a_date_in_the_path() {
    refused(
        &sink("type: file\npath: /a/b.json\nretention_days: 3"),
        "sinks.out.retention_days",
        "needs a date in path",
    );
    yaml(&sink("type: file\npath: /a/%Y%m%d.json\nretention_days: 3")).unwrap();
    refused(&sink("type: file\npath: /a/%!.json"), "sinks.out.path", "is not a strftime pattern");
    refused(&sink("type: stdout\nretention_days: 3"), "sinks.out.retention_days", "unknown option");
}

#[test]
fn udp_refuses_tls_framing_strict_acknowledgements_and_large_frames() {
    let udp = |line: &str| sink(&format!("type: syslog\nmode: udp\naddress: a\n{line}"));
    refused(&udp("tls: {ca_file: /a}"), "sinks.out.tls", "only supported with mode: tls");
    refused(&udp("framing: {method: newline_delimited}"), "sinks.out.framing.method", "not used with mode: udp");
    refused(&udp("acknowledgements: strict"), "sinks.out.acknowledgements", "strict can't be combined");
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
fn target_folders_must_be_set_and_differ_from_source_folders() {
    refused(&source("archive_folder: inbox"), "sources.rua.archive_folder", "again for ever");
    refused(&source("folder: A\nquarantine_folder: A"), "sources.rua.quarantine_folder", "again for ever");
    refused(&source("after: archive"), "sources.rua.after", "needs an archive_folder");
    refused(&source("archive_folder: Done/%Q"), "sources.rua.archive_folder", "%Y");
    refused(&source("quarantine_folder: '\\Spam'"), "sources.rua.quarantine_folder", "\\Junk");
    refused(&source("without_report: archive"), "sources.rua.without_report", "needs an archive_folder");
    refused(&source("without_report: quarantine"), "sources.rua.without_report", "needs a quarantine_folder");
}

#[test]
fn an_unused_archive_folder_gives_a_warning() {
    let warned = |lines: &str| {
        let warnings = yaml(&source(lines)).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("archive_folder") && warning.contains("is not used"))
    };
    assert!(warned("archive_folder: Done\nafter: seen"));
    assert!(!warned("archive_folder: Done\nafter: seen\nwithout_report: archive"));
    assert!(!warned("archive_folder: Done"));
}

#[test]
fn sinks_must_not_share_a_destination() {
    let two = |a: &str, b: &str| SMALL.replace("  out:\n    type: stdout\n", &format!("  a: {a}\n  b: {b}\n"));
    refused(&two("{type: stdout}", "{type: stdout}"), "sinks.b.type", "already written by the sink a");
    let file = "{type: file, path: /x/%Y}";
    refused(&two(file, file), "sinks.b.path", "/x/%Y is already written by the sink a");
    yaml(&two(file, "{type: file, path: /y/%Y}")).unwrap();
}

#[test]
fn inputs_must_name_existing_sources() {
    for inputs in ["[rua, ruf]", "rua, ruf", "['${NAME:-ruf}']", "ruf"] {
        let told = problems(&format!("{SMALL}    inputs: {inputs}\n"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("sinks.out.inputs: unknown source \"ruf\"; did you mean rua?"), "{told:?}");
    }
    yaml(&format!("{SMALL}    inputs: rua\n")).unwrap();
}

#[test]
fn at_least_one_sink_must_be_required() {
    refused(&sink("type: stdout\nrequired: false"), "sinks", "no sink is required");
}

#[test]
fn password_and_password_file_exclude_each_other() {
    refused(&SMALL.replace("    password: s3cret\n", ""), "sources.rua.password", "write password_file");
    refused(&source("password_file: /a"), "sources.rua.password_file", "can't be combined with password");
}

#[test]
fn syslog_app_name_and_facility_are_validated() {
    let syslog = |line: &str| sink(&format!("type: syslog\naddress: a\n{line}"));
    refused(&syslog("app_name: my app"), "sinks.out.app_name", "without spaces");
    refused(&syslog(&format!("app_name: {}", "a".repeat(49))), "sinks.out.app_name", "at most 48");
    refused(&syslog("facility: local8"), "sinks.out.facility", "local0 to local7");
    refused(&syslog("facility: 24"), "sinks.out.facility", "from 0 to 23");
}

#[test]
fn insecure_options_give_warnings() {
    let warned = |text: &str, part: &str| {
        let warnings = yaml(text).unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    };
    warned(SMALL, "data_dir is not set");
    warned(&source("security: none"), "sources.rua.security: none sends password or token");
    warned(&source("tls: {verify_certificate: false}"), "sources.rua.tls.verify_certificate: false allows");
    assert_eq!(yaml(&format!("data_dir: /d\n{SMALL}")).unwrap().warnings, [""; 0]);
}

#[test]
fn credentials_of_an_http_sink_match_their_strategy() {
    let http = |lines: &str| sink(&format!("type: http\nuri: https://h/\n{lines}"));
    let key = "sinks.out.auth.strategy";
    refused(&http("auth: {user: a, password: b}"), key, "is missing; expected basic, with user and password");
    refused(&http("auth: {strategy: basic, user: a}"), key, "basic needs user, and password");
    refused(&http("auth: {strategy: basic, user: a, password: b, token: c}"), key, "no token");
    refused(&http("auth: {strategy: bearer, user: a}"), key, "bearer needs token");
    refused(&http("auth: {strategy: basic, user: 'a:b', password: c}"), "sinks.out.auth.user", "a colon");
    refused(
        &http("auth: {strategy: bearer, token: c}\noauth: {token_file: /t}"),
        "sinks.out.oauth",
        "combined with auth",
    );
    yaml(&http("auth: {strategy: bearer, token_file: /t}")).unwrap();
    yaml(&http("oauth: {token_command: [cat, /t]}")).unwrap();
}

#[test]
fn the_url_and_the_header_fields_of_an_http_sink_are_checked() {
    let http = |lines: &str| sink(&format!("type: http\n{lines}"));
    refused(&http("uri: ftp://h/"), "sinks.out.uri", "expected an http:// or https:// URL");
    refused(&http("uri: /ingest"), "sinks.out.uri", "expected an http:// or https:// URL");
    refused(&http("uri: https://user:s3cret@h/"), "sinks.out.uri", "must not contain a user or password; use auth");
    refused(
        &http("uri: http://h/\ntls: {verify_hostname: false}"),
        "sinks.out.tls",
        "only supported with an https URL",
    );
    let field = |name: &str| format!("uri: https://h/\nrequest: {{headers: {{'{name}': v}}}}");
    refused(&http(&field("X Y")), "sinks.out.request.headers.X Y", "not the name of a header field");
    refused(&http(&field("content-length")), "sinks.out.request.headers.content-length", "set by the program");
    let twice = "uri: https://h/\nrequest: {headers: {X-Key: a, x-key: b}}";
    refused(&http(twice), "sinks.out.request.headers.x-key", "is set twice");
    let warned = yaml(&http("uri: http://siem/\nrequest: {headers: {X-Key: a}}")).unwrap().warnings;
    assert!(warned.iter().any(|warning| warning.contains("http sends credentials")), "{warned:?}");
    let config = yaml(&http(&field("X-Key"))).unwrap().config;
    assert!(!format!("{config:?}").contains("\"v\""), "values may be secrets");
}

#[test]
fn options_of_a_forward_sink_match_each_other() {
    let forward = |lines: &str| sink(&format!("type: forward\n{lines}"));
    refused(&forward("mode: tcp"), "sinks.out.endpoints", "is missing; expected a list");
    refused(&forward("endpoints: []"), "sinks.out.endpoints", "is empty; expected a list of receivers");
    refused(&forward("endpoints: [unix:relative]"), "sinks.out.endpoints[0]", "an absolute path");
    refused(&forward("endpoints: [h]\nmode: tcp\ntls: {verify_hostname: false}"), "sinks.out.tls", "mode: tls");
    refused(&forward("endpoints: [h]\nshared_key: k\nuser: a"), "sinks.out.user", "needs password");
    refused(&forward("endpoints: [h]\nuser: a\npassword: b"), "sinks.out.user", "needs shared_key");
    refused(&forward("endpoints: [h]\nencoding: {codec: text}"), "sinks.out.encoding.codec", "MessagePack");
    refused(&forward("endpoints: [h]\ntag: 'dmarc.{domain}'"), "sinks.out.tag", "dmarc.{event_type}");
    let config = yaml(&forward("endpoints: [h, 'h2:1', '[::1]:2', unix:/run/f.sock]")).unwrap().config;
    let destination = config.sinks["out"].kind.options().destination();
    assert_eq!(destination, "h:24224,h2:1,[::1]:2,unix:/run/f.sock");
}

#[test]
fn a_header_field_is_set_once_by_its_value_or_its_file() {
    let http = |lines: &str| sink(&format!("type: http\nuri: https://h/\n{lines}"));
    let both = "request: {headers: {X-Key: a}, headers_file: {x-key: /a}}";
    refused(&http(both), "sinks.out.request.headers_file", "can't set x-key, which request.headers sets");
    let own = "request: {headers_file: {Host: /a}}";
    refused(&http(own), "sinks.out.request.headers_file.Host", "set by the program");
    yaml(&http("request: {headers: {X-Key: a}, headers_file: {X-Token: /a}}")).unwrap();
}
