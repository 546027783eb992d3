//! Search criteria: only matching mails are read.

use dmarc_shipper::{
    config::{
        Format, parse,
        search::Search,
        source::{Imap, SourceConfig},
    },
    source::Verdict,
};

use super::driver::{Driver, Server, archiving};

/// Returns `search` as parsed from a configuration.
pub fn search(written: &str) -> Search {
    let text = format!(
        "sources: {{rua: {{type: imap, host: localhost, user: u, password: p, search: '{written}'}}}}\n\
         sinks: {{out: {{type: stdout}}}}"
    );
    let loaded = parse(&text, Format::Yaml, "test.yaml").unwrap();
    let Some(SourceConfig::Imap(read)) = loaded.config.sources.get("rua") else { panic!("it is a mailbox") };
    read.search.clone()
}

fn searching(server: &Server, written: &str) -> Imap {
    Imap { search: search(written), ..archiving(server) }
}

#[tokio::test]
async fn only_mails_that_are_searched_for_are_read() {
    let server = Server::filled(3);
    server.mailbox().deliver("INBOX", b"From: reports@other.example\r\nSubject: \"Report\" (4)\r\n\r\nx\r\n");
    for (search, found) in [
        ("SUBJECT \"report 2\"", vec![2]),
        ("FROM other.example", vec![4]),
        ("UNSEEN SINCE 2d NOT FROM other.example", vec![1, 2, 3]),
        ("OR SUBJECT \"\\\"Report\\\" (4)\" (SUBJECT \"report 1\" SMALLER 10KiB)", vec![1, 4]),
        ("HEADER Message-ID <3@example.com>", vec![3]),
        ("SEEN", vec![]),
        ("BEFORE 1d", vec![]),
        ("UNKEYWORD $Reported LARGER 1 BODY row", vec![1, 2, 3]),
        ("", vec![1, 2, 3, 4]),
    ] {
        let (pass, seen) = Driver::new(searching(&server, search)).run(|_| Verdict::Leave).await;
        pass.unwrap();
        assert_eq!(seen.iter().map(|seen| seen.uid).collect::<Vec<_>>(), found, "{search}");
    }
}
