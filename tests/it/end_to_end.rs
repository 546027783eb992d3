//! End to end: every mailed report arrives at the receiver unchanged, and the mailbox shows that it was handled.

use std::{collections::BTreeSet, fs, path::Path};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::{Ca, Identity},
    delivery::{assert_all_archived, assert_complete, events, mailbox, rows, told_once},
    dovecot::{Dovecot, PASSWORD, USER},
    process::{Shipper, ndjson},
    reports::{Batch, essences},
    rsyslog::{self, Peers, Rsyslog},
    syslog_ng::SyslogNg,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, starttls, stdout, syslog_tcp, syslog_tls, with},
};

#[test]
fn reports_travel_from_imaps_to_rsyslog_over_tls() {
    let (ca, batch) = (Ca::new(), Batch::generate(11, 12, 1..=20, 4));
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    workplace.once(&workplace.config(imaps(&dovecot, &ca), syslog_tls(rsyslog.tls_port, &ca))).exits(0);

    let received = rsyslog.wait_for(batch.event_count());
    assert_complete(&batch, &received);
    for message in received.iter().filter(|message| message.msgid == "dmarc_aggregate") {
        let event = message.event();
        assert_eq!(message.json, event, "rsyslog's parser reads what we wrote");
        let (_, data) = message.structured_data.first_key_value().unwrap();
        for key in ["event_id", "org", "report_id", "domain", "source_ip", "disposition", "dkim", "spf", "header_from"]
        {
            assert_eq!(data[key], event[key].as_str().unwrap(), "{key}");
        }
        assert_eq!(data["count"], event["count"].to_string());
        assert_eq!((message.facility, message.severity, message.app_name.as_str()), (16, 6, "DMARC_DATA"));
    }
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn reports_travel_from_starttls_to_rsyslog_over_tcp_in_both_framings() {
    let (ca, batch) = (Ca::new(), Batch::generate(12, 6, 1..=10, 0));
    for framing in ["octet_counting", "newline_delimited"] {
        let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
        let sink = with(syslog_tcp(rsyslog.tcp_port), json!({"framing": {"method": framing}}));
        workplace.once(&workplace.config(starttls(&dovecot, &ca), sink)).exits(0);
        assert_complete(&batch, &rsyslog.wait_for(batch.event_count()));
        assert_all_archived(&dovecot, &batch);
    }
}

#[test]
fn syslog_ng_understands_every_event_over_tls_and_tcp() {
    let (ca, batch) = (Ca::new(), Batch::generate(13, 6, 1..=10, 0));
    for tls in [true, false] {
        let (dovecot, syslog_ng, workplace) = (mailbox(&ca, &batch), SyslogNg::start(&ca), Workplace::new());
        let sink = if tls { syslog_tls(syslog_ng.tls_port, &ca) } else { syslog_tcp(syslog_ng.tcp_port) };
        workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).exits(0);
        let received = syslog_ng.wait_for(batch.event_count());
        assert_complete(&batch, &received);
        assert!(received.iter().all(|message| message.json["event_id"] == message.event()["event_id"]));
        assert_all_archived(&dovecot, &batch);
    }
}

#[test]
fn a_client_certificate_is_sent_on_request() {
    let (ca, batch) = (Ca::new(), Batch::generate(14, 3, 1..=5, 0));
    let rsyslog =
        Rsyslog::with(&ca, &rsyslog::Options { peers: Peers::Named("shipper.example"), ..Default::default() });
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());

    // With TLS 1.3 the refusal arrives after the handshake: data written until then must not be confirmed.
    let stranger = syslog_tls(rsyslog.tls_port, &ca);
    let config = with(workplace.config(imaps(&dovecot, &ca), stranger.clone()), json!({"give_up_after": "3s"}));
    workplace.once(&config).exits(75).says(&["asked for a client certificate, so set tls.crt_file and tls.key_file"]);
    assert_eq!(dovecot.mailbox().count("INBOX"), batch.mails.len());

    let certificates = |name: &str| {
        let Identity { certificate, key } = ca.client(name);
        json!({"ca_file": ca.file(), "crt_file": certificate, "key_file": key})
    };
    let unknown = with(stranger.clone(), json!({"tls": certificates("another.example")}));
    let config = with(workplace.config(imaps(&dovecot, &ca), unknown), json!({"give_up_after": "3s"}));
    workplace.once(&config).exits(75).says(&["whether it accepts the client certificate of tls.crt_file"]);
    assert_eq!(dovecot.mailbox().count("INBOX"), batch.mails.len());

    let tls = certificates("shipper.example");
    workplace.once(&workplace.config(imaps(&dovecot, &ca), with(stranger, json!({"tls": tls})))).exits(0);
    assert_complete(&batch, &rsyslog.wait_for(batch.event_count()));
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn stdout_and_a_file_get_the_same_events() {
    let (ca, batch) = (Ca::new(), Batch::generate(15, 8, 1..=10, 4));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sinks = json!({"out": stdout(), "kept": {"type": "file", "path": workplace.path("kept.ndjson")}});
    let config = with(workplace.config(imaps(&dovecot, &ca), stdout()), json!({"sinks": sinks}));
    let events = workplace.once(&config).exits(0).events();
    assert_eq!(events, ndjson(&workplace.read("kept.ndjson")));
    assert_eq!(essences(rows(&events)), batch.essences());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn report_events_add_up_to_the_mailed_reports() {
    let (ca, batch) = (Ca::new(), Batch::generate(16, 20, 1..=10, 5));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let events = workplace.once(&workplace.config(imaps(&dovecot, &ca), stdout())).exits(0).events();
    let outcome = |name: &str| events.iter().filter(|event| event["outcome"] == name).count();
    assert_eq!(outcome("shipped"), batch.reports.len());
    assert_eq!(outcome("duplicate"), batch.mails.len() - batch.reports.len());
    let messages: i64 = rows(&events).map(|event| event["count"].as_i64().unwrap()).sum();
    assert_eq!(messages, batch.message_count());
}

#[test]
fn event_id_is_the_same_in_every_run_source_and_sink() {
    let (ca, batch) = (Ca::new(), Batch::generate(17, 5, 1..=10, 0));
    let ids = |source: fn(&Dovecot, &Ca) -> Value| {
        let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
        let events = workplace.once(&workplace.config(source(&dovecot, &ca), stdout())).exits(0).events();
        rows(&events).map(|event| event["event_id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let first = ids(imaps);
    assert_eq!(first.len(), batch.row_count(), "each row has an id of its own");
    assert_eq!(first, ids(starttls));
}

#[test]
fn a_read_only_mailbox_is_shipped_once() {
    let (ca, batch) = (Ca::new(), Batch::generate(18, 5, 1..=10, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let before = dovecot.mailbox().names("INBOX");
    let source = with(imaps(&dovecot, &ca), json!({"archive_folder": null, "quarantine_folder": null}));
    let config = workplace.config(source, stdout());
    assert_eq!(essences(rows(&workplace.once(&config).exits(0).events())), batch.essences());
    assert_eq!(workplace.once(&config).exits(0).stdout, "", "nothing is new");
    assert_eq!(unflagged(&dovecot.mailbox().names("INBOX")), unflagged(&before), "no mail was moved");
    let again = workplace.shipper(&["run", "--once", "--reship", "--config"], &config).exits(0).events();
    assert_eq!(essences(rows(&again)), batch.essences(), "unless one asks for it again");
    let later = ["run", "--once", "--reship", "--since", "9999-01-01", "--config"];
    let duplicates = workplace.shipper(&later, &config).exits(0).events();
    assert_eq!(rows(&duplicates).count(), 0, "or for what was shipped later");
    let ledger = workplace.shipper(&["ledger", "list", "--config"], &config).exits(0).events();
    assert_eq!(ledger.len(), batch.reports.len());
    workplace.shipper(&["ledger", "reset", "--config"], &config).exits(0);
    assert_eq!(workplace.shipper(&["ledger", "list", "--config"], &config).exits(0).stdout, "");
}

#[test]
fn run_without_a_file_uses_urls_and_the_password_of_the_environment() {
    let (ca, batch) = (Ca::new(), Batch::generate(24, 3, 1..=5, 0));
    let dovecot = mailbox(&ca, &batch);
    let from = format!("imaps://{USER}@localhost:{}/INBOX?archive=Processed", dovecot.imaps_port);
    let shipper = Shipper::new(["run", "--once", "--from", &from, "--to", "stdout:"]);
    let events = shipper.env("DMARC_SHIPPER_PASSWORD", PASSWORD).env("SSL_CERT_FILE", ca.file()).exits(0).events();
    assert_eq!(essences(rows(&events)), batch.essences());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_dry_run_changes_nothing() {
    let (ca, batch) = (Ca::new(), Batch::generate(19, 4, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let before = dovecot.mailbox().names("INBOX");
    let sink = json!({"type": "file", "path": workplace.path("out.ndjson")});
    let config = workplace.config(imaps(&dovecot, &ca), sink);
    workplace.shipper(&["run", "--once", "--dry-run", "--config"], &config).exits(0);
    assert_eq!(unflagged(&dovecot.mailbox().names("INBOX")), unflagged(&before));
    assert_eq!(dovecot.mailbox().count("Processed"), 0);
    assert!(!workplace.path("out.ndjson").exists());
    workplace.once(&config).exits(0);
    assert_eq!(essences(rows(&ndjson(&workplace.read("out.ndjson")))), batch.essences(), "nothing was remembered");
}

#[test]
fn a_thousand_mails_arrive_complete_and_exactly_once() {
    let (ca, batch) = (Ca::new(), Batch::generate(20, 1000, 1..=20, 10));
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    workplace.once(&workplace.config(imaps(&dovecot, &ca), syslog_tls(rsyslog.tls_port, &ca))).exits(0);
    let received = rsyslog.wait_for(batch.event_count());
    assert_eq!(received.len(), batch.event_count());
    assert_complete(&batch, &received);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn mails_stay_while_the_receiver_is_down_and_are_shipped_when_it_is_up() {
    let (ca, batch) = (Ca::new(), Batch::generate(21, 10, 1..=10, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    rsyslog.halt();
    let source = with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"}));
    let config = workplace.config(source, syslog_tls(rsyslog.tls_port, &ca));
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "the program says that it can't connect", || {
        running.stderr().contains("can't connect").then_some(())
    });
    assert_eq!(dovecot.mailbox().count("INBOX"), batch.mails.len());
    rsyslog.resume();
    assert_complete(&batch, &rsyslog.wait_for(batch.event_count()));
    eventually(LONG, "the mails are archived", || (dovecot.mailbox().count("INBOX") == 0).then_some(()));
    running.signal(Signal::TERM);
    running.finish().exited(0);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn an_undeliverable_run_exits_with_75_and_leaves_the_mails() {
    let (ca, batch) = (Ca::new(), Batch::generate(22, 3, 1..=5, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    rsyslog.halt();
    let config = workplace.config(imaps(&dovecot, &ca), syslog_tcp(rsyslog.tcp_port));
    workplace.once(&with(config, json!({"give_up_after": "2s"}))).exits(75).says(&["can't connect"]);
    assert_eq!((dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed")), (batch.mails.len(), 0));
}

/// A certificate can be renewed while a run waits, so a receiver that can't be trusted is retried like one that is down.
#[test]
fn an_untrusted_receiver_leaves_the_mails_with_75_and_check_says_69() {
    let (ca, stranger, batch) = (Ca::new(), Ca::new(), Batch::generate(25, 3, 1..=5, 0));
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&stranger), Workplace::new());
    let config = workplace.config(imaps(&dovecot, &ca), syslog_tls(rsyslog.tls_port, &ca));
    let config = with(config, json!({"give_up_after": "2s"}));
    workplace.once(&config).exits(75).says(&["is not signed by a trusted authority"]);
    assert_eq!((dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed")), (batch.mails.len(), 0));
    assert!(rsyslog.received().is_empty());
    workplace.shipper(&["check", "--config"], &config).exits(69);
}

#[test]
fn nothing_is_lost_when_the_process_is_killed() {
    for signal in [Signal::TERM, Signal::KILL] {
        let (ca, batch) = (Ca::new(), Batch::generate(23, 60, 5..=10, 0));
        let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
        let slow = with(syslog_tls(rsyslog.tls_port, &ca), json!({"rate_limit_num": 100}));
        let running = workplace.once(&workplace.config(imaps(&dovecot, &ca), slow)).start();
        rsyslog.wait_for(100);
        running.signal(signal);
        running.finish();
        assert!(dovecot.mailbox().count("INBOX") > 0, "the run was over before it was stopped");

        workplace.once(&workplace.config(imaps(&dovecot, &ca), syslog_tls(rsyslog.tls_port, &ca))).exits(0);
        eventually(LONG, "every row is there", || {
            (told_once(&events(&rsyslog.received())) == batch.essences()).then_some(())
        });
        assert_all_archived(&dovecot, &batch);
    }
}

/// Returns file names of mails without the empty list of flags, which a server adds when a client first sees the mail.
fn unflagged(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.strip_suffix(":2,").unwrap_or(name).to_owned()).collect()
}

/// Events that the sink of a dashboard missed can be shipped again to that sink only; the others get no event twice, and
/// miss no new one.
#[test]
fn reship_to_one_sink_ships_only_known_reports() {
    let (ca, batch, new) = (Ca::new(), Batch::generate(19, 4, 1..=3, 0), Batch::generate(20, 1, 1..=3, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let left = with(imaps(&dovecot, &ca), json!({"archive_folder": null}));
    let file = |name| json!({"type": "file", "path": workplace.path(name)});
    let sinks = json!({"sinks": {"siem": file("siem.ndjson"), "dashboard": file("dashboard.ndjson")}});
    let config = with(workplace.config(left, stdout()), sinks);
    workplace.once(&config).exits(0);
    std::fs::remove_file(workplace.path("dashboard.ndjson")).unwrap();
    dovecot.mailbox().deliver("INBOX", &new.mails[0]);

    let again = ["run", "--once", "--reship", "--to", "dashboard", "--config"];
    workplace.shipper(&again, &config).exits(0).says(&["never shipped"]);
    let told = |name: &str| essences(rows(&ndjson(&workplace.read(name))));
    assert_eq!((told("dashboard.ndjson"), told("siem.ndjson")), (batch.essences(), batch.essences()));

    workplace.once(&config).exits(0);
    assert_eq!(told("siem.ndjson").len(), batch.row_count() + new.row_count());
    assert_eq!(told("dashboard.ndjson").len(), batch.row_count() + new.row_count());
}

/// Every fixture that is a mail, in one mailbox: where it lies afterwards agrees with the events of its golden output.
#[test]
fn each_mail_lands_where_its_outcome_says() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let dovecot = Dovecot::start(&ca.server());
    let mut fixtures = Vec::new();
    for folder in ["mail", "failure", "tls_rpt", "value"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "eml") {
                let golden = ndjson(&fs::read_to_string(path.with_extension("ndjson")).unwrap());
                fixtures.push((path.clone(), fs::read(&path).unwrap(), golden));
            }
        }
    }
    assert!(fixtures.len() > 80, "{}", fixtures.len());
    // Mails with the same bytes can't be told apart.
    fixtures.sort_by(|a, b| a.1.cmp(&b.1));
    fixtures.dedup_by(|a, b| a.1 == b.1);
    fixtures.iter().for_each(|(_, mail, _)| dovecot.mailbox().deliver("INBOX", mail));
    let sink = json!({"type": "file", "path": workplace.path("events.ndjson")});
    workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).exits(0);

    let folders = ["INBOX", "Processed", "Unreadable"].map(|folder| (folder, dovecot.mailbox().mails(folder)));
    for (path, mail, golden) in &fixtures {
        let lies = folders.iter().find(|(_, mails)| mails.contains(mail)).map(|(folder, _)| *folder);
        let is_type = |event_type: &str| golden.iter().any(|event| event["event_type"] == event_type);
        let expected = match (is_type("ingest_error"), is_type("report")) {
            (true, _) => "Unreadable",
            (false, true) => "Processed",
            (false, false) => "INBOX",
        };
        assert_eq!(lies, Some(expected), "{}", path.display());
    }
}
