//! Property tests: a report is extracted unchanged from any nesting of containers.

use proptest::{prelude::*, sample::select};

use super::*;

/// One container around a report.
#[derive(Debug, Clone, Copy)]
pub(super) enum Around {
    Gzip,
    GzipMembers,
    Zlib,
    Zip,
    StoredZip,
    Tar,
    Base64,
    QuotedPrintable,
    EightBit,
    Forwarded,
}

pub(super) use Around::*;

pub(super) fn pack(bytes: &[u8], around: Around) -> Vec<u8> {
    let middle = bytes.len() / 2;
    match around {
        Gzip => gzip(bytes),
        GzipMembers => [gzip(&bytes[..middle]), gzip(&bytes[middle..]), b"junk".to_vec()].concat(),
        Zlib => zlib(bytes),
        Zip => zip(&[("d/", b""), ("d/a.xml", bytes), ("__MACOSX/._a.xml", b"x")]),
        StoredZip => zip_by(CompressionMethod::Stored, &[("a.xml", bytes)]),
        Tar => tar(&[("a.xml", bytes)]),
        Base64 => report_mail(&[text("see"), part("application/octet-stream", "a", bytes)]),
        QuotedPrintable => report_mail(&[encoded("quoted-printable", &quoted(bytes)), text("bye")]),
        EightBit => report_mail(&[encoded("8bit", bytes), text("bye")]),
        Forwarded => {
            let forwarded = part("message/rfc822", "m", &report_mail(&[part("text/xml", "a", bytes)]));
            mail(&[text("fyi"), forwarded])
        }
    }
}

fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("Content-Type: text/xml\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn quoted(bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks(20)
        .flat_map(|line| line.iter().map(|b| format!("={b:02X}")).chain(["=\r\n".into()]))
        .collect::<String>()
        .into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_report_in_any_container_is_extracted_unchanged(
        inside in "[ -~é\n]{0,300}",
        layers in prop::collection::vec(
            select(vec![Gzip, GzipMembers, Zlib, Zip, StoredZip, Tar, Base64, QuotedPrintable, EightBit, Forwarded]), 0..3),
        utf16 in any::<bool>(),
    ) {
        let xml = format!("<?xml version='1.0'?><feedback><!--{inside}--></feedback>");
        let xml: Vec<u8> = match utf16 {
            true => [0xff, 0xfe].into_iter().chain(xml.encode_utf16().flat_map(u16::to_le_bytes)).collect(),
            false => xml.into_bytes(),
        };
        let packed = layers.iter().fold(xml.clone(), |bytes, around| pack(&bytes, *around));
        for seen in [in_mail(&report_mail(&[part("application/x", "r", &packed)])), in_file("r", &packed)] {
            let [Seen::Document { bytes, end: None, .. }] = seen.as_slice() else { panic!("{seen:?}") };
            prop_assert_eq!(bytes, &xml);
        }
    }
}
