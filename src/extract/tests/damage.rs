use super::*;

/// Long enough that only a part of it is decompressed before the damage.
fn long_xml() -> Vec<u8> {
    let mut state = 1u32;
    let mut xml = b"<feedback>".to_vec();
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        xml.extend_from_slice(format!("<count>{state}</count>").as_bytes());
    }
    xml.extend_from_slice(b"</feedback>");
    xml
}

fn only(seen: Vec<Seen>) -> (Vec<u8>, Option<Reason>) {
    match <[Seen; 1]>::try_from(seen) {
        Ok([Seen::Document { bytes, end, .. }]) => (bytes, end),
        other => panic!("not one document: {other:?}"),
    }
}

#[test]
fn joined_gzip_members_are_one_document() {
    let (first, second) = XML.split_at(30);
    let joined = [gzip(first), gzip(second)].concat();
    assert_eq!(in_file("x", &joined), [document("x", XML)]);
}

#[test]
fn bytes_after_the_gzip_trailer_are_ignored() {
    for junk in [&b"\0"[..], &[0; 5000], b"\r\n", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x07junk", b"\0\0junk"] {
        let file = [gzip(XML), junk.into()].concat();
        assert_eq!(in_file("x", &file), [document("x", XML)], "{junk:?}");
    }
}

/// Regression: whatever followed the end of a stream was passed over, even another report.
#[test]
fn data_after_the_end_of_a_gzip_or_zlib_stream_is_told() {
    for junk in [b"junk that is long".as_slice(), XML, &zip(&[("a.xml", XML)])] {
        for (packed, reason) in [(gzip(XML), Reason::CorruptGzip), (zlib(XML), Reason::CorruptZlib)] {
            let file = [packed, b"\0\0".to_vec(), junk.into()].concat();
            assert_eq!(only(in_file("x", &file)), (XML.to_vec(), Some(reason)), "{junk:?}");
        }
    }
}

#[test]
fn all_optional_fields_of_a_gzip_header_are_skipped() {
    let plain = gzip(XML);
    let mut file = vec![0x1f, 0x8b, 8, 2 | 4 | 8 | 16, 0, 0, 0, 0, 0, 3];
    file.extend_from_slice(&[3, 0, 1, 2, 3]);
    file.extend_from_slice(b"name\0comment\0\x12\x34");
    file.extend_from_slice(&plain[10..]);
    assert_eq!(in_file("x", &file), [document("x", XML)]);
}

#[test]
fn a_wrong_gzip_checksum_is_reported_after_all_bytes() {
    for wrong in [8, 4] {
        let mut file = gzip(XML);
        let at = file.len() - wrong;
        file[at] ^= 1;
        assert_eq!(only(in_file("x", &file)), (XML.to_vec(), Some(Reason::CorruptGzip)));
        assert_eq!(only(in_mail(&mail(&[part("text/xml", "x", &file)]))), (XML.to_vec(), Some(Reason::CorruptGzip)));
    }
}

#[test]
fn everything_before_a_truncation_is_read() {
    let xml = long_xml();
    let whole = gzip(&xml);
    let mut longest = 0;
    for cut in [whole.len() / 2, whole.len() - 9, whole.len() - 8, whole.len() - 1] {
        let (bytes, end) = only(in_file("x", &whole[..cut]));
        assert_eq!(end, Some(Reason::CorruptGzip));
        assert!(xml.starts_with(&bytes) && bytes.len() > longest.min(xml.len() - 1), "{cut}: {}", bytes.len());
        longest = bytes.len();
    }
    assert_eq!(longest, xml.len());
}

#[test]
fn everything_before_a_corrupt_block_is_read() {
    let xml = long_xml();
    let (middle, mut file) = (xml.len() / 2, gzip(&xml));
    let at = file.len() / 2;
    file[at..at + 64].fill(0xff);
    let (bytes, end) = only(in_file("x", &file));
    let same = bytes.iter().zip(&xml).take_while(|(a, b)| a == b).count();
    assert_eq!(end, Some(Reason::CorruptGzip));
    assert!(same > middle / 2, "{same} of {middle}");
}

#[test]
fn a_gzip_corrupt_from_its_start_is_always_reported() {
    let mut file = gzip(&long_xml());
    file[12..40].fill(0xff);
    assert_eq!(in_mail(&mail(&[part("application/gzip", "x.gz", &file)])), [unreadable("x.gz", Reason::CorruptGzip)]);
    assert_eq!(in_file("x.gz", &file[..6]), [unreadable("x.gz", Reason::CorruptGzip)]);
}

#[test]
fn corrupt_zlib_is_reported_after_its_readable_part() {
    let mut file = zlib(XML);
    let last = file.len() - 1;
    file[last] ^= 1;
    assert_eq!(only(in_file("x", &file)), (XML.to_vec(), Some(Reason::CorruptZlib)));
    assert_eq!(only(in_file("x", &zlib(XML)[..last])), (XML.to_vec(), Some(Reason::CorruptZlib)));
}

#[test]
fn text_that_looks_like_zlib_is_text() {
    assert_eq!(in_mail(&mail(&[text("x^2 + y^2 = z^2")])), []);
    assert_eq!(in_file("x", b"x^2 + y^2 = z^2"), [unreadable("x", Reason::NotAReport)]);
}

#[test]
fn a_zip_member_with_a_wrong_checksum_is_read_whole() {
    for method in [CompressionMethod::Deflated, CompressionMethod::Stored] {
        let mut archive = zip_by(method, &[("a.xml", XML)]);
        let central = archive.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
        archive[central + 16] ^= 1;
        assert_eq!(only(in_file("x", &archive)), (XML.to_vec(), Some(Reason::CorruptZip)), "{method}");
    }
}

#[test]
fn a_zip_without_directory_and_members_is_corrupt() {
    let archive = zip(&[("a.xml", XML)]);
    assert_eq!(in_file("x", &archive[..20]), [unreadable("x", Reason::CorruptZip)]);
    let mut lost = archive.clone();
    lost[0..4].fill(0);
    let lost = [b"PK\x03\x04".as_slice(), &lost].concat();
    assert_eq!(in_mail(&mail(&[part("application/zip", "x", &lost)])), []);
}

#[test]
fn a_truncated_tar_gives_the_members_before_the_end() {
    let xml = long_xml();
    let archive = tar(&[("a.xml", XML), ("b.xml", &xml)]);
    let cut = archive.len() - xml.len() / 2;
    let seen = in_file("x", &archive[..cut]);
    assert_eq!(seen[0], document("x/a.xml", XML));
    let (bytes, end) = only(seen[1..].to_vec());
    assert!(xml.starts_with(&bytes) && bytes.len() > 1000);
    assert_eq!(end, Some(Reason::CorruptTar));

    let packed = gzip(&archive);
    let seen = in_file("x", &packed[..packed.len() * 3 / 4]);
    assert_eq!(seen[0], document("x/a.xml", XML));
    let (bytes, end) = only(seen[1..2].to_vec());
    assert!(xml.starts_with(&bytes) && bytes.len() > 1000);
    assert_eq!(end, Some(Reason::CorruptGzip));
}
