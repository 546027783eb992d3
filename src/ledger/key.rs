//! Keys of the tables: length-prefixed, so that no two documents or places share one, whatever their names are.

use sha2::{Digest, Sha256};

use super::{DocumentKey, ReportName, SinkKey, crash_marker::PlaceName};
use crate::source::Place;

/// Key of a document: tenant, then hash.
pub(super) fn document(key: &DocumentKey) -> Vec<u8> {
    let mut bytes = vec![u8::from(key.tenant.is_some())];
    text(&mut bytes, key.tenant.as_deref().unwrap_or_default());
    bytes.extend_from_slice(&key.sha256);
    bytes
}

/// Key of a delivery: tenant, hash, then sink, so that the deliveries of a document are adjacent.
pub(super) fn delivery(document: &[u8], sink: &SinkKey) -> Vec<u8> {
    [document, &sink.0].concat()
}

/// Returns the sink in a key made by [`delivery`] for the document with this key.
pub(super) fn sink_of(document: &[u8], delivery: &[u8]) -> Option<SinkKey> {
    delivery.strip_prefix(document)?.try_into().ok().map(SinkKey)
}

/// Returns the document of a key made by [`document`].
pub(super) fn document_of(bytes: &[u8]) -> Option<DocumentKey> {
    let (&has_tenant, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (tenant, hash) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
    let tenant = String::from_utf8(tenant.to_vec()).ok()?;
    Some(DocumentKey { tenant: (has_tenant == 1).then_some(tenant), sha256: hash.try_into().ok()? })
}

/// Key of a place; `None` for a place that can't be found again.
pub(super) fn place(place: &Place) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match place {
        Place::Imap { source, account, folder, uid_validity, uid } => {
            bytes.push(b'i');
            text(&mut bytes, source);
            text(&mut bytes, account);
            text(&mut bytes, folder);
            bytes.extend_from_slice(&uid_validity.to_be_bytes());
            bytes.extend_from_slice(&uid.to_be_bytes());
        }
        Place::File { source, path, part, size, mtime } => {
            bytes.push(b'f');
            text(&mut bytes, source);
            text(&mut bytes, path);
            bytes.extend_from_slice(&part.to_be_bytes());
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&mtime.to_be_bytes());
        }
        Place::Stdin { .. } => return None,
    }
    Some(bytes)
}

/// Hash of a place's key, of a fixed length.
pub(super) fn place_name(place: &Place) -> Option<PlaceName> {
    self::place(place).map(|key| Sha256::digest(key).into())
}

/// Key of a reporter's name. Hashed, because reporters write any text of any length. A missing value differs from an empty one.
pub(super) fn report_name(tenant: Option<&str>, told: &[Option<&str>]) -> ReportName {
    let mut bytes = Vec::new();
    for value in std::iter::once(&tenant).chain(told) {
        bytes.push(u8::from(value.is_some()));
        text(&mut bytes, value.unwrap_or_default());
    }
    ReportName(Sha256::digest(bytes).into())
}

/// Key of a sink. Hashed, because a destination can be of any length.
pub(super) fn sink(identity: &str) -> SinkKey {
    let hash: [u8; 32] = Sha256::digest(identity).into();
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    SinkKey(key)
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
