//! Property tests of valid and of damaged reports.

use std::io::{BufReader, Read as _};

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::{Aggregate, DkimAuth, Override, Policy, Row, SpfAuth, Text};
use super::{fixture, read, read_with};
use crate::limits::Limits;

/// A value that trimming doesn't change, of characters that exist in all tested encodings.
fn value() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![
        1 => Just(None),
        4 => "[a-zA-Z0-9<>&\"'éü/@=._-]( ?[a-zA-Z0-9<>&\"'éü/@=._;#-]){0,12}".prop_map(|text| Some(text.into())),
    ]
}

prop_compose! {
    fn policy()(domain in value(), adkim in value(), aspf in value(), p in value(), sp in value(), np in value(),
                pct in value(), fo in value(), testing in value(), discovery_method in value()) -> Policy {
        Policy { domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method }
    }
}

prop_compose! {
    fn report()(version in value(), org_name in value(), email in value(), extra_contact_info in value(),
                generator in value(), report_id in value(), begin in value(), end in value(), policy in policy())
               -> Aggregate {
        Aggregate { version, org_name, email, extra_contact_info, generator, report_id, begin, end, policy,
                    ..Aggregate::default() }
    }
}

prop_compose! {
    fn row()(texts in prop::collection::vec(value(), 8),
             reasons in prop::collection::vec((value(), value()), 0..3),
             dkim in prop::collection::vec([value(), value(), value(), value()], 0..4),
             spf in prop::collection::vec([value(), value(), value(), value()], 0..3)) -> Row<'static> {
        let mut texts = texts.into_iter();
        let mut next = || texts.next().flatten();
        Row {
            source_ip: next(),
            count: next(),
            disposition: next(),
            dkim: next(),
            spf: next(),
            header_from: next(),
            envelope_from: next(),
            envelope_to: next(),
            reasons: reasons.into_iter().map(|(kind, comment)| Override { kind, comment })
                .filter(|reason| *reason != Override::default()).collect(),
            dkim_auth: dkim.into_iter().map(|[domain, selector, result, human_result]|
                DkimAuth { domain, selector, result, human_result })
                .filter(|dkim| *dkim != DkimAuth::default()).collect(),
            spf_auth: spf.into_iter().map(|[domain, scope, result, human_result]|
                SpfAuth { domain, scope, result, human_result })
                .filter(|spf| *spf != SpfAuth::default()).collect(),
            ..Row::default()
        }
    }
}

/// A row with an address, a count, a domain or a result: a record without any is skipped (`empty_record`).
fn filled_row() -> impl Strategy<Value = Row<'static>> {
    row().prop_filter("an empty record", |row| {
        let essentials = [&row.source_ip, &row.count, &row.header_from, &row.envelope_from, &row.envelope_to];
        essentials.into_iter().any(Option::is_some) || !row.dkim_auth.is_empty() || !row.spf_auth.is_empty()
    })
}

/// Writes elements in an order drawn from `seed`, with or without a namespace prefix.
struct Writer {
    seed: u64,
    prefix: &'static str,
    /// Without attributes, comments, CDATA and character references.
    is_clean: bool,
}

impl Writer {
    fn draw(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 33) as usize % below
    }

    fn shuffled(&mut self, mut parts: Vec<String>) -> String {
        for i in (1..parts.len()).rev() {
            let j = self.draw(i + 1);
            parts.swap(i, j);
        }
        parts.concat()
    }

    fn element(&mut self, name: &str, content: String) -> String {
        let prefix = self.prefix;
        match (content.is_empty(), self.draw(2)) {
            (true, 0) if !self.is_clean => format!("<{prefix}{name}/>"),
            (_, _) if self.is_clean => format!("<{name}>{content}</{name}>\r\n"),
            (_, 0) => format!("<{prefix}{name} lang='en'>{content}</{prefix}{name}>\r\n"),
            _ => format!("<{prefix}{name}>{content}</{prefix}{name} >"),
        }
    }

    fn text(&mut self, name: &str, text: &Text<'_>) -> String {
        let Some(text) = text else { return String::new() };
        let content = match self.draw(3) {
            _ if self.is_clean => format!(" {}\n", text.replace('>', "").replace('&', "&amp;").replace('<', "&lt;")),
            0 => format!("<![CDATA[{text}]]>"),
            1 => text.chars().map(|c| format!("&#x{:X};", u32::from(c))).collect(),
            _ => format!(" {}<!-- - -->\n", text.replace('&', "&amp;").replace('<', "&lt;")),
        };
        self.element(name, content)
    }

    fn group(&mut self, name: &str, texts: &[(&str, &Text<'_>)], more: Vec<String>) -> String {
        let mut parts: Vec<String> = texts.iter().map(|(name, text)| self.text(name, text)).collect();
        parts.extend(more);
        let content = self.shuffled(parts);
        self.element(name, content)
    }

    fn report(&mut self, report: &Aggregate, rows: &[Row<'_>]) -> String {
        let range = self.group("date_range", &[("begin", &report.begin), ("end", &report.end)], vec![]);
        let metadata = [
            ("org_name", &report.org_name),
            ("email", &report.email),
            ("extra_contact_info", &report.extra_contact_info),
            ("report_id", &report.report_id),
            ("generator", &report.generator),
        ];
        let metadata = self.group("report_metadata", &metadata, vec![range]);
        let p = &report.policy;
        let policy = [
            ("domain", &p.domain),
            ("adkim", &p.adkim),
            ("aspf", &p.aspf),
            ("p", &p.p),
            ("sp", &p.sp),
            ("np", &p.np),
            ("pct", &p.pct),
            ("fo", &p.fo),
            ("testing", &p.testing),
            ("discovery_method", &p.discovery_method),
        ];
        let policy = self.group("policy_published", &policy, vec![]);
        let records: String = rows.iter().map(|row| self.record(row)).collect();
        let version = self.text("version", &report.version);
        let content = self.shuffled(vec![metadata, policy, records, version]);
        let prefix = self.prefix;
        format!("<{prefix}feedback>{content}</{prefix}feedback>")
    }

    fn record(&mut self, row: &Row<'_>) -> String {
        let mut reasons = Vec::new();
        for reason in &row.reasons {
            reasons.push(self.group("reason", &[("type", &reason.kind), ("comment", &reason.comment)], vec![]));
        }
        let evaluated = [("disposition", &row.disposition), ("dkim", &row.dkim), ("spf", &row.spf)];
        // Entries of a list keep their order, so they are written as one unit.
        let evaluated = self.group("policy_evaluated", &evaluated, vec![reasons.concat()]);
        let told = self.group("row", &[("source_ip", &row.source_ip), ("count", &row.count)], vec![evaluated]);
        let identifiers = [
            ("header_from", &row.header_from),
            ("envelope_from", &row.envelope_from),
            ("envelope_to", &row.envelope_to),
        ];
        let identifiers = self.group("identifiers", &identifiers, vec![]);
        let (mut dkim, mut spf) = (String::new(), String::new());
        for auth in &row.dkim_auth {
            let texts = [("domain", &auth.domain), ("selector", &auth.selector), ("result", &auth.result)];
            let human = self.text("human_result", &auth.human_result);
            dkim += &self.group("dkim", &texts, vec![human]);
        }
        for auth in &row.spf_auth {
            let texts = [("domain", &auth.domain), ("scope", &auth.scope), ("result", &auth.result)];
            let human = self.text("human_result", &auth.human_result);
            spf += &self.group("spf", &texts, vec![human]);
        }
        let auth = self.group("auth_results", &[], vec![dkim, spf]);
        self.group("record", &[], vec![told, identifiers, auth])
    }
}

fn encoded(text: &str, encoding: &str) -> Vec<u8> {
    match encoding {
        "utf-16le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "utf-16be" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        "iso-8859-1" => text.chars().map(|c| u8::try_from(c).expect("Latin-1 only")).collect(),
        _ => text.as_bytes().to_vec(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_reports_round_trip(
        report in report(),
        rows in prop::collection::vec(filled_row(), 0..4),
        seed in any::<u64>(),
        prefix in select(vec!["", "n:"]),
        encoding in select(vec!["utf-8", "utf-16le", "utf-16be", "iso-8859-1"]),
        chunk in 1usize..200,
    ) {
        let xml = Writer { seed, prefix, is_clean: false }.report(&report, &rows);
        let bytes = encoded(&format!("<?xml version='1.0' encoding='{encoding}'?>{xml}"), encoding);
        let read = read_with(|| BufReader::with_capacity(chunk, bytes.as_slice()), &Limits::default()).expect("valid");
        let rows: Vec<Row<'_>> =
            rows.into_iter().enumerate().map(|(index, row)| Row { index: index as u64, ..row }).collect();
        prop_assert_eq!(read.codes(), Vec::<&str>::new(), "{}", xml);
        prop_assert_eq!(read.content(), (report, rows), "{}", xml);
    }

    /// [`read_with`] holds the result of the fast reader against that of the tolerant one.
    #[test]
    fn clean_reports_are_read_by_the_fast_reader(
        report in report(), rows in prop::collection::vec(filled_row(), 0..4), seed in any::<u64>(), chunk in 1usize..200,
        root in select(vec!["<feedback>", "<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\" a='b'>"]),
    ) {
        let xml = Writer { seed, prefix: "", is_clean: true }.report(&report, &rows).replacen("<feedback>", root, 1);
        let bytes = format!("\u{feff}\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{xml}");
        let read = read_with(|| BufReader::with_capacity(chunk, bytes.as_bytes()), &Limits::default()).expect("valid");
        prop_assert!(read.scan.is_clean, "{}", bytes);
        prop_assert_eq!(read.rows.len(), rows.len());
    }

    /// A clean report with a change that may make it unclean, or a clean report of something else.
    #[test]
    fn both_readers_agree_on_a_changed_report(
        report in report(), rows in prop::collection::vec(filled_row(), 1..4), seed in any::<u64>(), at in any::<Index>(),
        piece in select(vec!["<", ">", "/", "&", "&amp;", "&#65;", "x", " ", "\n", "<a/>", "<row>", "</row>", "</record>", "<!--", "é",
                             "\u{feff}", "\u{1}", "</dkim>", "<spf>", "</feedback>", "<count>2</count>", "<envelope_from/>"]),
        removed in 0usize..12, most in 1u64..4,
    ) {
        let mut xml = Writer { seed, prefix: "", is_clean: true }.report(&report, &rows);
        let place = xml.floor_char_boundary(at.index(xml.len()));
        let end = xml.floor_char_boundary((place + removed).min(xml.len()));
        xml.replace_range(place..end, piece);
        let limits = Limits { rows: most, event_expansion: most, ..Limits::default() };
        let _ = read_with(|| xml.as_bytes(), &limits);
    }

    #[test]
    fn a_changed_byte_never_panics_and_both_passes_agree(at in any::<Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut document = fixture("033-several-results");
        let at = at.index(document.len());
        document[at] = byte;
        if cut {
            document.truncate(at + 1);
        }
        let _ = read(&document);
    }

    #[test]
    fn parsing_does_not_depend_on_chunk_boundaries(
        pieces in prop::collection::vec(
            select(vec!["<feedback>", "<record>", "<row>", "<count>", "1", "</count>", "</row>", "</record>", "</feedback>",
                        "<", "&", "&amp;", "&#", ">", "\"", "=", "'", "/", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", " ",
                        "<a b=\"", "é", "\u{0}", "<!D", "</", "<x/>"]),
            0..60),
        chunk in 1usize..9,
    ) {
        let document = pieces.concat();
        let whole = read(&document).map(|read| (read.content(), read.scan.sha256));
        let chopped = read_with(|| BufReader::with_capacity(chunk, document.as_bytes()), &Limits::default());
        prop_assert_eq!(chopped.map(|read| (read.content(), read.scan.sha256)), whole);
    }

    #[test]
    fn sanitized_xml_is_well_formed_except_for_nesting(noise in any::<Vec<u8>>(), text in "[<>&;#a-z\"'=/!? -]{0,80}") {
        let document = [b"<feedback>", text.as_bytes(), noise.as_slice(), text.as_bytes()].concat();
        let limits = Limits { xml_token_bytes: 32, ..Limits::default() };
        let mut up = Vec::new();
        let _ = super::super::xml::Sanitizer::new(document.as_slice(), &limits).read_to_end(&mut up);
        let mut reader = quick_xml::Reader::from_reader(up.as_slice());
        reader.config_mut().check_end_names = false;
        reader.config_mut().allow_unmatched_ends = true;
        let mut buffer = Vec::new();
        loop {
            match reader.read_event_into(&mut buffer) {
                Ok(quick_xml::events::Event::Eof) => break,
                other => prop_assert!(other.is_ok(), "{other:?} in {:?}", String::from_utf8_lossy(&up)),
            }
        }
    }
}
