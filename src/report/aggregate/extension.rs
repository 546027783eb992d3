//! Extensions: elements of an aggregate report that are not in its schema (RFC 9990 section 3.1.1.6 and appendix A), and
//! their attributes. Kept flat, one entry for each text, in document order.

use crate::report::warnings::{Repair, Warnings};

/// A text within an element that is not in the schema, or an attribute of such an element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension {
    /// Names of the enclosing elements within `feedback` and of the element itself, without prefixes: `record/arc/instance`.
    /// For an attribute, followed by `@` and its name.
    pub path: Option<String>,
    /// Namespace of the element; `None` if it is that of the report.
    pub namespace: Option<String>,
    pub value: Option<String>,
}

/// Maximum bytes of extensions kept per record, and of all outside the records: as much as of any text.
const BYTES: usize = 4 << 10;
/// Bytes that an encoded entry takes in addition to its texts.
const ENTRY_BYTES: usize = 40;

/// Remaining room for extensions of one record, or of those outside the records.
#[derive(Debug)]
pub struct ExtensionRoom {
    bytes: usize,
    /// True once an entry did not fit; no later ones are kept.
    full: bool,
}

impl Default for ExtensionRoom {
    fn default() -> Self {
        Self { bytes: BYTES, full: false }
    }
}

impl ExtensionRoom {
    /// Adds an entry to `kept`. A value that does not fit is shortened; later ones are dropped.
    ///
    /// `path_bytes` is the length of the result of `path`, which is called only if there is room for it.
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
