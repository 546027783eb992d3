//! Problems are reported all at once, each with its position.

use super::*;

#[test]
fn every_problem_in_a_yaml_file_is_reported_with_line_key_and_expectation() {
    let text = "\
data_dri: /var/lib/dmarc
sources:
  rua:
    type: imap
    host: imap.example.com:993
    port: 99999
    user: ${USER_NAME}
    password: s3cret
    poll_interval: fast
    poll_interval: 5m
sinks:
  siem:
    type: syslog
    mode: tsl
    address: siem.example.com
    tls:
      ca_flie: /etc/ca.pem
      verify_hostname: maybe
    buffer: 8MiB
    ca_file: /etc/ca.pem
    events: [reports, dmarc_aggregate]
    inputs: [rau]
  other:
    type: kafka
    brokers: x
";
    let expected = [
        "dmarc.yaml:1:1: data_dri: unknown option; did you mean data_dir?",
        "dmarc.yaml:5:11: sources.rua.host: expected a host name or address only, not \"imap.example.com:993\"; set the port with the option port",
        "dmarc.yaml:6:11: sources.rua.port: expected a whole number from 1 to 65535, not \"99999\"",
        "dmarc.yaml:7:11: sources.rua.user: the environment variable USER_NAME is not set; set it, or write a default as ${USER_NAME:-default}",
        "dmarc.yaml:9:20: sources.rua.poll_interval: expected a duration from 1s to 1d, such as 500ms, 30s, 5m, 1h30m or a plain number of seconds, not \"fast\"",
        "dmarc.yaml:10:5: sources.rua.poll_interval: is set twice; keep one of them",
        "dmarc.yaml:14:11: sinks.siem.mode: expected one of tls, tcp, udp, not \"tsl\"; did you mean tls?",
        "dmarc.yaml:17:7: sinks.siem.tls.ca_flie: unknown option; did you mean ca_file?",
        "dmarc.yaml:18:24: sinks.siem.tls.verify_hostname: expected true or false, not \"maybe\"",
        "dmarc.yaml:19:13: sinks.siem.buffer: expected a table with max_size, not a single value",
        "dmarc.yaml:20:5: sinks.siem.ca_file: unknown option here; did you mean tls.ca_file?",
        "dmarc.yaml:21:14: sinks.siem.events[0]: expected one of dmarc_aggregate, tls_rpt, dmarc_failure, report, ingest_error, probe, not \"reports\"; did you mean report?",
        "dmarc.yaml:22:14: sinks.siem.inputs: unknown source \"rau\"; did you mean rua?",
        "dmarc.yaml:24:11: sinks.other.type: expected one of syslog, forward, http, file, stdout, not \"kafka\"",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn every_problem_in_a_toml_file_is_reported() {
    let text = "\
shutdown_timeout = 25

[sources.rua]
type = \"imap\"
hots = \"imap.example.com\"
user = \"dmarc@example.com\"
password_file = \"/nowhere\"
tls = { verify_certificate = 1 }

[sinks.out]
type = \"stdout\"
max_line_bytes = 100
";
    let expected = [
        "dmarc.toml:3:1: sources.rua.host: is missing; expected a host name or address",
        "dmarc.toml:5:1: sources.rua.hots: unknown option; did you mean host?",
        "dmarc.toml:8:30: sources.rua.tls.verify_certificate: expected true or false, not \"1\"",
        "dmarc.toml:12:18: sinks.out.max_line_bytes: expected a size from 480 to 1 MiB, such as 64KiB, 8MiB, 10MB or a plain number of bytes, not \"100\"",
    ];
    assert_eq!(lines(load_as(text, Format::Toml, "dmarc.toml", &[]).unwrap_err()), expected);
}

#[test]
fn every_problem_in_a_json_file_is_reported() {
    let text = "{
\t\"sources\": {\"f\": {\"type\": \"file\"}},
\t\"sinks\": {
\t\t\"a\": {\"type\": \"file\", \"path\": \"/x/\\u00e4%Y.json\", \"requird\": true},
\t\t\"a\": {\"type\": \"file\", \"path\": [\"x\"]}
\t}
}";
    let expected = [
        "dmarc.json:2:19: sources.f.path: is missing; expected a path",
        "dmarc.json:4:53: sinks.a.requird: unknown option; did you mean required?",
        "dmarc.json:5:3: sinks.a: is defined twice; each needs a unique name",
        "dmarc.json:5:33: sinks.a.path: expected a path, such as /var/log/dmarc/%Y%m%d.json, not a list",
    ];
    assert_eq!(lines(load_as(text, Format::Json, "dmarc.json", &[]).unwrap_err()), expected);
}

#[test]
fn duplicate_toml_keys_are_reported_at_the_second_occurrence() {
    let told = lines(load_as("tenant = \"a\"\ntenant = \"b\"\n", Format::Toml, "c.toml", &[]).unwrap_err());
    assert_eq!(told, ["c.toml:2:1: tenant: is set twice; keep one of them"]);
}

#[test]
fn syntax_errors_are_reported_with_position_and_advice() {
    let cases = [
        ("sources:\n\trua: x\n", Format::Yaml, "2:", "indent with spaces, not tabs"),
        ("sources:\n  rua: a: b\n", Format::Yaml, "2:9", "quote a text that holds \": \""),
        ("tenant: \"a\\z\"\n", Format::Yaml, "1:", "write a backslash twice"),
        ("tenant: \"abc\n", Format::Yaml, "", "a quote is not closed"),
        ("tenant: @home\n", Format::Yaml, "1:9", "quote a text that begins with @"),
        ("tenant: a\n---\ntenant: b\n", Format::Yaml, "2:1", "write one document per file"),
        ("tenant: !secret a\n", Format::Yaml, "1:", "the tag !secret is not supported"),
        ("tenant = a\n", Format::Toml, "1:", "invalid TOML"),
        ("{\n  \"tenant\": a\n}", Format::Json, "2:13", "invalid JSON: expected value"),
        ("{\"a\": 1,}", Format::Json, "1:9", "invalid JSON: key must be a string"),
        ("{\"tenant\": \"\\ud800\"}", Format::Json, "1:", "invalid JSON"),
    ];
    for (text, format, place, advice) in cases {
        let told = load_as(text, format, "f", &[]).unwrap_err().to_string();
        assert!(told.starts_with(&format!("f:{place}")) && told.contains(advice), "{text:?}: {told}");
    }
}

#[test]
fn yaml_alias_expansion_is_bounded() {
    let text = "\
sources: {f: {type: file, path: /x}}
sinks:
  a: {type: syslog, address: a.example.com, tls: &tls {server_name: siem}}
  b: {type: syslog, address: b.example.com, tls: *tls}
";
    for sink in yaml(text).unwrap().config.sinks.values() {
        let sink::SinkKind::Syslog(syslog) = &sink.kind else { panic!("{sink:?}") };
        assert_eq!(syslog.tls.server_name.as_deref(), Some("siem"));
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    let told = problems(&bomb);
    assert!(told.len() == 1 && told[0].contains("with aliases expanded"), "{told:?}");
    assert!(problems("a: &a [*a]\n")[0].contains("a node that contains it"));
}

#[test]
fn nesting_depth_is_limited_in_every_format() {
    let json = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    for (text, format) in [
        (json.clone(), Format::Yaml),
        (json, Format::Json),
        ("[".repeat(100_000), Format::Yaml),
        ("[".repeat(100_000), Format::Json),
        (format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000)), Format::Toml),
    ] {
        assert!(load_as(&text, format, "deep", &[]).is_err());
    }
}

#[test]
fn an_empty_file_is_refused_with_the_required_keys() {
    let expected = [
        "dmarc.yaml: sources: no source is configured; add one under sources, or use --from",
        "dmarc.yaml: sinks: no sink is configured; add one under sinks, or use --to",
    ];
    assert_eq!(problems(""), expected);
    assert_eq!(problems("# nothing yet\nsources:\nsinks: {}\n"), expected);
}

#[test]
fn a_wrong_type_is_reported_without_follow_up_problems() {
    assert_eq!(problems("- a\n- b\n"), ["dmarc.yaml:1:1: expected a table of options, not a list"]);
    let told = problems(&SMALL.replace("  out:\n    type: stdout\n", "  - type: stdout\n"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("dmarc.yaml:8:3: sinks: expected a table of named tables"), "{told:?}");
}

#[test]
fn a_dotted_key_is_refused_with_the_nested_form() {
    let told = problems(&format!("{SMALL}    buffer.max_size: 8MiB\n"));
    assert_eq!(
        told,
        ["dmarc.yaml:10:5: sinks.out.buffer.max_size: unknown option; write max_size inside the table buffer"]
    );
}

#[test]
fn unknown_file_extensions_and_missing_files_are_reported() {
    let told = load(std::path::Path::new("/nowhere/dmarc.ini")).unwrap_err().to_string();
    assert_eq!(told, "/nowhere/dmarc.ini: unknown file format; the name must end in .yaml, .yml, .toml or .json");
    let told = load(std::path::Path::new("/nowhere/dmarc.yaml")).unwrap_err().to_string();
    assert!(told.starts_with("/nowhere/dmarc.yaml: can't be read: "), "{told}");
}
