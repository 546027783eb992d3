//! Input crafted to be expensive, and read errors below the document.

use std::io::{self, BufRead, BufReader, Read};

use super::{fixture, read, read_with};
use crate::limits::Limits;
use crate::trouble::{Reason, Trouble};

/// A document of `head`, `times` times `unit`, and `tail`: of any size, without the memory for it.
struct Repeated {
    parts: [(Vec<u8>, u64); 3],
    part: usize,
    at: usize,
}

fn repeated(head: &str, unit: &str, times: u64, tail: &str) -> Repeated {
    // Longer units mean fewer short reads.
    let batch = (4096 / unit.len().max(1) as u64).clamp(1, times.max(1));
    let parts = [(head.into(), 1), (unit.repeat(batch as usize).into(), times / batch), (tail.into(), 1)];
    Repeated { parts, part: 0, at: 0 }
}

impl BufRead for Repeated {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while let Some((bytes, times)) = self.parts.get_mut(self.part) {
            if *times > 0 && self.at < bytes.len() {
                break;
            }
            self.at = 0;
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.part += 1;
            }
        }
        Ok(self.parts.get(self.part).map_or(&[], |(bytes, _)| &bytes[self.at..]))
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Repeated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

/// A document that ends in a read error.
struct Failing<'a> {
    document: &'a [u8],
    trouble: Trouble,
}

impl BufRead for Failing<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.document.is_empty() { Err(self.trouble.clone().into()) } else { Ok(self.document) }
    }

    fn consume(&mut self, amount: usize) {
        self.document = &self.document[amount..];
    }
}

impl Read for Failing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

fn failing(document: &[u8]) -> Failing<'_> {
    Failing { document, trouble: Trouble::checksum(Reason::CorruptGzip, "the checksum differs") }
}

fn reason(document: impl AsRef<[u8]>) -> Reason {
    read(document).expect_err("refused").reason
}

const RECORD: &str = "<record><row><count>1</count></row></record>";

#[test]
fn container_damage_after_the_report_is_a_warning() {
    let document = fixture("001-plain");
    let read = read_with(|| failing(&document), &Limits::default()).expect("whole");
    assert_eq!((read.rows.len(), read.scan.damage.is_none()), (2, true));
    assert_eq!(read.codes(), ["damaged_after_end"]);
    assert!(read.report().warnings[0].contains("the checksum differs"));
    assert_eq!(read.scan.left_out, None, "only a checksum is wrong");
    let cut = || Failing { trouble: Trouble { is_checksum: false, ..failing(b"").trouble }, ..failing(&document) };
    let read = read_with(cut, &Limits::default()).expect("whole");
    assert_eq!(read.codes(), ["unread_after_end"]);
    assert_eq!(read.scan.left_out.map(|trouble| trouble.reason), Some(Reason::LeftOut));
}

#[test]
fn container_damage_inside_the_report_makes_it_partial() {
    let document = fixture("026-truncated");
    let read = read_with(|| failing(&document), &Limits::default()).expect("one row");
    assert_eq!(read.rows.len(), 1);
    assert_eq!(read.scan.damage, Some(failing(b"").trouble));
    let head = fixture("027-truncated-before-a-row");
    assert_eq!(read_with(|| failing(&head), &Limits::default()).err(), Some(failing(b"").trouble));
}

#[test]
fn a_damaged_document_is_hashed_up_to_the_damage() {
    let document = fixture("026-truncated");
    let whole = read(&document).expect("one row").scan.sha256;
    assert_eq!(read_with(|| failing(&document), &Limits::default()).expect("one row").scan.sha256, whole);
    let trailed = [fixture("001-plain"), b"x".repeat(100_000)].concat();
    let short = read(&trailed[..trailed.len() - 1]).expect("a report").scan.sha256;
    assert_ne!(read(&trailed).expect("a report").scan.sha256, short);
}

#[test]
fn deep_nesting_is_refused_at_the_limit() {
    for (open, close) in [("<a>", ""), ("<a>", "</a>")] {
        let deep = format!("<feedback>{}{}</feedback>", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(reason(deep), Reason::XmlTooDeep);
    }
    assert_eq!(reason("<a>".repeat(100_000)), Reason::NotAReport);
    let after_a_row = format!("<feedback>{RECORD}{}", "<a>".repeat(100));
    let read = read(after_a_row).expect("one row");
    let damage = read.scan.damage.expect("too deep");
    assert_eq!((read.rows.len(), damage.reason), (1, Reason::XmlTooDeep));
    assert_eq!(damage.limit.map(|limit| (limit.setting, limit.value)), Some(("limits.xml_depth", 32)));
}

#[test]
fn unclosed_elements_are_dropped() {
    let unclosed = format!("<feedback>{}</feedback>", "<record><count>1</count><a><b></record>".repeat(20_000));
    assert_eq!(read(unclosed).expect("records").rows.len(), 20_000);
}

#[test]
fn long_texts_are_truncated() {
    for (head, tail) in [("", ""), ("<![CDATA[", "]]>"), ("<!--", "-->"), ("<i>", "</i>")] {
        let head = format!("<feedback><report_metadata><org_name>{head}");
        let tail = format!("{tail}</org_name></report_metadata>{RECORD}</feedback>");
        let read = read_with(|| repeated(&head, "é", 500_000, &tail), &Limits::default()).expect("a report");
        let length = read.report().org_name.as_ref().map_or(0, |text| text.len());
        assert_eq!(length, if head.ends_with("--") { 0 } else { 1024 });
        assert_eq!(read.rows.len(), 1);
    }
}

#[test]
fn a_long_document_without_tags_is_refused() {
    for (head, unit) in [
        ("", " "),
        ("<feedback>", "\n"),
        ("<feedback><email>", "x"),
        ("<feedback><!--", "-"),
        ("<?", "?"),
        ("<feedback>", "\0"),
    ] {
        let trouble = read_with(|| repeated(head, unit, 2 << 20, "</feedback>"), &Limits::default()).expect_err("bomb");
        assert_eq!(trouble.reason, Reason::XmlTokenTooLarge, "{head}{unit}");
        assert_eq!(trouble.limit.map(|limit| (limit.setting, limit.value)), Some(("limits.xml_token_bytes", 65_536)));
    }
    let limits = Limits { xml_token_bytes: 1024, ..Limits::default() };
    for (times, is_read) in [(16_383, true), (16_384, false)] {
        for chunk in [1, 100, 100_000] {
            let document = format!("<feedback>{RECORD}{}{RECORD}</feedback>", " ".repeat(times));
            let read = read_with(|| BufReader::with_capacity(chunk, document.as_bytes()), &limits).expect("a row");
            assert_eq!(read.scan.damage.is_none(), is_read, "{times} by {chunk}");
            assert_eq!(read.rows.len(), if is_read { 2 } else { 1 }, "{times} by {chunk}");
        }
    }
}

#[test]
fn endless_tags_without_rows_are_refused() {
    for unit in ["<x/>", "</x>", "<x></x>"] {
        let bomb = || repeated("<feedback>", unit, 2 << 20, "</feedback>");
        assert_eq!(read_with(bomb, &Limits::default()).expect_err("bomb").reason, Reason::XmlMalformed, "{unit}");
    }
}

#[test]
fn a_tag_over_the_limit_is_refused() {
    let limits = Limits::default();
    for unit in ["a='1' ", "a ", "\"", "a='"] {
        let trouble = read_with(|| repeated("<feedback><record ", unit, 300_000, ">"), &limits).expect_err("too large");
        assert_eq!(trouble.reason, Reason::XmlTokenTooLarge, "{unit}");
        assert_eq!(trouble.limit.map(|limit| limit.setting), Some("limits.xml_token_bytes"));
    }
}

#[test]
fn a_tag_full_of_attributes_is_read() {
    let declarations: String = (0..2000).map(|n| format!(" xmlns:n{n}='urn:{n}'")).collect();
    let document = format!("<w{declarations}><feedback{declarations} xmlns='urn:x'>{RECORD}</feedback>");
    assert_eq!(read(document).expect("a report").report().xml_namespace.as_deref(), Some("urn:x"));
}

#[test]
fn an_entity_bomb_is_refused_before_it_is_read() {
    let entities: String =
        (1..10).map(|n| format!("<!ENTITY e{n} \"{}\">", format!("&e{};", n - 1).repeat(10))).collect();
    let bomb =
        format!("<?xml version='1.0'?><!doctype feedback [<!ENTITY e0 'ha'>{entities}]><feedback>&e9;</feedback>");
    assert_eq!(reason(bomb), Reason::XmlDoctype);
}

#[test]
fn stray_characters_of_any_number_are_text() {
    for unit in ["<", "&", "<a ", "&#x", "<!-", "</", "<![CDATA", "a<b'"] {
        let document = || repeated("<feedback><report_metadata><email>", unit, 100_000, "</email></feedback>");
        let read = read_with(document, &Limits::default()).expect("no rows");
        assert!(!read.codes().is_empty(), "{unit}");
    }
}

#[test]
fn rows_over_the_limit_make_the_report_partial() {
    let limits = Limits { rows: 3, ..Limits::default() };
    for records in [RECORD.repeat(5), RECORD.replace("</row>", "</row><row><count>2</count></row>").repeat(3)] {
        let document = format!("<feedback>{records}</feedback>");
        let read = read_with(|| document.as_bytes(), &limits).expect("three rows");
        assert_eq!(read.rows.len(), 3);
        let damage = read.scan.damage.expect("more than three");
        assert_eq!(damage.reason, Reason::TooManyRows);
        assert!(damage.detail.contains("raise limits.rows"), "{damage}");
    }
    let exact = format!("<feedback>{}</feedback>", RECORD.repeat(3));
    assert!(read_with(|| exact.as_bytes(), &limits).expect("three rows").scan.damage.is_none());
}

/// Regression: 240 KB of mail with ten million of these records used up the quota of their sender.
#[test]
fn empty_records_are_skipped_and_their_number_is_limited() {
    for unit in [
        "<record/>",
        "<record><row/></record>",
        "<record><row><source_ip> </source_ip><count/></row><identifiers/><auth_results><dkim/></auth_results></record>",
        "<record><row><policy_evaluated><disposition>none</disposition></policy_evaluated></row></record>",
        "<record><row/><row/></record>",
    ] {
        let few = format!("<feedback>{RECORD}{}{RECORD}</feedback>", unit.repeat(10));
        let few = read(few).expect("two rows");
        let skipped = 10 * unit.matches("<row/>").count().max(1) as u64;
        assert_eq!((few.rows.len(), few.scan.skipped, few.codes()), (2, skipped, vec!["empty_record"]), "{unit}");
        let bomb = || repeated("<feedback>", unit, 10_000_000, "</feedback>");
        assert_eq!(read_with(bomb, &Limits::default()).expect_err("a bomb").reason, Reason::XmlMalformed, "{unit}");
    }
}

#[test]
fn a_record_with_an_address_a_count_or_a_domain_is_a_row() {
    for record in [
        "<row><source_ip>192.0.2.1</source_ip></row>",
        "<row><count>3</count></row>",
        "<source_ip>192.0.2.1</source_ip>",
        "<identifiers><header_from>example.com</header_from></identifiers>",
        "<identifiers><envelope_to>example.com</envelope_to></identifiers>",
        "<auth_results><dkim><domain>example.com</domain></dkim></auth_results>",
        "<row/><row/><identifiers><header_from>example.com</header_from></identifiers>",
    ] {
        let read = read(format!("<feedback><record>{record}</record></feedback>")).expect("a row");
        assert_eq!(read.rows.len(), 1, "{record}");
    }
}

/// Regression: 2 KB of mail became 1.8 GB of events.
#[test]
fn long_metadata_is_truncated_and_event_expansion_limits_the_rows() {
    let long = "A".repeat(4_000);
    let head = format!(
        "<feedback><report_metadata><org_name>{long}</org_name><email>{long}</email>\
         <extra_contact_info>{long}</extra_contact_info><report_id>{long}</report_id>{}</report_metadata>",
        format!("<error>{long}</error>").repeat(16)
    );
    let row = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>";
    let read = read_with(|| repeated(&head, row, 300_000, "</feedback>"), &Limits::default()).expect("rows");
    let damage = read.scan.damage.clone().expect("too many bytes");
    assert_eq!((damage.reason, damage.limit.unwrap().setting), (Reason::EventExpansion, "limits.event_expansion"));
    let report = read.report();
    let texts = [&report.org_name, &report.email, &report.extra_contact_info, &report.report_id];
    let kept = texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
        + report.errors.iter().map(String::len).sum::<usize>();
    assert_eq!((kept, read.codes()), (4 << 10, vec!["text_shortened"]));
    let document = (head.len() + row.len() * read.rows.len()) as u64;
    // The warning itself is only counted at the end.
    assert!(read.scan.event_bytes <= document * 64 * 11 / 10, "{} of {document}", read.scan.event_bytes);
    // With a short head the same rows are complete.
    let read = read_with(|| repeated("<feedback>", row, 300_000, "</feedback>"), &Limits::default()).expect("rows");
    assert!(read.rows.len() > 299_000 && read.scan.damage.is_none(), "{}", read.rows.len());
}

/// The shared data of a record is repeated in each of its rows.
#[test]
fn event_bytes_limit_a_record_with_many_rows_and_long_results() {
    let long = format!("<dkim><human_result>{}</human_result></dkim>", "x".repeat(4_000)).repeat(64);
    let head = format!("<feedback><record><auth_results>{long}</auth_results>");
    let bomb = || repeated(&head, "<row><count>1</count></row>", 1_000_000, "</record></feedback>");
    let read = read_with(bomb, &Limits::default()).expect("rows");
    assert_eq!(read.scan.damage.as_ref().map(|damage| damage.reason), Some(Reason::EventExpansion));
    let kept: usize =
        read.rows[0].dkim_auth.iter().filter_map(|dkim| dkim.human_result.as_ref()).map(|text| text.len()).sum();
    assert_eq!(kept, 32 << 10);
    assert!(read.rows.len() < 1_000, "{}", read.rows.len());
}

#[test]
fn error_texts_are_limited_in_number() {
    let document = format!("<feedback><report_metadata>{}</report_metadata></feedback>", "<error>e</error>".repeat(20));
    let read = read(document).expect("a report");
    assert_eq!((read.report().errors.len(), read.codes()), (16, vec!["too_many_errors"]));
}

#[test]
fn auth_results_over_the_limit_give_a_warning() {
    let results = "<dkim><result>pass</result></dkim>".repeat(70) + &"<spf><result>fail</result></spf>".repeat(65);
    let document = format!("<feedback><record><auth_results>{results}</auth_results></record></feedback>");
    let read = read(document).expect("a record");
    assert_eq!((read.rows[0].dkim_auth.len(), read.rows[0].spf_auth.len()), (64, 64));
    assert_eq!(read.codes(), ["too_many_results"]);
    assert!(read.rows[0].warnings[0].ends_with("7 times"), "{:?}", read.rows[0].warnings);
    assert!(read.rows[0].dkim_is_cut && read.rows[0].spf_is_cut);
}

#[test]
fn results_that_are_left_out_or_shortened_are_marked() {
    let cut = |results: String| {
        let record = |results| format!("<record><count>1</count><auth_results>{results}</auth_results></record>");
        let read = read(format!("<feedback>{}{}</feedback>", record(results), record(String::new()))).expect("rows");
        assert!(!read.rows[1].dkim_is_cut && !read.rows[1].spf_is_cut);
        (read.rows[0].dkim_is_cut, read.rows[0].spf_is_cut)
    };
    let dkim = "<dkim><domain>a.example</domain><result>fail</result></dkim>";
    let spf = "<spf><domain>a.example</domain><result>fail</result></spf>";
    let long = format!("<dkim><human_result>{}</human_result></dkim>", "x".repeat(4_000));
    assert_eq!(cut(dkim.repeat(64) + &spf.repeat(64)), (false, false));
    assert_eq!(cut(dkim.repeat(65)), (true, false));
    assert_eq!(cut(spf.repeat(65)), (false, true));
    assert_eq!(cut(long.repeat(9)), (false, false), "no domain or result is missing");
    assert_eq!(cut(long.repeat(9) + dkim), (true, false), "there was no room for it");
    assert_eq!(cut(long.repeat(9) + spf), (false, true));
}

#[test]
fn a_record_with_any_number_of_rows_is_read() {
    let rows = "<row><count>1</count></row>".repeat(1000);
    let record = format!("<record><identifiers><header_from>a</header_from></identifiers>{rows}</record>");
    let document = format!("<feedback>{record}{RECORD}</feedback>");
    let read = read(document).expect("a record");
    assert_eq!(read.rows.len(), 1001);
    assert!(read.rows[..1000].iter().all(|row| row.header_from.as_deref() == Some("a") && row.count.is_some()));
    assert_eq!(read.rows[1000].header_from, None);
}

#[test]
fn texts_of_one_record_are_bounded() {
    let long = "x".repeat(4000);
    let result =
        format!("<dkim><domain>{long}</domain><selector>{long}</selector><human_result>{long}</human_result></dkim>");
    let row = format!(
        "<row><source_ip>192.0.2.1</source_ip><count>1</count><policy_evaluated><reason><comment>{long}</comment></reason></policy_evaluated></row>"
    );
    let record = format!("<record>{}<auth_results>{}</auth_results></record>", row.repeat(60), result.repeat(60));
    let read = read(format!("<feedback>{record}<record>{row}</record></feedback>")).expect("a report");
    assert_eq!(read.rows.len(), 61);
    for row in &read.rows {
        let auth = row.dkim_auth.iter().flat_map(|dkim| [&dkim.domain, &dkim.selector, &dkim.human_result]);
        let texts = auth.chain(row.reasons.iter().map(|reason| &reason.comment));
        let bytes: usize = texts.flatten().map(|text| text.len()).sum();
        assert!(bytes < 80 << 10, "{bytes}");
    }
    assert!(read.rows[59].warnings.iter().any(|warning| warning.starts_with("text_shortened")));
    assert_eq!((read.rows[60].reasons.len(), read.rows[60].warnings.len()), (1, 0));
}
