//! Fault injection, around the program and in it: nothing is lost, and an event that is shipped twice has the same id.

mod clock;
mod disks;
mod mail_server;
mod process;
mod receivers;
mod rejected;
mod requests;
mod set_aside;

use serde_json::{Value, json};

use crate::support::workplace::{Workplace, with};

/// Returns a configuration with a file sink and a syslog sink, both required.
fn to_both(workplace: &Workplace, source: Value, syslog: Value) -> Value {
    let file = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    with(workplace.config(source, Value::Null), json!({"sinks": {"file": file, "siem": syslog}}))
}
