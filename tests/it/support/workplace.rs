//! A folder for one test's configuration, data and output, and building blocks of configurations.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    ca::Ca,
    dovecot::{Dovecot, PASSWORD, USER},
    process::Shipper,
};

pub struct Workplace {
    folder: TempDir,
}

impl Workplace {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, or replaces its content.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Returns a configuration with one source and one sink, and a ledger in the workplace.
    pub fn config(&self, source: Value, sink: Value) -> Value {
        json!({"data_dir": self.path("data"), "sources": {"rua": source}, "sinks": {"out": sink}})
    }

    /// Returns the command line `run --once` with this configuration.
    pub fn once(&self, config: &Value) -> Shipper {
        self.shipper(&["run", "--once", "--config"], config)
    }

    /// Returns a command line that ends in the path of this configuration.
    pub fn shipper(&self, arguments: &[&str], config: &Value) -> Shipper {
        let file = self.write("config.json", serde_json::to_vec_pretty(config).unwrap());
        Shipper::new(arguments.iter().map(AsRef::<Path>::as_ref).chain([file.as_path()]))
    }
}

/// Returns a source for a mailbox over IMAPS, archived to `Processed`, quarantined to `Unreadable`.
pub fn imaps(dovecot: &Dovecot, ca: &Ca) -> Value {
    json!({
        "type": "imap",
        "host": "localhost",
        "port": dovecot.imaps_port,
        "user": USER,
        "password": PASSWORD,
        "tls": {"ca_file": ca.file()},
        "archive_folder": "Processed",
        "quarantine_folder": "Unreadable",
    })
}

/// Returns the same source over STARTTLS.
pub fn starttls(dovecot: &Dovecot, ca: &Ca) -> Value {
    with(imaps(dovecot, ca), json!({"port": dovecot.imap_port, "security": "starttls"}))
}

pub fn syslog_tls(port: u16, ca: &Ca) -> Value {
    json!({"type": "syslog", "address": format!("localhost:{port}"), "tls": {"ca_file": ca.file()}})
}

pub fn syslog_tcp(port: u16) -> Value {
    json!({"type": "syslog", "address": format!("127.0.0.1:{port}"), "mode": "tcp"})
}

pub fn stdout() -> Value {
    json!({"type": "stdout"})
}

/// Returns `section` with changed values for some keys; null removes a key.
pub fn with(mut section: Value, changes: Value) -> Value {
    let (Some(keys), Value::Object(changes)) = (section.as_object_mut(), changes) else {
        panic!("a section and its changes are objects");
    };
    for (key, value) in changes {
        if value.is_null() {
            keys.remove(&key);
        } else {
            keys.insert(key, value);
        }
    }
    section
}
