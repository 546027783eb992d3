use super::*;

fn limited(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn padded(bytes: usize) -> Vec<u8> {
    [b"<feedback>".as_slice(), &vec![b' '; bytes]].concat()
}

fn file(bytes: &[u8], limits: &Limits) -> Vec<Seen> {
    within(bytes, Origin::File { name: "x" }, limits)
}

fn lengths(seen: &[Seen]) -> Vec<(usize, Option<Reason>)> {
    let length = |seen: &Seen| match seen {
        Seen::Document { bytes, end, .. } => (bytes.len(), *end),
        Seen::Unreadable { reason, .. } => (0, Some(*reason)),
        Seen::Returned => (0, None),
    };
    seen.iter().map(length).collect()
}

#[test]
fn document_bytes_ends_a_document_and_names_the_limit() {
    let limits = limited(|limits| limits.document_bytes = 10_000);
    for whole in [padded(9_990), gzip(&padded(9_990)), zip(&[("a", &padded(9_990))])] {
        assert_eq!(lengths(&file(&whole, &limits)), [(10_000, None)]);
    }
    for long in [padded(9_991), gzip(&padded(9_991)), zip(&[("a", &padded(9_991))])] {
        assert_eq!(lengths(&file(&long, &limits)), [(10_000, Some(Reason::DocumentTooLarge))]);
    }
    let long = padded(9_991);
    open(&long, Origin::File { name: "x" }, &limits).walk(&Room::new(&Unshared), &mut |found| {
        let Found::Document(document) = found else { panic!("no document") };
        let error = document.open().read_to_end(&mut Vec::new()).unwrap_err();
        let trouble = Trouble::from_io(&error, Reason::ReaderPanic);
        assert!(trouble.detail.contains("raise limits.document_bytes"), "{trouble}");
        assert_eq!(trouble.limit.map(|limit| limit.value), Some(10_000));
    });
}

#[test]
fn mail_inflated_bytes_limits_a_mail_and_rereading_is_not_counted() {
    let limits = limited(|limits| limits.mail_inflated_bytes = 250_000);
    let one = gzip(&padded(100_000));
    let mail = mail(&[part("a/b", "1", &one), part("a/b", "2", &one), part("a/b", "3", &one)]);
    let seen = lengths(&within(&mail, Origin::Mail, &limits));
    assert_eq!(seen[..2], [(100_010, None), (100_010, None)]);
    assert_eq!(seen[2].1, Some(Reason::MailInflatesTooFar));
}

#[test]
fn small_intact_streams_are_inflated_once() {
    let limits = Limits::default();
    let is_held = |input: &[u8]| {
        let mut held = Vec::new();
        open(input, Origin::File { name: "x" }, &limits).walk(&Room::new(&Unshared), &mut |found| {
            let Found::Document(document) = found else { panic!("no document") };
            held.push(document.stream.plain().is_some());
        });
        held
    };
    let (small, large) = (padded(30_000), padded(40_000));
    let zipped = |document: &[u8]| zip(&[("a.xml", document)]);
    for container in [gzip(&small), zipped(&small), gzip(&tar(&[("a.xml", &small)]))] {
        assert_eq!(is_held(&container), [true]);
    }
    assert_eq!([gzip(&large), zipped(&large)].map(|container| is_held(&container)), [[false], [false]]);
    let cut = gzip(&small);
    assert_eq!(is_held(&cut[..cut.len() - 4]), [false], "its end is to be told");
}

#[test]
fn inflation_ratio_stops_a_bomb_but_not_a_regular_document() {
    let limits = Limits::default();
    let seen = lengths(&file(&gzip(&padded(4 << 20)), &limits));
    assert!(matches!(seen[..], [(1_000_000..2_000_000, Some(Reason::InflationRatio))]), "{seen:?}");
    assert_eq!(lengths(&file(&gzip(&padded(1_000_000)), &limits)), [(1_000_010, None)]);
    let seen = lengths(&file(&zip(&[("a", &padded(4 << 20))]), &limits));
    assert!(matches!(seen[..], [(1_000_000..2_000_000, Some(Reason::InflationRatio))]), "{seen:?}");
}

#[test]
fn archive_entries_are_counted_over_all_archives_of_a_mail() {
    let limits = limited(|limits| limits.archive_entries = 3);
    let members: Vec<(&str, &[u8])> = vec![("a", XML), ("b", XML), ("c", XML), ("d", XML), ("e", XML)];
    for (what, archive) in [("zip", zip(&members)), ("tar", tar(&members)), ("tgz", gzip(&tar(&members)))] {
        let seen = file(&archive, &limits);
        assert_eq!(seen.len(), 4, "{what}");
        assert_eq!(seen[3], unreadable("x/d", Reason::TooManyEntries), "{what}");
    }
    let twice = mail(&[part("a/b", "1", &zip(&members[..2])), part("a/b", "2", &zip(&members[..2]))]);
    assert_eq!(within(&twice, Origin::Mail, &limits)[3..], [unreadable("2/b", Reason::TooManyEntries)]);
}

#[test]
fn a_zip_that_holds_zips_that_hold_zips_ends_at_the_members_limit() {
    let mut archive = zip(&[("0", XML)]);
    for _ in 0..4 {
        let members: Vec<(String, &[u8])> = (0..16).map(|number| (number.to_string(), archive.as_slice())).collect();
        let members: Vec<(&str, &[u8])> = members.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        archive = zip(&members);
    }
    let seen = file(&archive, &Limits::default());
    assert!(seen.len() < 300, "{}", seen.len());
    assert!(lengths(&seen).contains(&(0, Some(Reason::TooManyEntries))));
}

#[test]
fn nesting_ends_at_its_limit() {
    let limits = limited(|limits| limits.nesting = 2);
    assert_eq!(file(&gzip(&gzip(XML)), &limits), [document("x", XML)]);
    assert_eq!(file(&gzip(&gzip(&gzip(XML))), &limits), [unreadable("x", Reason::NestedTooDeep)]);
    let mut letter = report_mail(&[part("text/xml", "a.xml", XML)]);
    for _ in 0..2 {
        letter = mail(&[[b"Content-Type: message/rfc822\r\n\r\n".as_slice(), &letter].concat()]);
    }
    assert_eq!(within(&letter, Origin::Mail, &limits), [document("a.xml", XML)]);
    let limits = limited(|limits| limits.nesting = 1);
    assert_eq!(within(&letter, Origin::Mail, &limits), []);
}

#[test]
fn a_mail_with_too_many_parts_gives_those_before_the_limit() {
    let limits = limited(|limits| limits.mail_parts = 4);
    let parts: Vec<Vec<u8>> = (0..5).map(|number| part("text/xml", &number.to_string(), XML)).collect();
    let seen = within(&report_mail(&parts), Origin::Mail, &limits);
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[3], Seen::Unreadable { name: None, reason: Reason::TooManyParts });
}

#[test]
fn multipart_recursion_is_bounded() {
    let mut letter = b"Subject: DMARC\r\n".to_vec();
    for number in 0..5000 {
        letter.extend_from_slice(
            format!("Content-Type: multipart/mixed; boundary=b{number}\n\n--b{number}\n").as_bytes(),
        );
    }
    assert_eq!(in_mail(&letter), [Seen::Unreadable { name: None, reason: Reason::NestedTooDeep }]);
    let mails = [b"Subject: DMARC\n".as_slice(), &b"Content-Type: message/rfc822\n\n".repeat(100_000)].concat();
    assert_eq!(in_mail(&mails), [Seen::Unreadable { name: None, reason: Reason::NestedTooDeep }]);
}

#[test]
fn a_bomb_around_an_archive_is_reported_once() {
    let archive = [b"PK\x03\x04".as_slice(), &vec![0; budget::HELD_BYTES / 2]].concat();
    let limits = limited(|limits| limits.mail_inflated_bytes = 100_000);
    assert_eq!(file(&gzip(&archive), &limits), [unreadable("x", Reason::MailInflatesTooFar)]);
    let archive = tar(&[("a.xml", XML), ("b.xml", &padded(200_000)), ("c.xml", XML)]);
    let wanted = [document("x/a.xml", XML), unreadable("x/b.xml", Reason::MailInflatesTooFar)];
    assert_eq!(file(&gzip(&archive), &limits), wanted);
}

#[test]
fn buffered_members_are_bounded() {
    let large = vec![0; budget::HELD_BYTES];
    let limits = limited(|limits| limits.inflation_ratio = 2000);
    let archive = zip_by(CompressionMethod::Stored, &[("a.xml", XML), ("zeros", &large)]);
    assert_eq!(file(&gzip(&archive), &limits), [unreadable("x", Reason::DocumentTooLarge)]);
    let archive = tar(&[("a.xml", XML), ("zeros", &vec![0; budget::HELD_BYTES + 1]), ("b.xml", XML)]);
    let seen = file(&gzip(&archive), &limits);
    assert_eq!(
        seen,
        [document("x/a.xml", XML), unreadable("x/zeros", Reason::DocumentTooLarge), document("x/b.xml", XML)]
    );
    let limits = limited(|limits| limits.mail_bytes = 1000);
    let inner = zip(&[("a.xml", XML)]);
    let outer = zip(&[("1", &inner), ("2", &inner), ("3", &inner), ("4", &inner), ("5", &inner), ("6", &inner)]);
    let seen = lengths(&file(&outer, &limits));
    assert!(seen.contains(&(XML.len(), None)) && seen.contains(&(0, Some(Reason::MailInflatesTooFar))), "{seen:?}");
}
