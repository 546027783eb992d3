//! Extensions: elements that are not in the schema are kept, and never taken for elements of the schema.

use super::super::Extension;
use super::{Read, read, read_fixture};

/// Formats each as `{namespace}path=value`.
fn told(extensions: &[Extension]) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let one = |told: &Extension| {
        format!(
            "{}{}={}",
            told.namespace.as_ref().map_or(String::new(), |n| format!("{{{n}}}")),
            text(&told.path),
            text(&told.value)
        )
    };
    extensions.iter().map(one).collect()
}

/// A report with `outside` within `feedback`, and `inside` at the end of its record.
fn report(outside: &str, inside: &str) -> Read {
    let document = format!(
        r#"<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0" xmlns:e="urn:example:e"><policy_published><domain>example.com</domain>
        <p>reject</p></policy_published>{outside}<record><row><source_ip>192.0.2.1</source_ip><count>3</count>
        <policy_evaluated><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>
        <identifiers><header_from>example.com</header_from></identifiers>{inside}</record></feedback>"#
    );
    read(document).unwrap()
}

fn outside(extensions: &str) -> Vec<String> {
    told(&report(extensions, "").report().extensions)
}

fn inside(extensions: &str) -> Vec<String> {
    told(&report("", extensions).rows[0].extensions)
}

#[test]
fn extensions_of_rfc_9990_are_kept_with_their_path() {
    let read = read_fixture("002-rfc-9990");
    assert_eq!(
        told(&read.report().extensions),
        ["{https://ext.example/1}extension/domain=other.example", "extension/record=1",]
    );
    assert_eq!(told(&read.rows[0].extensions), ["{https://ext.example/arc}record/arc/count=9"]);
}

#[test]
fn each_text_attribute_and_empty_element_is_an_entry_in_the_order_of_the_document() {
    assert_eq!(
        outside(
            r#"<extension><e:a id="7" e:b="x &amp; y" xmlns:f="urn:f">one<f:b>two</f:b> three <c/></e:a></extension>"#
        ),
        [
            "{urn:example:e}extension/a@id=7",
            "{urn:example:e}extension/a@b=x & y",
            "{urn:example:e}extension/a=one",
            "{urn:f}extension/a/b=two",
            "{urn:example:e}extension/a=three",
            "extension/a/c=",
        ]
    );
    assert_eq!(outside("<extension/>"), ["extension="]);
    assert_eq!(outside("<extension> <e:a> \n</e:a> </extension>"), ["{urn:example:e}extension/a="]);
}

#[test]
fn unknown_elements_are_kept_as_extensions() {
    let read =
        report("<version_published>1</version_published>", "<auth_results><arc><d>a.example</d></arc></auth_results>");
    assert_eq!(told(&read.report().extensions), ["version_published=1"]);
    assert_eq!(told(&read.rows[0].extensions), ["record/auth_results/arc/d=a.example"]);
    assert_eq!(read.codes(), [""; 0]);
}

/// A parser that ignores namespaces would take the count of an extension for the row's.
#[test]
fn elements_of_a_foreign_namespace_are_not_schema_elements() {
    let read = report(
        "<e:policy_published><e:p>none</e:p></e:policy_published><e:record/>",
        "<e:count>9</e:count><e:row><e:source_ip>198.51.100.1</e:source_ip></e:row><e:header_from>evil.example</e:header_from>",
    );
    assert_eq!(read.rows.len(), 1);
    assert_eq!(read.rows[0].count.as_deref(), Some("3"));
    assert_eq!(read.rows[0].source_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(read.report().policy.p.as_deref(), Some("reject"));
    assert_eq!(read.codes(), [""; 0]);
    assert_eq!(read.rows[0].extensions.len(), 3);
    assert_eq!(read.report().extensions.len(), 2);
}

#[test]
fn prefixes_of_the_schema_namespaces_are_accepted() {
    for namespace in ["urn:ietf:params:xml:ns:dmarc-2.0", "http://dmarc.org/dmarc-xml/0.1"] {
        let document = format!(
            r#"<feedback xmlns:d="{namespace}"><d:policy_published><d:p>reject</d:p></d:policy_published>
            <d:record><d:row><d:count>3</d:count></d:row></d:record></feedback>"#
        );
        let read = read(document).unwrap();
        assert_eq!(read.report().policy.p.as_deref(), Some("reject"));
        assert_eq!(read.rows[0].count.as_deref(), Some("3"));
        assert!(read.report().extensions.is_empty() && read.rows[0].extensions.is_empty());
    }
}

#[test]
fn skipped_elements_are_not_extensions() {
    let read = report(
        "<policy_published><p>none</p><x>1</x></policy_published>",
        "<extension><row><x>2</x></row></extension>",
    );
    assert_eq!(read.codes(), ["second_policy", "skipped_record"]);
    assert!(read.report().extensions.is_empty());
    assert_eq!(told(&read.rows[0].extensions), ["record/extension="]);
}

#[test]
fn markup_within_a_text_belongs_to_the_text() {
    let read = report("<report_metadata><org_name>A <b class='x'>B</b> C</org_name></report_metadata>", "");
    assert_eq!(read.report().org_name.as_deref(), Some("A B C"));
    assert!(read.report().extensions.is_empty());
}

#[test]
fn extensions_of_a_record_belong_to_each_of_its_rows() {
    let read = report("", "<row><count>4</count></row><e:a>1</e:a></record><record><row><count>5</count></row>");
    let each: Vec<_> = read.rows.iter().map(|row| told(&row.extensions)).collect();
    let own = ["{urn:example:e}record/a=1".to_owned()];
    assert_eq!(each, [&own[..], &own[..], &[]]);
}

#[test]
fn extensions_are_limited_per_record_with_a_warning() {
    let bytes = |told: &[String]| told.iter().map(String::len).sum::<usize>();
    let long = format!("<e:a>{}</e:a><e:b>1</e:b>", "x".repeat(60_000));
    let many = "<e:a/>".repeat(5_000);
    let wide = format!("<e:a {}/>", (0..2_000).map(|i| format!("a{i}='{i}' ")).collect::<String>());
    let named = format!("<{0}><e:a/></{0}>", "n".repeat(5_000));
    for flood in [&long, &many, &wide, &named] {
        for (outside, inside) in [(flood.as_str(), ""), ("", flood.as_str())] {
            let read = report(
                outside,
                &format!("{inside}</record><record><row><source_ip>192.0.2.1</source_ip></row><e:z>1</e:z>"),
            );
            let all: Vec<_> =
                told(&read.report().extensions).into_iter().chain(told(&read.rows[0].extensions)).collect();
            assert!(bytes(&all) <= 4 << 10, "{}", bytes(&all));
            assert!(read.codes().contains(&"extensions_shortened"), "{:?}", read.codes());
            assert_eq!(told(&read.rows[1].extensions), ["{urn:example:e}record/z=1"]);
        }
    }
    let kept = inside(&long);
    assert!(kept.len() == 1 && kept[0].len() > 4_000, "the text is kept as far as it fits");
}
