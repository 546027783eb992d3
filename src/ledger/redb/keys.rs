//! Keys of documents and their deliveries.

use crate::ledger::{
    key::text,
    record::{DocumentKey, SinkKey},
};

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
