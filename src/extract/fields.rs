//! Lines and field names of a mail header, as bytes.

/// Returns the field name of a header line, or `None` if the line can't be one. RFC 5322 allows more characters in names
/// than anyone uses, and would take `<a:feedback>` for one.
pub(super) fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().take(80).position(|&byte| byte == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    is_name.then_some(name)
}

/// Index of the field with this name in `fields`, which are in lower case.
pub(super) fn field_of(name: &[u8], fields: &[&str]) -> Option<usize> {
    fields.iter().position(|field| field.as_bytes().eq_ignore_ascii_case(name))
}

/// Splits into lines, each with its line end.
pub(super) fn lines(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let line = bytes.split_off(..end)?;
        (!line.is_empty()).then_some(line)
    })
}

/// True for the `From ` line that precedes each mail in an mbox file.
pub(super) fn is_mailbox_line(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

/// True for a line of base64 (RFC 2045 section 6.8), without its line end; the last one of a text may be short.
pub(super) fn is_base64_line(line: &[u8]) -> bool {
    !line.is_empty() && line.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
}

/// The byte order mark of UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
