//! Quirks of real reports, with one fixture and one test each.

use super::super::{DkimAuth, Override, Policy, SpfAuth, Text};
use super::{Read, fixture, read, read_fixture};
use crate::trouble::Reason;

fn some(text: &str) -> Text<'_> {
    Some(text.into())
}

/// Checks that the fixture has the same content as the plain one, after exactly these repairs.
fn reads_as_plain(name: &str, codes: &[&str]) -> Read {
    let read = read_fixture(name);
    assert_eq!(read.content(), read_fixture("001-plain").content(), "{name}");
    assert_eq!(read.codes(), codes, "{name}");
    read
}

#[test]
fn a_plain_report_is_read_in_full() {
    let read = read_fixture("001-plain");
    let report = read.report();
    assert_eq!(report.version, some("1.0"));
    assert_eq!(report.org_name, some("Receiver Example"));
    assert_eq!(report.email, some("reports@receiver.example"));
    assert_eq!(report.extra_contact_info, some("https://receiver.example/dmarc"));
    assert_eq!(report.report_id, some("r-1"));
    assert_eq!((report.begin.clone(), report.end.clone()), (some("1700000000"), some("1700086399")));
    let policy = Policy {
        domain: some("example.com"),
        adkim: some("r"),
        aspf: some("s"),
        p: some("reject"),
        sp: some("quarantine"),
        pct: some("100"),
        fo: some("1"),
        ..Policy::default()
    };
    assert_eq!(report.policy, policy);
    let [first, second] = read.rows.as_slice() else { panic!("{:?}", read.rows) };
    assert_eq!((first.source_ip.clone(), first.count.clone()), (some("192.0.2.1"), some("3")));
    assert_eq!(first.disposition, some("none"));
    assert_eq!((first.dkim.clone(), first.spf.clone()), (some("pass"), some("fail")));
    assert_eq!(first.header_from, some("example.com"));
    assert_eq!(first.envelope_from, some("bounce.example.com"));
    let dkim = DkimAuth { domain: some("example.com"), selector: some("s1"), result: some("pass"), human_result: None };
    assert_eq!(first.dkim_auth, [dkim]);
    let spf = SpfAuth {
        domain: some("bounce.example.com"),
        scope: some("mfrom"),
        result: some("softfail"),
        human_result: None,
    };
    assert_eq!(first.spf_auth, [spf]);
    assert_eq!((first.index, second.index), (0, 1));
    assert_eq!(second.source_ip, some("2001:db8::2"));
    assert_eq!((second.dkim_auth.len(), second.spf_auth.len()), (0, 1));
    assert!(read.codes().is_empty() && read.scan.damage.is_none());
}

#[test]
fn document_sha256_is_of_the_unmodified_bytes() {
    let hash = |name| read_fixture(name).scan.sha256;
    let hex: String = hash("039-after-the-end").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "3cb8e66610eb3f60e0cf205a0997cd0d096f79de76d83031b1f4829f2c43284d");
    assert_ne!(hash("001-plain"), hash("003-utf-8-bom"));
}

#[test]
fn an_rfc_9990_report_takes_the_same_path() {
    let read = read_fixture("002-rfc-9990");
    let report = read.report();
    assert_eq!(report.xml_namespace, some("urn:ietf:params:xml:ns:dmarc-2.0"));
    assert_eq!(report.generator, some("Example Reporter 2.1"));
    assert_eq!(report.errors, ["one upstream was late"]);
    assert_eq!(report.policy.domain, some("example.com"));
    assert_eq!(report.policy.np, some("none"));
    assert_eq!(report.policy.testing, some("y"));
    assert_eq!(report.policy.discovery_method, some("treewalk"));
    let [row] = read.rows.as_slice() else { panic!("{:?}", read.rows) };
    assert_eq!(row.count, some("3"));
    assert_eq!(row.envelope_to, some("receiver.example"));
    assert_eq!(row.reasons, [Override { kind: some("policy_test_mode"), comment: some("the owner tests") }]);
    assert_eq!(row.dkim_auth[0].human_result, some("2048 bits"));
    assert!(read.codes().is_empty());
}

#[test]
fn byte_order_marks_and_utf_16_are_read() {
    reads_as_plain("003-utf-8-bom", &[]);
    reads_as_plain("004-utf-16-le-bom", &[]);
    reads_as_plain("005-utf-16-be-no-bom", &[]);
}

#[test]
fn windows_1252_is_decoded_declared_or_not() {
    let declared = read_fixture("006-windows-1252-declared");
    let undeclared = read_fixture("007-windows-1252-undeclared");
    assert_eq!(declared.report().org_name, some("Récepteur Œuvre"));
    assert_eq!(declared.content(), undeclared.content());
    assert!(declared.codes().is_empty());
    assert_eq!(undeclared.codes(), ["invalid_bytes"]);
}

#[test]
fn nuls_and_forbidden_controls_are_dropped() {
    reads_as_plain("008-controls", &["forbidden_characters"]);
}

#[test]
fn the_xml_declaration_may_be_late_missing_or_unclosed() {
    reads_as_plain("009-space-before-declaration", &[]);
    reads_as_plain("010-comment-before-declaration", &[]);
    reads_as_plain("011-no-declaration", &[]);
    reads_as_plain("012-declaration-not-closed", &["broken_tag"]);
}

#[test]
fn a_report_in_an_element_that_is_never_closed_is_read() {
    reads_as_plain("013-schema-never-closed", &["wrapped"]);
}

#[test]
fn namespaces_and_prefixes_make_no_difference() {
    let namespace = |name| reads_as_plain(name, &[]).report().xml_namespace.clone();
    assert_eq!(namespace("014-default-namespace"), some("http://dmarc.org/dmarc-xml/0.1"));
    assert_eq!(namespace("015-prefixed-namespace"), some("urn:ietf:params:xml:ns:dmarc-2.0"));
    assert_eq!(namespace("016-undeclared-prefix"), None);
    assert_eq!(namespace("017-prefix-on-root-only"), some("http://dmarc.org/dmarc-xml/0.1"));
    assert_eq!(namespace("018-unused-namespace"), None);
}

#[test]
fn a_namespace_is_inherited_from_the_element_around_the_report() {
    let wrapped = "<w xmlns='urn:a' xmlns:p='urn:b'><x xmlns='urn:c'></x>";
    let namespace = |root: &str| read(format!("{wrapped}{root}")).expect("a report").report().xml_namespace.clone();
    assert_eq!(namespace("<feedback/>"), some("urn:a"));
    assert_eq!(namespace("<p:feedback/>"), some("urn:b"));
    assert_eq!(namespace("<feedback xmlns=''/>"), None);
}

#[test]
fn unescaped_characters_are_text() {
    let less = read_fixture("019-unescaped-less-than");
    assert_eq!(less.report().org_name, some("Receiver < Example <5 o'clock"));
    assert_eq!(less.report().email, some("<reports@receiver.example>"));
    assert_eq!(less.rows[0].envelope_from, some("bounce<example.com"));
    assert_eq!(less.codes(), ["stray_less_than"]);
    let ampersand = read_fixture("020-unescaped-ampersand");
    assert_eq!(ampersand.report().extra_contact_info, some("https://receiver.example/?a=1&b=2&copy;&c=3&"));
    assert_eq!(ampersand.codes(), ["stray_ampersand"]);
    let greater = read_fixture("021-unescaped-greater-than");
    assert_eq!(greater.report().org_name, some("Receiver -> Example ]]> >"));
    for read in [less, ampersand, greater] {
        assert_eq!(read.rows.len(), 2);
    }
}

#[test]
fn broken_end_tags_close_the_intended_element() {
    reads_as_plain("022-end-tag-without-its-start", &["missing_close", "missing_close"]);
    reads_as_plain("023-end-tags-misnamed", &["unmatched_close", "missing_close"]);
    reads_as_plain("024-end-tags-cut-off", &["broken_tag", "missing_close"]);
    reads_as_plain("046-record-never-closed", &["missing_close"]);
}

#[test]
fn text_between_elements_is_skipped() {
    reads_as_plain("025-stray-text", &["stray_text", "stray_text", "stray_text"]);
}

#[test]
fn complete_rows_of_a_truncated_report_are_read() {
    let read = read_fixture("026-truncated");
    assert_eq!(read.rows.len(), 1);
    assert_eq!(read.report().org_name, some("Receiver Example"));
    let damage = read.scan.damage.expect("it is cut off");
    assert_eq!(damage.reason, Reason::XmlTruncated);
    assert_eq!(damage.detail, "the document ends inside <domain> after 1 whole rows; expected </feedback>");
}

#[test]
fn a_report_truncated_in_its_first_row_has_no_rows() {
    let trouble = read(fixture("027-truncated-before-a-row")).expect_err("no row");
    assert_eq!(trouble.reason, Reason::XmlTruncated);
}

#[test]
fn element_order_and_unknown_elements_are_ignored() {
    reads_as_plain("028-any-order", &[]);
}

#[test]
fn a_row_that_is_not_read_is_counted() {
    for (hidden, code) in [
        ("<records><record/></records>", "empty_record"),
        ("<recrod><row/></recrod>", "empty_record"),
        ("<row/>", "empty_record"),
        ("<extension><record><row><count>3</count></row></record></extension>", "skipped_record"),
        ("<x xmlns='urn:example:x'><row><row/></row></x>", "skipped_record"),
    ] {
        let read = read(format!("<feedback>{hidden}</feedback>")).expect("a report");
        assert_eq!((read.rows.len(), read.scan.skipped), (0, 1), "{hidden}");
        assert!(read.codes().contains(&code), "{hidden} {:?}", read.codes());
    }
}

const ROW: &str = "<row><source_ip>192.0.2.1</source_ip><count>3</count><policy_evaluated><disposition>none</disposition>\
                   <dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>";
const NAMES: &str = "<identifiers><header_from>example.com</header_from></identifiers>";
const RESULTS: &str = "<auth_results><dkim><domain>example.com</domain><selector>s1</selector><result>pass</result></dkim>\
                       <spf><domain>mail.example.net</domain><result>pass</result></spf></auth_results>";
const METADATA: &str = "<report_metadata><org_name>Receiver Example</org_name><report_id>r-1</report_id><date_range>\
                        <begin>1700000000</begin><end>1700086399</end></date_range></report_metadata>";
const POLICY: &str = "<policy_published><domain>example.com</domain><p>reject</p></policy_published>";

/// Checks that a report with these elements has the same content as one of the schema, and returns the codes of its repairs.
#[track_caller]
fn codes_of(inside: &str) -> Vec<String> {
    let wanted =
        read(format!("<feedback>{METADATA}{POLICY}<record>{ROW}{NAMES}{RESULTS}</record></feedback>")).unwrap();
    let read = read(format!("<feedback>{inside}</feedback>")).unwrap_or_else(|trouble| panic!("{inside}: {trouble}"));
    assert_eq!(read.content(), wanted.content(), "{inside}");
    assert_eq!(read.scan.skipped, 0, "{inside}");
    read.codes().into_iter().map(str::to_owned).collect()
}

/// Regression: rows within an element that is not in the schema were passed over, and the report was `empty`.
#[test]
fn elements_within_unknown_wrappers_are_read() {
    let record = &format!("<record>{ROW}{NAMES}{RESULTS}</record>");
    let head = &format!("{METADATA}{POLICY}");
    for wrapped in [
        format!("{head}<records>{record}</records>"),
        format!("{head}<data count='1'><rows>{record}</rows></data>"),
        format!("<aggregate>{head}<list><a><b>{record}</b></a></list></aggregate>"),
        format!("<head>{METADATA}</head><policies>{POLICY}</policies><body>{record}</body>"),
        format!("{head}<record><rows>{ROW}</rows>{NAMES}{RESULTS}</record>"),
        format!("{head}<record><message>{ROW}{NAMES}<more>{RESULTS}</more></message></record>"),
        format!("{head}<x>text {record} text</x>"),
        head.replace("<date_range>", "<period><date_range>").replace("</date_range>", "</date_range></period>")
            + record,
        head.clone()
            + &record.replace("<dkim><d", "<dkims><dkim><d").replace("</result></dkim>", "</result></dkim></dkims>"),
        head.clone()
            + &record.replace("<source_ip>", "<host><source_ip>").replace("</source_ip>", "</source_ip></host>"),
    ] {
        let codes = codes_of(&wrapped);
        assert!(!codes.is_empty() && codes.iter().all(|code| code == "unknown_wrapper"), "{wrapped} {codes:?}");
    }
}

#[test]
fn unknown_elements_with_the_children_of_one_of_the_schema_are_that() {
    let (in_row, in_record) = (ROW.trim_end_matches("</row>"), format!("{ROW}{NAMES}{RESULTS}"));
    let head = &format!("{METADATA}{POLICY}");
    for renamed in [
        format!("{head}<recrod>{in_record}</recrod>"),
        format!("{head}<list><item>{in_record}</item></list>"),
        format!("{head}<entry>{NAMES}{RESULTS}{ROW}</entry>"),
        format!("{head}<rows>{in_row}{NAMES}{RESULTS}</row></rows>"),
        head.replace("report_metadata", "about") + &format!("<record>{in_record}</record>"),
        format!("{head}<record>{}</record>", in_record.replace("identifiers", "names")),
    ] {
        let codes = codes_of(&renamed);
        assert!(!codes.is_empty() && codes.iter().all(|code| code == "renamed_element"), "{renamed} {codes:?}");
    }
    assert_eq!(codes_of(&format!("{head}{in_row}{NAMES}{RESULTS}</row>")), [""; 0]);
}

#[test]
fn rows_with_their_own_identifiers_share_nothing() {
    let row = |number: u8| {
        format!(
            "<row><source_ip>192.0.2.{number}</source_ip><count>1</count><identifiers><header_from>{number}.example</header_from>\
             </identifiers><auth_results><spf><domain>{number}.example</domain></spf></auth_results></row>"
        )
    };
    let rows = (1..=3).map(row).collect::<String>();
    for rows in [rows.clone(), format!("<record>{rows}</record>"), format!("<rows>{rows}</rows>")] {
        let read = read(format!("<feedback>{rows}</feedback>")).expect("a report");
        let names: Vec<_> = read.rows.iter().map(|row| row.header_from.as_deref().unwrap_or("")).collect();
        assert_eq!(names, ["1.example", "2.example", "3.example"], "{rows}");
        assert!(read.rows.iter().all(|row| row.spf_auth.len() == 1), "{rows}");
    }
}

#[test]
fn an_extension_is_no_wrapper() {
    let inside = format!("<extension><policy_published><p>none</p></policy_published></extension>{POLICY}");
    let read = read(format!("<feedback>{inside}</feedback>")).expect("a report");
    assert_eq!((read.report().policy.p.clone(), read.codes()), (some("reject"), vec![]));
    assert_eq!(read.report().extensions.len(), 1);
}

/// Other names of the same elements: `SourceIp`, `source-ip`.
#[test]
fn names_spelt_with_other_separators_are_understood() {
    let plain = format!("{METADATA}{POLICY}<record>{ROW}{NAMES}{RESULTS}</record>");
    let respelt = |spell: &dyn Fn(&str) -> String| {
        let tags = plain.split('<').skip(1).map(|tag| {
            let (name, rest) = tag.split_once('>').unwrap();
            let (slash, name) = name.strip_prefix('/').map_or(("", name), |name| ("/", name));
            format!("<{slash}{}>{rest}", spell(name))
        });
        tags.collect::<String>()
    };
    let camel = |name: &str| name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect::<String>();
    for spell in [&camel as &dyn Fn(&str) -> String, &|name| name.replace('_', "-"), &|name| name.replace('_', ".")] {
        let codes = codes_of(&respelt(spell));
        assert!(!codes.is_empty() && codes.iter().all(|code| code == "other_spelling"), "{codes:?}");
    }
    assert_eq!(codes_of(&respelt(&|name| name.to_uppercase())), [""; 0]);
}

/// Regression: a `<reason>` that is text was dropped.
#[test]
fn reasons_without_elements_are_read() {
    let reasons = |inside: &str| {
        let document = format!(
            "<feedback><record><count>1</count><policy_evaluated>{inside}</policy_evaluated></record></feedback>"
        );
        let read = read(document).unwrap_or_else(|trouble| panic!("{inside}: {trouble}"));
        let told = |text: &Text<'_>| text.as_deref().unwrap_or_default().to_owned();
        let reasons: Vec<_> = read.rows[0]
            .reasons
            .iter()
            .map(|reason| format!("{}|{}", told(&reason.kind), told(&reason.comment)))
            .collect();
        (reasons.join(" "), read.codes().join(" "))
    };
    for (inside, told, codes) in [
        ("<reason>sampled_out</reason>", "sampled_out|", "reason_text"),
        ("<reason> Mailing_List </reason>", "Mailing_List|", "reason_text"),
        ("<reason>forwarded</reason><reason>other</reason>", "forwarded| other|", "reason_text"),
        ("<reason>local_policy: arc=pass</reason>", "local_policy|arc=pass", "reason_text"),
        ("<reason>other (a guess)</reason>", "other|a guess", "reason_text"),
        ("<reason>our own decision</reason>", "|our own decision", "reason_text"),
        ("<reason>whim</reason>", "whim|", "reason_text"),
        ("<reason><type>other</type>a guess</reason>", "other|a guess", "reason_text"),
        ("<reason>forwarded<comment>by us</comment></reason>", "forwarded|by us", "reason_text"),
        ("<reason><comment>by us</comment>forwarded</reason>", "forwarded|by us", "reason_text"),
        ("<reason type='forwarded'/>", "forwarded|", "attribute_value"),
        ("<reason type='other' comment='a guess'></reason>", "other|a guess", "attribute_value"),
        ("<reason type='other'>a guess</reason>", "other|a guess", "attribute_value reason_text"),
        ("<reason xmlns:x='urn:x' x:type='Reason'><type>other</type></reason>", "other|", ""),
        ("<reasons><reason>sampled_out</reason></reasons>", "sampled_out|", "unknown_wrapper reason_text"),
    ] {
        assert_eq!(reasons(inside), (told.to_owned(), codes.to_owned()), "{inside}");
    }
}

#[test]
fn an_empty_envelope_from_is_the_null_sender() {
    for (inside, is_null) in [
        ("<envelope_from/>", true),
        ("<envelope_from> </envelope_from>", true),
        ("", false),
        ("<envelope_from>a.example</envelope_from>", false),
        ("<envelope_from/><envelope_from>a.example</envelope_from>", false),
        ("<envelope_from>a.example</envelope_from><envelope_from/>", false),
    ] {
        let record = format!("<record><count>1</count><identifiers>{inside}</identifiers></record>");
        let read = read(format!("<feedback>{record}<record><count>2</count></record></feedback>")).unwrap();
        assert_eq!(read.rows.iter().map(|row| row.has_null_sender).collect::<Vec<_>>(), [is_null, false], "{inside}");
    }
}

#[test]
fn misspelt_elements_and_cases_are_understood() {
    reads_as_plain("029-misspelt-elements", &[]);
    reads_as_plain("030-upper-case", &[]);
}

#[test]
fn the_first_of_several_policies_is_kept() {
    reads_as_plain("031-two-policies", &["second_policy"]);
}

#[test]
fn several_rows_of_a_record_share_its_identifiers_and_results() {
    let read = read_fixture("032-two-rows");
    let ips: Vec<_> = read.rows.iter().map(|row| row.source_ip.as_deref().unwrap_or("")).collect();
    assert_eq!(ips, ["192.0.2.1", "192.0.2.9", "2001:db8::2"]);
    assert_eq!((read.rows[1].dkim.clone(), read.rows[1].disposition.clone()), (None, some("reject")));
    assert_eq!(read.rows[0].dkim, some("pass"));
    for row in &read.rows[..2] {
        assert_eq!(row.header_from, some("example.com"));
        assert_eq!((row.dkim_auth.len(), row.spf_auth.len()), (1, 1));
    }
    assert_eq!(read.codes(), ["several_rows", "several_rows"]);
}

#[test]
fn all_signatures_and_spf_results_are_kept() {
    let read = read_fixture("033-several-results");
    let row = &read.rows[0];
    let signers: Vec<_> = row.dkim_auth.iter().map(|dkim| dkim.domain.as_deref()).collect();
    assert_eq!(signers, [Some("example.com"), Some("esp.example")]);
    assert_eq!(row.dkim_auth[1].human_result, some("body hash"));
    let scopes: Vec<_> = row.spf_auth.iter().map(|spf| spf.scope.as_deref()).collect();
    assert_eq!(scopes, [Some("helo"), Some("mfrom")]);
    assert!(read.codes().is_empty());
}

#[test]
fn empty_reasons_are_dropped_and_several_are_kept() {
    let reasons = &read_fixture("034-reasons").rows[0].reasons;
    let policy = Override { kind: some("local_policy"), comment: some("arc=pass") };
    assert_eq!(*reasons, [policy, Override { kind: some("forwarded"), comment: None }]);
}

#[test]
fn missing_parts_are_none() {
    let read = read_fixture("035-bare-records");
    let [no_results, no_scope] = read.rows.as_slice() else { panic!("{:?}", read.rows) };
    assert_eq!((no_results.dkim.clone(), no_results.header_from.clone()), (None, None));
    assert!(no_results.dkim_auth.is_empty() && no_results.spf_auth.is_empty());
    assert_eq!((no_scope.dkim.clone(), no_scope.dkim_auth[0].selector.clone()), (None, None));
    // The third record has no data.
    assert_eq!((read.scan.skipped, read.codes()), (1, vec!["empty_record"]));
}

#[test]
fn a_report_without_records_is_valid() {
    let read = read_fixture("036-no-records");
    assert_eq!((read.scan.rows, read.scan.damage.is_none()), (0, true));
    assert_eq!(read.report().report_id, some("r-1"));
}

#[test]
fn text_split_by_markup_is_joined() {
    let read = read_fixture("037-entities-and-cdata");
    assert_eq!(read.report().org_name, some("Receiver Example"));
    assert_eq!(read.report().email, some("<]]>&amp;<reports@receiver.example"));
    assert!(read.codes().is_empty());
}

#[test]
fn values_are_trimmed() {
    reads_as_plain("038-blanks", &[]);
}

#[test]
fn data_after_the_report_is_skipped() {
    reads_as_plain("039-after-the-end", &["trailing_junk"]);
    reads_as_plain("040-two-reports", &["second_report"]);
}

#[test]
fn a_doctype_is_refused() {
    let trouble = read(fixture("041-doctype")).expect_err("refused");
    assert_eq!(trouble.reason, Reason::XmlDoctype);
}

#[test]
fn markup_within_text_is_text_without_its_tags() {
    let read = read_fixture("042-markup-in-text");
    assert_eq!(read.report().extra_contact_info, some("see our page or  ask"));
    assert_eq!((read.rows.len(), read.report().report_id.clone()), (2, some("r-1")));
}

#[test]
fn malformed_attributes_are_tolerated() {
    let read = reads_as_plain("043-broken-attributes", &["broken_tag"]);
    assert_eq!(read.report().xml_namespace, some("http://dmarc.org/dmarc-xml/0.1"));
}

#[test]
fn the_first_of_repeated_values_is_kept() {
    reads_as_plain("044-repeated-values", &["repeated"]);
}

#[test]
fn documents_other_than_reports_are_named() {
    let trouble = read(fixture("045-another-root")).expect_err("a feed");
    assert_eq!(trouble.reason, Reason::NotAReport);
    assert!(trouble.detail.contains("<rss>"), "{trouble}");
    for other in ["", "unused", "{\"report-id\": 1}", "\u{1}\u{2}", "<", "<!-- <feedback> -->"] {
        assert_eq!(read(other).expect_err("nothing").reason, Reason::NotAReport, "{other:?}");
    }
}

#[test]
fn the_rows_of_a_small_report_without_damage_are_held_and_no_others() {
    // Not clean, as a count belongs into a row: clean reports are read twice.
    let of = |records: usize| format!("<feedback>{}</feedback>", "<record><count>1</count></record>\n".repeat(records));
    let is_held = |document: &str| read(document).unwrap().scan.held.is_some();
    assert!(is_held(&of(1)) && is_held(&of(120)));
    assert!(!is_held(&of(500)), "they would take far more than the document");
    assert!(!is_held(&of(120).replacen("<record>", &(" ".repeat(40_000) + "<record>"), 1)));
    assert!(!is_held(of(120).trim_end_matches("</feedback>")), "its end is missing");
}
