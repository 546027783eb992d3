//! What breaks around the program, and the program itself: nothing is lost, and what is told twice has the same id.

mod clock;
mod disks;
mod mail_server;
mod process;
mod receivers;
mod set_aside;

use serde_json::{Value, json};

use crate::support::workplace::{Workplace, with};

/// A file and a syslog receiver, both required.
fn to_both(workplace: &Workplace, source: Value, syslog: Value) -> Value {
    let file = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    with(workplace.config(source, Value::Null), json!({"sinks": {"file": file, "siem": syslog}}))
}
