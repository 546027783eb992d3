//! Characters and character references that are allowed in XML.

/// True for characters that XML 1.0 section 2.2 forbids, such as NUL.
pub fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// True if UTF-8 text has the first byte of a forbidden character, or of one of a few others. Does not stop at the first, so that
/// many bytes are compared in one step.
pub fn may_be_forbidden(text: &[u8]) -> bool {
    let suspicious = |byte| (byte == 0xef) | ((byte < b' ') & !matches!(byte, b'\t' | b'\n' | b'\r'));
    text.iter().fold(false, |any, &byte| any | suspicious(byte))
}

/// True if the name between `&` and `;` is a character reference or an entity that is predefined without a DTD.
pub fn is_reference(name: &[u8]) -> bool {
    let number = match name {
        b"amp" | b"lt" | b"gt" | b"quot" | b"apos" => return true,
        [b'#', b'x', hex @ ..] => std::str::from_utf8(hex).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok()),
        [b'#', decimal @ ..] => std::str::from_utf8(decimal).ok().and_then(|decimal| decimal.parse().ok()),
        _ => None,
    };
    number.and_then(char::from_u32).is_some_and(|c| !is_forbidden(c))
}
