//! Memory of the program, which is bounded for any mail, any number of sources, and any behaviour of the sinks.

use std::{fs, io::Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value, json};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::support::{
    ca::Ca,
    cgroup::Cgroup,
    process::Shipper,
    rsyslog::Rsyslog,
    server::free_port,
    wait::{LONG, eventually},
    workplace::{Workplace, syslog_tcp, with},
};

const MIB: usize = 1 << 20;
const ROWS: usize = 200;

/// Returns a report of 200 rows, too large for the streams that are always kept in memory.
fn report(number: usize) -> Vec<u8> {
    let row = |n| {
        format!(
            "<record><row><source_ip>192.0.2.{n}</source_ip><count>1</count><policy_evaluated><disposition>none</disposition>\
             <dkim>pass</dkim><spf>pass</spf></policy_evaluated></row><identifiers><header_from>example.com</header_from>\
             </identifiers></record>\n"
        )
    };
    let rows: String = (0..ROWS).map(row).collect();
    format!(
        "<feedback><report_metadata><org_name>mail.example</org_name><report_id>{number}</report_id></report_metadata>\
         <policy_published><domain>example.com</domain><p>none</p></policy_published>{rows}</feedback>"
    )
    .into_bytes()
}

/// Returns a zip with a report and an uncompressed member of `bytes` bytes.
fn archive(number: usize, bytes: usize) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("mail.example!example.com!1700000000!1700086400.xml", stored).unwrap();
    zip.write_all(&report(number)).unwrap();
    zip.start_file(".DS_Store", stored).unwrap();
    zip.write_all(&vec![0; bytes]).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A mail with one attachment.
fn mail(kind: &str, attachment: &[u8]) -> Vec<u8> {
    let header = format!(
        "From: dmarc@mail.example\r\nSubject: Report Domain: example.com\r\nContent-Type: {kind}; name=report\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n"
    );
    (header + &STANDARD.encode(attachment)).into_bytes()
}

/// Returns a mail of a few kilobytes: a gzip that contains a mail of `mib` MiB, with a report at its beginning.
fn nested(number: usize, mib: usize) -> Vec<u8> {
    let head = "From: dmarc@mail.example\r\nSubject: Report Domain: example.com\r\n\
                Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/xml; name=report.xml\r\n\r\n";
    let head =
        [head.as_bytes(), &report(number), b"\r\n--b\r\nContent-Type: image/png; name=logo.png\r\n\r\n"].concat();
    // Concatenated gzip members are one gzip file.
    let filler = gzip(&[b"x".repeat(72).as_slice(), b"\r\n"].concat().repeat(MIB / 74));
    mail("application/gzip", &[gzip(&head), filler.repeat(mib), gzip(b"--b--\r\n")].concat())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Returns `count` sources of one such mail each.
fn sources(workplace: &Workplace, prefix: &str, count: usize, mib: usize) -> Map<String, Value> {
    let source = |number| {
        let name = format!("{prefix}{number}");
        fs::create_dir(workplace.path(&name)).unwrap();
        workplace.write(&format!("{name}/1.eml"), nested(number, mib));
        let source = json!({"type": "file", "path": workplace.path(&name), "poll_interval": "1s"});
        (name, source)
    };
    (0..count).map(source).collect()
}

#[test]
fn a_hundred_sources_of_nested_mails_stay_within_128_mib_while_the_sink_is_down_and_when_it_is_back() {
    let (ca, workplace, group) = (Ca::new(), Workplace::new(), Cgroup::limited(128 * MIB as u64));
    let mut rsyslog = Rsyslog::start(&ca);
    rsyslog.halt();
    let config = json!({
        "data_dir": workplace.path("data"),
        "sources": sources(&workplace, "s", 100, 3),
        "sinks": {"siem": with(syslog_tcp(rsyslog.tcp_port), json!({"buffer": {"max_size": "4MiB"}}))},
        "give_up_after": "20s",
    });
    let config = workplace.write("config.json", config.to_string());
    let run = || {
        let arguments = [config.as_os_str()];
        let words = ["run", "--once", "--log-level", "warn", "--config"].map(AsRef::as_ref);
        Shipper::in_cgroup(&group, words.into_iter().chain(arguments)).start().finish_measured()
    };
    // A process that is killed because it is out of memory has no exit code.
    let (finished, down) = run();
    finished.exited(75);
    rsyslog.resume();
    let (finished, up) = run();
    finished.exited(0);
    eprintln!("100 sources: {} MiB with the sink down, {} MiB with the sink up", down >> 10, up >> 10);
    assert_eq!(rsyslog.wait_for(100 * (ROWS + 1)).len(), 100 * (ROWS + 1));
    assert!(down.max(up) < 128 << 10, "{down} KiB, {up} KiB");
}

#[test]
fn nested_mails_of_a_failed_sink_do_not_use_memory_of_others() {
    let (workplace, nobody) = (Workplace::new(), free_port());
    let mut sources = sources(&workplace, "stuck", 6, 2);
    let stuck: Vec<String> = sources.keys().cloned().collect();
    fs::create_dir(workplace.path("free")).unwrap();
    sources.insert("free".into(), json!({"type": "file", "path": workplace.path("free"), "poll_interval": "1s"}));
    let down = json!({"inputs": stuck, "buffer": {"max_size": "64KiB"}});
    let config = json!({
        "data_dir": workplace.path("data"),
        "intake": {"max_size": "1MiB"},
        "sources": sources,
        "sinks": {
            "down": with(syslog_tcp(nobody), down),
            "kept": {"type": "file", "path": workplace.path("kept.ndjson"), "inputs": ["free"]},
        },
    });
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "the sink is missed", || running.stderr().contains("can't connect").then_some(()));
    workplace.write("free/1.eml", nested(1000, 2));
    eventually(LONG, "the other source is shipped", || {
        let kept = fs::read_to_string(workplace.path("kept.ndjson")).unwrap_or_default();
        (kept.lines().count() == ROWS + 1).then_some(())
    });
}

#[test]
fn a_mail_larger_than_intake_max_size_is_read_alone() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("mails")).unwrap();
    let letter = mail("application/zip", &archive(1, 44 * MIB));
    assert!(letter.len() > 58 * MIB);
    workplace.write("mails/1.eml", letter);
    for number in 2..10 {
        workplace.write(&format!("mails/{number}.eml"), nested(number, 2));
    }
    let source = json!({"type": "file", "path": workplace.path("mails")});
    let sink = json!({"type": "file", "path": workplace.path("out.ndjson")});
    let config = with(workplace.config(source, sink), json!({"intake": {"max_size": "1MiB"}}));
    let (finished, peak) = workplace.once(&config).start().finish_measured();
    finished.exited(0);
    assert_eq!(workplace.read("out.ndjson").lines().count(), 9 * (ROWS + 1));
    eprintln!("a mail of 60 MiB: {} MiB", peak >> 10);
    // Memory for the mail, its archive, and the program itself.
    assert!(peak < 160 << 10, "{peak} KiB");
}

#[test]
fn memory_of_large_mails_is_returned_to_the_system() {
    let workplace = Workplace::new();
    let letter =
        [b"From: ann@example.com\r\n\r\n".as_slice(), &[b"x".repeat(998), b"\r\n".to_vec()].concat().repeat(12 * 1024)]
            .concat();
    let source = |number: usize| {
        let name = format!("s{number}");
        fs::create_dir(workplace.path(&name)).unwrap();
        (0..3).for_each(|mail| drop(workplace.write(&format!("{name}/{mail}.eml"), &letter)));
        (name.clone(), json!({"type": "file", "path": workplace.path(&name)}))
    };
    let sources: Map<String, Value> = (0..16).map(source).collect();
    let config = json!({
        "data_dir": workplace.path("data"),
        "sources": sources,
        "sinks": {"out": {"type": "file", "path": workplace.path("out.ndjson")}},
    });
    let (finished, peak) = workplace.once(&config).start().finish_measured();
    finished.exited(0);
    eprintln!("48 mails of 12 MiB: {} MiB", peak >> 10);
    assert!(peak < 80 << 10, "{peak} KiB");
}
