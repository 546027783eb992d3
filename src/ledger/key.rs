//! Keys of places: length-prefixed, so that no two places share one, whatever their names are.

use sha2::{Digest, Sha256};

use crate::source::Place;

/// Hash of a mail's or file's place.
pub(super) type PlaceName = [u8; 32];

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

/// Appends a text and its length.
pub(super) fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
