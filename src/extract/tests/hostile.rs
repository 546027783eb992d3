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
    fn mutated_bytes_never_exceed_a_limit(seed in 0..8usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = seeds().swap_remove(seed);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let limits = Limits {
            document_bytes: 64,
            mail_inflated_bytes: 2048,
            archive_entries: 3,
            mail_parts: 4,
            nesting: 3,
            ..Limits::default()
        };
        for origin in [Origin::Mail, Origin::File { name: "x" }] {
            let seen = within(&bytes, origin, &limits);
            prop_assert!(seen.len() <= 16, "{seen:?}");
            for document in seen {
                if let Seen::Document { bytes, .. } = document {
                    prop_assert!(bytes.len() <= 64);
                }
            }
        }
    }

    #[test]
    fn hostile_mails_never_stop_the_walk(
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
