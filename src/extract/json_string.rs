//! Reads the text inside a JSON string: some senders encode a report as JSON twice. Streaming; what follows the string is
//! skipped.

/// State of the reader.
#[derive(Debug, Default)]
pub(super) struct JsonString {
    next: Next,
    /// The first half of a surrogate pair.
    high: Option<u32>,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Quote,
    Text,
    Escape,
    /// The hexadecimal digits of `\u`, so far.
    Unicode {
        digits: u32,
        value: u32,
    },
    End,
}

impl JsonString {
    pub fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for &byte in text {
            self.next = match self.next {
                Next::Quote if byte == b'"' => Next::Text,
                Next::Quote => Next::Quote,
                Next::End => return,
                Next::Text => match byte {
                    b'"' => Next::End,
                    b'\\' => Next::Escape,
                    _ => {
                        out.push(byte);
                        Next::Text
                    }
                },
                Next::Escape if byte == b'u' => Next::Unicode { digits: 0, value: 0 },
                Next::Escape => {
                    out.push(match byte {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'f' => 12,
                        other => other,
                    });
                    Next::Text
                }
                Next::Unicode { digits, value } => {
                    let value = value << 4 | (byte as char).to_digit(16).unwrap_or(0);
                    if digits == 3 {
                        self.character(value, out);
                        Next::Text
                    } else {
                        Next::Unicode { digits: digits + 1, value }
                    }
                }
            };
        }
    }

    /// Adds a UTF-16 code unit.
    fn character(&mut self, unit: u32, out: &mut Vec<u8>) {
        let code = match (self.high.take(), unit) {
            (_, 0xd800..0xdc00) => {
                self.high = Some(unit);
                return;
            }
            (Some(high), 0xdc00..0xe000) => 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00),
            (_, unit) => unit,
        };
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_however_the_text_is_chunked() {
        let text = " {\"é\\\": 😀\u{1}\n\t/ü\" }";
        let ascii: String = serde_json::to_string(text).unwrap();
        let escaped: String = ascii
            .chars()
            .map(|c| {
                if c.is_ascii() {
                    c.to_string()
                } else {
                    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                }
            })
            .collect();
        for string in [ascii, escaped] {
            for at_once in [1, 3, 100] {
                let (mut reader, mut out) = (JsonString::default(), Vec::new());
                [string.as_bytes(), b", \"more\""]
                    .concat()
                    .chunks(at_once)
                    .for_each(|chunk| reader.decode(chunk, &mut out));
                assert_eq!(String::from_utf8(out).unwrap(), text);
            }
        }
    }
}
