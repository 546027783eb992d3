use proptest::prelude::*;

use super::*;

fn seeds() -> Vec<Vec<u8>> {
    let archive = zip(&[("a.xml", XML), ("b.gz", &gzip(XML)), ("c", &zlib(JSON))]);
    let letter = report_mail(&[text("see"), part("application/zip", "r.zip", &archive)]);
    vec![
        archive.clone(),
        gzip(&tar(&[("a.xml", XML), ("b.zip", &archive)])),
        tar(&[("a.xml", XML), ("b.zip", &archive)]),
        zip(&[("m.eml", &letter), ("s.xml", XML)]),
        zip_by(CompressionMethod::Stored, &[("a.xml", XML)]),
        [gzip(XML), gzip(XML)].concat(),
        zlib(&gzip(XML)),
        mail(&[[b"Content-Type: message/rfc822\r\n\r\n".as_slice(), &letter].concat(), part("a/b", "x", &letter)]),
    ]
}

proptest! {
    #[test]
    fn nothing_that_is_mailed_in_stops_the_walk(
        seed in 0..8usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = seeds().swap_remove(seed);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        in_mail(&bytes);
        in_file("x", &bytes);
        in_file("x", &bytes[..cut.index(bytes.len())]);
    }
}
