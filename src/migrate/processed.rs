//! Imports the reports that dmarc-ingest remembers as sent into the ledger.
//!
//! Its file is JSON of an undocumented form. The ledger identifies a report by the SHA-256 of its document, so the import
//! searches for 64 hexadecimal digits, as a key or in a list, wherever they are. Names of files, report_ids and Message-IDs
//! identify no document. A hash of something else, such as of the zip, matches no document and does no harm.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    ledger::{Commit, DocumentKey, Shipped, SinkKey, backend},
    ops::{lock::InstanceLock, runtime::block_on},
};

/// Documents by their SHA-256.
#[derive(Debug, Default)]
pub(super) struct Processed {
    documents: BTreeMap<[u8; 32], Entry>,
    /// Number of entries that name no document.
    pub others: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    first: Option<Timestamp>,
    org: Option<String>,
    report_id: Option<String>,
}

/// Number of documents in one transaction.
const BATCH: usize = 10_000;

impl Processed {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut found = Self::default();
        found.look(&serde_json::from_str(text)?);
        Ok(found)
    }

    pub(super) fn len(&self) -> usize {
        self.documents.len()
    }

    /// Adds the documents to the ledger in `data_dir`.
    pub(super) fn import(self, data_dir: &Path, tenant: Option<&str>) -> Result<(), String> {
        let _lock = InstanceLock::acquire(data_dir).map_err(|error| error.to_string())?;
        let ledger = backend::open(data_dir).map_err(|error| error.to_string())?;
        let now = Timestamp::now();
        let documents: Vec<_> = self.documents.into_iter().collect();
        for batch in documents.chunks(BATCH) {
            let mut commit = Commit::at(now);
            commit.documents.extend(batch.iter().map(|(sha256, entry)| {
                let key = DocumentKey { tenant: tenant.map(str::to_owned), sha256: *sha256 };
                let shipped = Shipped {
                    first_shipped: entry.first.unwrap_or(now),
                    last_seen: now,
                    org: entry.org.clone(),
                    report_id: entry.report_id.clone(),
                    rows: 0,
                    mail: "imported from dmarc-ingest".to_owned(),
                };
                (key, shipped, [SinkKey::EVERY].into())
            }));
            let written = block_on(ledger.commit(Arc::new(commit))).map_err(|error| error.to_string())?;
            written.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Searches a list of hashes, a table keyed by hashes, a list of tables that hold one, or tables of these.
    fn look(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| match item {
                Value::Array(_) => self.look(item),
                Value::Object(table) => match table.values().find_map(|value| value.as_str().and_then(hash)) {
                    Some(hash) => self.add(hash, item),
                    None => self.look(item),
                },
                _ => match item.as_str().and_then(hash) {
                    Some(hash) => self.add(hash, &Value::Null),
                    None => self.others += 1,
                },
            }),
            Value::Object(table) => table.iter().for_each(|(key, value)| match (hash(key), value) {
                (Some(hash), _) => self.add(hash, value),
                (None, Value::Array(_) | Value::Object(_)) => self.look(value),
                (None, _) => self.others += 1,
            }),
            _ => self.others += 1,
        }
    }

    fn add(&mut self, hash: [u8; 32], told: &Value) {
        let text = |key: &str| told.get(key).and_then(Value::as_str).map(str::to_owned);
        let own = time(told);
        let first = ["timestamp", "ts", "time", "processed_at", "date"].iter().find_map(|key| time(told.get(key)?));
        let entry = Entry { first: own.or(first), org: text("org"), report_id: text("report_id") };
        self.documents.insert(hash, entry);
    }
}

/// Parses seconds since 1970, or RFC 3339; a time without a zone counts as UTC.
fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(seconds) => Timestamp::from_second(seconds.as_f64()? as i64).ok(),
        Value::String(text) => text.parse().or_else(|_| format!("{text}Z").parse()).ok(),
        _ => None,
    }
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_are_found_in_every_form_that_such_files_have() {
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        for (form, others) in [
            (json!([a, b]), 0),
            (json!({&a: "2025-11-01T10:00:00", &b: 1_700_000_000}), 0),
            (json!({&a: {"org": "x", "timestamp": 1.5}, &b: null, "version": 1}), 1),
            (json!({"processed": [{"sha256": a, "report_id": "r"}, {"hash": b}], "files": ["x.zip"]}), 1),
            (json!({"hashes": [format!("sha256:{a}"), b, a]}), 0),
        ] {
            let found = Processed::parse(&form.to_string()).unwrap();
            assert_eq!((found.len(), found.others), (2, others), "{form}");
        }
    }

    #[test]
    fn report_metadata_of_processed_json_is_kept() {
        let form = json!({"a".repeat(64): {"org": "x", "report_id": "r", "processed_at": "2025-11-01 10:00:00"}});
        let found = Processed::parse(&form.to_string()).unwrap();
        let entry = found.documents.values().next().unwrap();
        assert_eq!(entry.first.unwrap().to_string(), "2025-11-01T10:00:00Z");
        assert_eq!((entry.org.as_deref(), entry.report_id.as_deref()), (Some("x"), Some("r")));
    }

    #[test]
    fn imported_documents_are_added_to_the_existing_ledger() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let found = Processed::parse(&json!([name.repeat(64)]).to_string()).unwrap();
            found.import(root.path(), None).unwrap();
        }
        let ledger = backend::open(root.path()).unwrap();
        let documents = block_on(ledger.documents(None, 10)).unwrap().unwrap();
        assert!(documents.iter().all(|(_, shipped)| shipped.mail == "imported from dmarc-ingest"));
        let hashes: Vec<_> = documents.iter().map(|(key, _)| key.sha256[0]).collect();
        assert_eq!(hashes, [0xaa, 0xbb]);
    }

    #[test]
    fn import_is_refused_while_an_instance_holds_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let _held = InstanceLock::acquire(root.path()).unwrap();
        let found = Processed::parse(&json!(["a".repeat(64)]).to_string()).unwrap();
        assert!(found.import(root.path(), None).unwrap_err().contains("in use"));
    }
}
