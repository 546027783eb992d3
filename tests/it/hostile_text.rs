//! Hostile text in mails: terminal escapes, forged log lines and hidden text must not reach a log line, file name or frame
//! unescaped.

use std::{
    ffi::OsStr,
    fs,
    io::Read,
    net::{Ipv4Addr, TcpListener},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};

use crate::support::{
    process::{Finished, Shipper, ndjson},
    workplace::Workplace,
};

/// Terminal escapes, line ends of all kinds, a forged log line and frame, field terminators of every format, and
/// characters that reorder or hide text.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{0}\u{7f}\r\n2026-11-01T00:00:00Z ERROR forged level=error\n<14>1 - - - - - - \
                       forged\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200b}\u{feff}\u{ad}\u{e0041}\"] } '\\ a=b,";

/// More bytes than a domain name may have.
const LONG: usize = 100_000;

#[test]
fn hostile_text_is_escaped_in_logs_file_names_and_frames() {
    let workplace = Workplace::new();
    let folder = mails(&workplace);
    let (octets, lines, old) = (receive(), receive(), receive());
    let out = workplace.path("out");
    let config = json!({
        "domains": "example.com",
        "limits": {"sender_mails_per_day": 2},
        "log": {"format": "json"},
        "sources": {"in": {"type": "file", "path": folder}},
        "sinks": {
            "stdout": {"type": "stdout"},
            "ndjson": {"type": "file", "path": out.join("%Y.ndjson")},
            "array": {"type": "file", "path": out.join("%Y.json"), "encoding": {"codec": "array"}},
            "text": {"type": "file", "path": out.join("%Y.txt"), "encoding": {"codec": "text"}},
            "octets": syslog(octets.0, json!({"framing": {"method": "octet_counting"}})),
            "lines": syslog(lines.0, json!({"framing": {"method": "newline_delimited"}, "encoding": {"codec": "text"}})),
            "old": syslog(old.0, json!({"framing": {"method": "newline_delimited"}, "format": "rfc3164"})),
        },
    });
    let finished = workplace.once(&config).exits(65);
    clean_json_log(&finished);
    let events = clean_lines(&finished.stdout);
    assert_eq!(events, ndjson(&finished.stdout).len());
    all_came(&ndjson(&finished.stdout));

    let mut names: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let endings: Vec<&str> = names.iter().map(|name| &name[4..]).collect();
    assert_eq!(endings, [".json", ".ndjson", ".txt"], "{names:?}");
    for name in &names {
        let text = fs::read_to_string(out.join(name)).unwrap();
        if name.ends_with(".json") {
            clean_lines(&text);
            assert_eq!(serde_json::from_str::<Vec<Value>>(&text).unwrap().len(), events);
        } else {
            assert_eq!(clean_lines(&text), events, "{name}");
        }
    }
    for received in [lines.1, old.1] {
        let frames = received.join().unwrap();
        assert_eq!(clean_lines(&frames), events);
        assert!(frames.lines().all(|frame| frame.starts_with('<') && frame.contains("DMARC_DATA")));
    }
    let received = octets.1.join().unwrap();
    let frames = octet_counted(&received);
    assert_eq!(frames.len(), events);
    frames.iter().for_each(|frame| assert_clean(frame));
}

#[test]
fn hostile_text_is_escaped_in_text_logs() {
    let workplace = Workplace::new();
    let folder = mails(&workplace);
    let config = json!({
        "domains": "example.com",
        "limits": {"sender_mails_per_day": 2},
        "log": {"format": "text", "level": "debug"},
        "sources": {"in": {"type": "file", "path": folder}},
        "sinks": {"stdout": {"type": "stdout"}},
    });
    clean_text_log(&workplace.once(&config).exits(65));
    clean_text_log(&workplace.shipper(&["run", "--once", "--dry-run", "--config"], &config).exits(65));
    let parsed = Shipper::new([OsStr::new("parse"), folder.as_os_str(), OsStr::new("--log-format=text")]).exits(65);
    clean_text_log(&parsed);
    assert_eq!(clean_lines(&parsed.stdout), parsed.events().len());
    clean_json_log(&Shipper::new([OsStr::new("parse"), folder.as_os_str(), OsStr::new("--log-format=json")]).exits(65));
}

/// Creates a folder of mails that are hostile in every part that a sender controls; so are the file names.
fn mails(workplace: &Workplace) -> PathBuf {
    let folder = workplace.path("mails");
    fs::create_dir_all(&folder).unwrap();
    // Text for XML documents: without characters that would make it other markup, or another encoding.
    let xml = &HOSTILE.replace('<', "&lt;").replace(['"', '\0'], "");
    let record = format!(
        "<record><row><source_ip>{0}</source_ip><count>{0}</count><policy_evaluated><disposition>{0}</disposition>\
         <reason><type>{0}</type><comment>{0}</comment></reason></policy_evaluated></row>\
         <identifiers><header_from>{0}</header_from></identifiers><auth_results><dkim><domain>{0}</domain>\
         <selector>{0}</selector><result>{0}</result></dkim></auth_results></record>",
        xml
    );
    let report = |domain: &str| {
        format!(
            "<feedback xmlns=\"{0}\"><report_metadata><org_name>{0}</org_name><email>{0}</email><report_id>{0}</report_id>\
             <error>{0}</error><date_range><begin>{0}</begin></date_range></report_metadata>\
             <policy_published><domain>{domain}</domain><p>{0}</p></policy_published>{record}</feedback>",
            xml
        )
    };
    let long = "a.".repeat(LONG / 2);
    let tag = format!(
        "{}<y\u{9b}\u{202e}\u{85} {}>",
        report("example.com").replace("</feedback>", ""),
        "a='1' ".repeat(LONG)
    );
    let documents = [
        report(&format!("{xml}.example.com")),
        report(&format!("{xml}.example.org")),
        report(&format!("{long}example.org")),
        report(&long),
        report("example.com").replace("</feedback>", ""),
        tag,
        format!("<feedback><{xml}"),
        format!("{HOSTILE}, which is no report"),
    ];
    for (number, document) in documents.iter().enumerate() {
        let mail = mail(&format!("reports@d{number}.example"), document.as_bytes());
        fs::write(folder.join(OsStr::from_bytes(format!("{number}\u{1b}[2J\nforged\u{202e}.eml").as_bytes())), mail)
            .unwrap();
    }
    // The same sender, who is over its share after two.
    for number in 0..4 {
        let document = report("example.com").replace("<row>", &format!("<row><n>{number}</n>"));
        let name = format!("9{number}.eml");
        fs::write(
            folder.join(name),
            mail(&format!("r@{}.example", HOSTILE.replace(['\r', '\n'], "")), document.as_bytes()),
        )
        .unwrap();
    }
    folder
}

/// Returns a mail whose headers contain control characters raw, in encoded words and in a percent-encoded name.
fn mail(from: &str, document: &[u8]) -> Vec<u8> {
    let raw = HOSTILE.replace(['\r', '\n'], "");
    let percent: String = HOSTILE.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let word: String = HOSTILE.bytes().map(|byte| format!("={byte:02X}")).collect();
    let header = format!(
        "From: \"=?utf-8?Q?{word}?=\" <{from}>\r\nMessage-ID: <{raw}@x>\r\nDate: {raw}\r\n\
         Subject: Report Domain: =?utf-8?Q?{word}?=\r\nContent-Type: application/octet-stream\r\n\
         Content-Disposition: attachment; filename*=utf-8''{percent}.xml\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    );
    [header.as_bytes(), document].concat()
}

fn syslog(port: u16, options: Value) -> Value {
    let mut sink = json!({"type": "syslog", "address": format!("127.0.0.1:{port}"), "mode": "tcp"});
    sink.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    sink
}

/// Accepts one connection, and returns all data received on it.
fn receive() -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        text
    });
    (port, reader)
}

fn octet_counted(mut text: &str) -> Vec<&str> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = text.split_once(' ') {
        let (frame, rest) = rest.split_at(length.parse().unwrap());
        frames.push(frame);
        text = rest;
    }
    frames
}

/// Fails unless the mails had the effects that the test intends.
#[track_caller]
fn all_came(events: &[Value]) {
    let reasons: Vec<&str> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
    for reason in ["unwanted_domain", "sender_over_limit", "xml_truncated", "xml_token_too_large", "not_a_report"] {
        assert!(reasons.contains(&reason), "no {reason} in {reasons:?}");
    }
    let row = events.iter().find(|event| event["event_type"] == "dmarc_aggregate").unwrap();
    for key in ["org", "report_id", "domain", "header_from", "attachment", "mail_message_id"] {
        let text = row[key].as_str().unwrap_or_else(|| panic!("no {key} in {row}"));
        assert!(text.contains('\u{9b}'), "{key} lost what was hostile in it: {text:?}");
    }
    assert!(row["attachment"].as_str().unwrap().contains("\u{1b}[2J"), "{row}");
}

/// Fails unless every line is clean; returns their number.
#[track_caller]
fn clean_lines(text: &str) -> usize {
    assert!(text.ends_with('\n'));
    text.lines().for_each(assert_clean);
    text.lines().count()
}

#[track_caller]
fn assert_clean(line: &str) {
    let raw = line.chars().find(|&c| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    });
    assert_eq!(raw, None, "in {line:?}");
}

#[track_caller]
fn clean_text_log(finished: &Finished) {
    clean_lines(&finished.stderr);
    for line in finished.stderr.lines() {
        let mut words = line.split_whitespace();
        assert_eq!(words.next().map(str::len), Some("2026-11-01T00:00:00.000Z".len()), "{line}");
        let level = words.next().unwrap();
        assert!(["DEBUG", "INFO", "WARN"].contains(&level), "{line}");
        assert!(line.len() < 20_000, "{} bytes", line.len());
    }
    assert!(finished.stderr.contains("forged"), "the hostile text is there, escaped");
}

#[track_caller]
fn clean_json_log(finished: &Finished) {
    clean_lines(&finished.stderr);
    for line in ndjson(&finished.stderr) {
        assert_eq!(line["logger"], "DMARC_SCRIPT");
        assert!(["info", "warn"].contains(&line["level"].as_str().unwrap()), "{line}");
    }
    assert!(finished.stderr.contains("forged"), "the hostile text is there, escaped");
}
