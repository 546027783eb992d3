//! Generates `docs/events.md` from the tables; `UPDATE_DOCS=1 cargo test` rewrites it.

use std::{fmt::Write as _, fs, path::Path};

use super::*;
use crate::{
    event::{Event, Value, failure::Addresses, sample},
    report::TlsRow,
    trouble::Reason,
};

const INTRODUCTION: &str = "\
# Events

Generated from the program's own tables by `UPDATE_DOCS=1 cargo test`; `dmarc-shipper schema event` prints the same as JSON
Schema.

Every event is one flat JSON object.

* Each event type has the same keys in the same order. A key has the same meaning and the same JSON type in every event type.
* A key is null if the report has no value for it. Arrays are `[]`, never null.
* The column `null` says whether a key can be null. `named`: the standards require the value, and if it is null, `parse_warnings` has a note that
  begins with the key and says why (`count: missing`). `yes`: null is usual; a value that is there but can't be understood is named all the same.
* Integers fit 64 bits. Times are RFC 3339, UTC with `Z`, whole seconds.
* Within `schema_version` 1 keys, codes and enumerated values are only ever added.

Enumerated values are trimmed and in lower case. An unknown value is kept and named in `parse_warnings`. An address, number or time that
cannot be understood is null; `parse_warnings` has the original. One that was not in its plain form, but could be understood, is named there too.
Domains are in lower case; a text that is no domain name is kept, and named. Internationalised names are kept as reported, in U-labels or A-labels
(RFC 5890), and compared as A-labels (UTS 46, non-transitional).
All text in reports is untrusted data: anyone can send a report.

`encoding.fields` selects the keys that a sink gets:

* `full`: all keys.
* `lean`: all keys except arrays and those whose part is derived or provenance.
* `seed`: only the first block of `dmarc_aggregate`; the other event types are not part of that schema, and are as with `lean`.

`encoding.only_fields` and `encoding.except_fields` narrow that selection. `encoding.arrays: joined` turns each array into one string: elements are
joined by `; `, the values of an element by `/`.

An event that exceeds the maximum message size of a sink is made smaller, whichever keys were selected, and `truncated` is true: first arrays are
trimmed, then the longest strings are shortened, then nulls and keys from the end are removed. A UDP datagram of 1,400 bytes has no room for all
keys of a row; `lean` usually fits.
";

const IDS: &str = "
## `event_id`

`event_id` is the first 128 bits, in lower-case hex, of a SHA-256. Its input is a byte 2 (the version of the scheme), then a sequence of values. Each
value is its length in bytes (64 bits, big-endian), then its bytes. Values are taken as reported, trimmed, before they are normalised, masked or
shortened for a sink. A missing value is empty; a number is in decimal digits; a list is its length, then the values of its elements. The first value
is `event_type`, the second the tenant. The others depend on the event type:

* `dmarc_aggregate`: the report's version, XML namespace, org_name, email, extra_contact_info, generator, report_id, begin, end, errors (a
  list), domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method; then the row's record_index, source_ip, count, disposition,
  dkim, spf, reasons (type, comment), header_from, envelope_from, envelope_to, dkim_auth (domain, selector, result, human_result), spf_auth
  (domain, scope, result, human_result), extensions (path, namespace, value).
* `tls_rpt`: organization-name, contact-info, report-id, start-datetime, end-datetime, policy-type, policy-domain. For a policy, then the
  word `policy`, its position, policy-string (a list), mx-host (a list), successful and failed session count. For a failure, then the word
  `failure`, the position of its policy, its own position, result-type, sending-mta-ip, receiving-mx-hostname, receiving-mx-helo, receiving-ip,
  failed-session-count, additional-information, failure-reason-code.
* `dmarc_failure`: the document's SHA-256 (32 bytes). The document is the report's fields as received, and From and Message-ID of
  the mail that the report is about.
* `report`: the document's SHA-256 (32 bytes), outcome.
* `ingest_error`: SHA-256 of the bytes that could not be read, reason. For a mail that was not fetched or not opened, source, mailbox,
  UIDVALIDITY, mail_uid and mail_message_id replace the hash. With `sink_rejected`, the hash is that of the document of the first rejected
  event, and the name of the sink follows the reason.
* `probe`: name of the sink, time in nanoseconds since 1970.

The id of a row does not depend on the mail or the run: the same row of the same report has the same id in every mail. Equal rows of one report
differ in their position.

Everything that the event contains of the row and of the published policy is part of the id. A forged report with other values, such as `p=none`,
has other ids: its events do not replace the real ones. An exact copy of a report has the ids of the original, and the same content. A
forged report is an event like any other; `mail_auth` and `reporter_aligned` say who sent it, if the source has `trusted_authserv_ids`.
";

#[test]
fn the_documentation_of_events_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    let wanted = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/events.md differs from the tables; UPDATE_DOCS=1 cargo test writes it");
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (event, about) in [
        (
            sample::aggregate(),
            "One per row of a DMARC aggregate report (RFC 9990, RFC 7489 appendix C). Elements are given by their path.",
        ),
        (
            sample::tls_event(sample::tls_rpt(), TlsRow::Failure(sample::tls_failure())),
            "One per policy of an SMTP TLS report (RFC 8460 section 4), and one per entry of its `failure-details`; failures come \
             before their policy. To count sessions, add up policies only (`record_type: policy`): they include the failures.",
        ),
        (
            sample::failure_event(&sample::failure(), Addresses::Masked),
            "One per failure report (RFC 6591, RFC 9991). Values come from its machine-readable part; if there is none, from the text \
             for people, if that has the same fields, as Exim and cPanel write it. Of the mail that the report is about, the event has \
             only the domain of From and the Message-ID, never the subject or the body. Local parts of addresses in the report's own \
             values are masked as `***`, unless the configuration has `failure_reports: full`. Abuse, opt-out and other feedback \
             reports (RFC 5965) are not about DMARC: they give an `ingest_error` with the reason `not_dmarc_feedback`, and the mail is \
             quarantined.",
        ),
        (
            sample::report_event(),
            "One per document, after its rows; its totals can be used to check that all rows arrived. There is none for a report that was \
             rejected or deferred (`unwanted_domain`, `sender_over_limit`, `sender_not_authenticated`): that gives an `ingest_error`.",
        ),
        (
            sample::ingest_error(),
            "One per document, attachment or mail that could not be read in full, or that was turned away or deferred; and one per mail \
             and sink if a sink rejected events of the mail (`sink_rejected`), to the other sinks. Rate-limited by \
             `limits.errors_per_hour`; one per sender and day if a sender exceeds its share. The number of all errors is the number of \
             events plus the sum of `suppressed`.",
        ),
        (
            sample::probe(),
            "Test event of `dmarc-shipper check`: one for each sink and check, whatever the sink's `events`. It contains no report data; \
             filter on `event_type: probe` to drop it.",
        ),
    ] {
        write!(page, "\n## `{}`\n\n{about}\n\n", event.event_type().as_str()).unwrap();
        page.push_str("| key | type | null | part | meaning |\n|---|---|---|---|---|\n");
        for key in keys(event.event_type()) {
            let (kind, null, part) = (type_name(key.kind), null_name(key.null), part_name(key.part));
            writeln!(page, "| `{}` | {kind} | {null} | {part} | {} |", key.name, key.doc).unwrap();
        }
        example(&event, &mut page);
    }
    page.push_str("\n## `reason`\n\nError codes of `ingest_error`, a closed list; codes are only ever added.\n\n");
    for reason in Reason::ALL {
        writeln!(page, "* `{}`", reason.code()).unwrap();
    }
    page.push_str(IDS);
    page
}

fn type_name(kind: Kind) -> String {
    match kind {
        Kind::Bool => "boolean".into(),
        Kind::Int => "integer".into(),
        Kind::Text => "string".into(),
        Kind::Time => "string, time".into(),
        Kind::Texts => "array of strings".into(),
        Kind::Objects(members) => format!("array of objects: `{}`", members.join("`, `")),
    }
}

fn null_name(null: Null) -> String {
    let code = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    match null {
        Null::Never => "no".into(),
        Null::Usual => "yes".into(),
        Null::Named => "named".into(),
        Null::NamedIf(key, values) => format!("named if `{key}` is {}", code(values)),
        Null::Members(members) => format!("no; its {}: named", code(members).replace(" or ", " and ")),
    }
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Seed => "seed",
        Part::Identity => "identity",
        Part::Told => "data",
        Part::Derived => "derived",
        Part::Provenance => "provenance",
    }
}

fn example(event: &Event, page: &mut String) {
    let mut fields = Vec::new();
    event.fields(&mut fields);
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("  \"{name}\": {}", json_of(value))).collect();
    write!(page, "\n```json\n{{\n{}\n}}\n```\n", lines.join(",\n")).unwrap();
}

fn json_of(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Text(text) => json!(text).to_string(),
        Value::Texts(texts) => json!(texts).to_string(),
        Value::Objects(objects) => {
            let object = |members: &crate::event::Object<'_>| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("\"{name}\": {}", json!(value))).collect();
                format!("{{{}}}", members.join(", "))
            };
            format!("[{}]", objects.iter().map(object).collect::<Vec<_>>().join(", "))
        }
    }
}
