//! Syslog formats and transports as parsed by real syslog servers, and the configurations of receivers in `examples/`: a
//! module per receiver, run in the real server if that is available.

mod configured;
mod elasticsearch;
mod example;
mod grafana;
pub mod names;
mod prometheus;
mod rsyslog;
mod searches;
mod syslog_ng;
pub mod yaml;

use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_complete, mailbox},
    reports::{Batch, Essence},
    rsyslog::Rsyslog,
    syslog_ng::SyslogNg,
    workplace::{Workplace, imaps, syslog_tcp, with},
};

fn syslog_udp(port: u16) -> Value {
    json!({"type": "syslog", "address": format!("127.0.0.1:{port}"), "mode": "udp"})
}

/// Ships a small batch to this sink.
fn ship(sink: Value) -> Batch {
    let (ca, batch) = (Ca::new(), Batch::generate(41, 4, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).exits(0);
    assert_all_archived(&dovecot, &batch);
    batch
}

#[test]
fn rsyslog_reads_datagrams() {
    let rsyslog = Rsyslog::start(&Ca::new());
    let batch = ship(syslog_udp(rsyslog.udp_port));
    let received = rsyslog.wait_for(batch.event_count());
    assert_complete(&batch, &received);
    assert!(received.iter().all(|message| message.message.len() < 1400), "a datagram fits one packet");
}

#[test]
fn rsyslog_filter_for_dmarc_ingest_accepts_rfc3164_frames() {
    for sink in [
        |rsyslog: &Rsyslog| syslog_udp(rsyslog.udp_port),
        |rsyslog: &Rsyslog| with(syslog_tcp(rsyslog.tcp_port), json!({"framing": {"method": "newline_delimited"}})),
        |rsyslog: &Rsyslog| syslog_tcp(rsyslog.tcp_port),
    ] {
        let rsyslog = Rsyslog::start(&Ca::new());
        let batch = ship(with(sink(&rsyslog), json!({"format": "rfc3164"})));
        let received = rsyslog.wait_for(batch.event_count());
        assert_complete(&batch, &received);
        assert_eq!(rsyslog.wait_for_lines(received.len()).len(), received.len());
        for message in received {
            assert_eq!(message.facility, 16);
            assert_eq!(message.json, message.event(), "rsyslog's parser reads what we wrote");
        }
    }
}

#[test]
fn syslog_ng_filter_accepts_rfc3164_frames() {
    let syslog_ng = SyslogNg::start(&Ca::new());
    let sink = with(
        syslog_tcp(syslog_ng.network_port),
        json!({"format": "rfc3164", "framing": {"method": "newline_delimited"}}),
    );
    let batch = ship(sink);
    let received = syslog_ng.wait_for(batch.event_count());
    assert_complete(&batch, &received);
    for message in received {
        assert_eq!((message.facility, message.app_name.as_str()), (16, "DMARC_DATA"));
        assert_eq!(message.json["event_id"], message.event()["event_id"]);
    }
}

#[test]
fn the_text_codec_writes_the_line_of_dmarc_ingest() {
    for format in ["rfc5424", "rfc3164"] {
        let rsyslog = Rsyslog::start(&Ca::new());
        let changes = json!({"format": format, "encoding": {"codec": "text"}, "events": ["dmarc_aggregate"]});
        let batch = ship(with(syslog_tcp(rsyslog.tcp_port), changes));
        let mut told: Vec<String> =
            rsyslog.wait_for_lines(batch.row_count()).iter().map(|line| beginning(line)).collect();
        let mut expected: Vec<String> = batch.essences().into_iter().map(line_of_dmarc_ingest).collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
    }
}

/// Returns the line up to `count` and its value.
fn beginning(line: &str) -> String {
    let (keys, rest) = line.split_once(" count=").unwrap_or_else(|| panic!("no count in {line}"));
    format!("{keys} count={}", rest.split(' ').next().unwrap())
}

fn line_of_dmarc_ingest(row: Essence) -> String {
    let (org, report_id, domain, source_ip, count, ..) = row;
    let org = if org.contains(' ') { format!("{org:?}") } else { org };
    format!("org={org} report_id={report_id} domain={domain} policy=quarantine ip={source_ip} count={count}")
}
