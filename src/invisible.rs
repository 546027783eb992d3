//! Invisible characters of Unicode.

/// True for C1 controls, and format characters (category Cf) that are invisible, and may hide or reorder text: soft hyphens,
/// zero-width characters, bidirectional controls (Unicode 16, UAX #9), line and paragraph separators, byte order marks,
/// annotation marks, musical format characters, tags.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}')
}
