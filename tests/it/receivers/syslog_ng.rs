//! Runs `examples/syslog-ng` in a real syslog-ng.

use super::example::{adapted, ship, written};
use crate::support::{ca::Ca, server::free_port, syslog_ng, workplace::syslog_tls};

#[test]
fn the_tls_example_writes_the_events_that_were_sent() {
    let (ca, folder, port) = (Ca::new(), tempfile::tempdir().unwrap(), free_port());
    let identity = ca.server();
    let config = adapted(
        "syslog-ng/dmarc.conf",
        &[
            ("0.0.0.0", "127.0.0.1"),
            ("port(6514)", &format!("port({port})")),
            ("/etc/syslog-ng/tls/server.key", identity.key.to_str().unwrap()),
            ("/etc/syslog-ng/tls/server.crt", identity.certificate.to_str().unwrap()),
            // Fixed file name instead of one per day, so that a test at midnight finds the file.
            ("${YEAR}-${MONTH}-${DAY}", "events"),
            ("/var/log/dmarc", folder.path().to_str().unwrap()),
        ],
    );
    let _syslog_ng = syslog_ng::run(folder.path(), &config, &[port]);
    let told = ship(syslog_tls(port, &ca));
    assert_eq!(written(folder.path(), "events.ndjson", told.len()), told, "written as they came");

    let several = |event: &&serde_json::Value| event["disposition"] == "reject" && event["count"].as_i64() > Some(1);
    let rejected: Vec<_> = told.iter().filter(several).collect();
    assert!(!rejected.is_empty());
    let parsed = written(folder.path(), "rejected.ndjson", rejected.len());
    for (parsed, told) in parsed.iter().zip(rejected) {
        assert_eq!(parsed["event_id"], told["event_id"]);
        assert_eq!(parsed["count"], told["count"].to_string(), "3.38 makes texts of numbers");
    }
    assert!(!folder.path().join("unparsed.log").exists());
}
