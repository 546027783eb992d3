//! Extensions: elements of an aggregate report that its schema does not have (RFC 9990 section 3.1.1.6 and appendix A), and
//! attributes of these. Kept flat, one entry for each text, in the order of the document.

use super::repair::{Repair, Warnings};

/// A text within an element that the schema does not have, or an attribute of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension {
    /// Names of the elements around it within `feedback`, its own last, without prefixes: `record/arc/instance`; of an
    /// attribute followed by `@` and its name.
    pub path: Option<String>,
    /// Namespace of the element; `None` for that of the report.
    pub namespace: Option<String>,
    pub value: Option<String>,
}

/// Bytes of extensions that are kept of one record, and of all that stands outside the records: as much as of any text.
const BYTES: usize = 4 << 10;
/// Bytes that an entry takes beside its texts, as it is encoded.
const ENTRY_BYTES: usize = 40;

/// What may still be kept of one record, or outside the records.
#[derive(Debug)]
pub struct ExtensionRoom {
    bytes: usize,
    /// An entry did not fit, so none of the later ones is kept.
    full: bool,
}

impl Default for ExtensionRoom {
    fn default() -> Self {
        Self { bytes: BYTES, full: false }
    }
}

impl ExtensionRoom {
    /// Adds an entry to `kept`. A value that does not fit is shortened; what comes after it is left out.
    ///
    /// `path_bytes` is the length of what `path` gives, which is asked for only if there is room for it.
    pub fn keep(
        &mut self,
        kept: &mut Vec<Extension>,
        (path_bytes, path): (usize, impl FnOnce() -> String),
        namespace: Option<&str>,
        value: &str,
        warnings: &mut Warnings,
    ) {
        let fixed = ENTRY_BYTES + path_bytes + namespace.map_or(0, str::len);
        let left = if self.full { None } else { self.bytes.checked_sub(fixed) };
        let Some(left) = left else {
            self.full = true;
            return warnings.note(Repair::ExtensionsShortened, "");
        };
        let end = value.floor_char_boundary(left);
        let path = path();
        if end < value.len() {
            self.full = true;
            warnings.note(Repair::ExtensionsShortened, &path);
        }
        let value = value.get(..end).filter(|value| !value.is_empty()).map(str::to_owned);
        kept.push(Extension { path: Some(path), namespace: namespace.map(str::to_owned), value });
        self.bytes = left - end;
    }
}
