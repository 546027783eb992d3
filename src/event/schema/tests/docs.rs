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

Every event is one flat JSON object. Each type has the same keys in the same order, null where the reporter said nothing; each
key has one JSON type for ever; integers fit 64 bits; arrays are `[]`, never null. Times are RFC 3339, UTC with `Z`, whole
seconds. A key means the same in every type. Within `schema_version` 1 keys are only ever added, codes and words too.

Enumerated values are trimmed and in lower case; an unknown one is kept and named in `parse_warnings`. An address, number or time
that can't be understood is null, with the original in `parse_warnings`; one in another than the plain form is named there too. All
text from reporters is data: whoever sends a mail can write it.

A sink chooses keys with `encoding.fields`: `full` is everything; `lean` leaves out arrays and what is marked derived or
provenance; `seed` is the first block of `dmarc_aggregate` and nothing else (the other types, which that schema does not know, are then
as with `lean`). `encoding.only_fields` and `except_fields` go on from there. `encoding.arrays: joined` makes each array one
string, elements joined by `; ` and their values by `/`. Where an event does not fit a sink's largest message it is made smaller, and
`truncated` is true, whichever keys were chosen: arrays are trimmed, then the longest strings are shortened, then nulls and keys from the
end are left out. A UDP datagram of 1,400 bytes has no room for all keys of a row; `lean` fits as a rule.
";

const IDS: &str = "
## `event_id`

The first 128 bits, in lower-case hex, of SHA-256 over a byte 2 (the recipe's version) and then values, each as its length in bytes (64
bits, big-endian) and its bytes. Values are as the reporter told them, trimmed, before anything is normalised, masked or shortened for a
sink; a missing one is empty; numbers are in decimal digits; a list is its length and then the values of its elements. The first value is
`event_type`, the second the tenant; then follow:

* `dmarc_aggregate`: the report's version, XML namespace, org_name, email, extra_contact_info, generator, report_id, begin, end, errors (a
  list), domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method; then the row's record_index, source_ip, count, disposition,
  dkim, spf, reasons (type, comment), header_from, envelope_from, envelope_to, dkim_auth (domain, selector, result, human_result), spf_auth
  (domain, scope, result, human_result), extensions (path, namespace, value).
* `tls_rpt`: organization-name, contact-info, report-id, start-datetime, end-datetime, policy-type, policy-domain. Of a policy then the
  word `policy`, its position, policy-string (a list), mx-host (a list), successful and failed session count. Of a failure the word
  `failure`, the position of its policy, its own, result-type, sending-mta-ip, receiving-mx-hostname, receiving-mx-helo, receiving-ip,
  failed-session-count, additional-information, failure-reason-code.
* `dmarc_failure`: the document's SHA-256 (32 bytes). The document is the fields of the report as they came, and From and Message-ID of
  the mail that it is about.
* `report`: the document's SHA-256 (32 bytes), outcome.
* `ingest_error`: SHA-256 of the bytes that could not be read, reason. For a mail that was not fetched, or not opened, source, mailbox,
  UIDVALIDITY, mail_uid and mail_message_id stand in place of the hash.
* `probe`: name of the sink, time in nanoseconds since 1970.

So nothing about the mail or the run is in the id of a row: the same row of the same report has the same id whichever mail brought it, and
equal rows of one report are told apart by their position. All that an event says of the row and of the published policy is in it: whoever
forges a report with other values, such as `p=none`, makes other ids, and these events stand beside the real ones, not in their place.
What no id can prevent: a report that is copied exactly has the ids of the original, and says the same; and a forged report is an event
like any other. `mail_auth` and `reporter_aligned` tell who sent it, where the source names `trusted_authserv_ids`.
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
            "One per row of a DMARC aggregate report (RFC 9990, RFC 7489 appendix C). Elements are named by their path.",
        ),
        (
            sample::tls_event(sample::tls_rpt(), TlsRow::Failure(sample::tls_failure())),
            "One per policy of an SMTP TLS report (RFC 8460 section 4), and one per entry of its `failure-details`; failures come \
             before their policy. To add up sessions take the policies (`record_type: policy`) alone: what failed is in them.",
        ),
        (
            sample::failure_event(&sample::failure(), Addresses::Masked),
            "One per failure report (RFC 6591, RFC 9991), from its machine-readable part; where there is none, from a text for \
             people that has its fields, as Exim and cPanel write it. Of the mail that it is about only the domain of From and the \
             Message-ID are told, never the subject or the body. In all of the report's own values the local parts of addresses are \
             `***`, unless the configuration says `failure_reports: full`. Abuse, opt-out and other feedback reports (RFC 5965) are \
             not about DMARC: they give an `ingest_error` with the reason `not_dmarc_feedback`, and the mail is quarantined.",
        ),
        (
            sample::report_event(),
            "One per document, after its rows; none for a report that was turned away or deferred (`unwanted_domain`, \
             `sender_over_limit`, `sender_not_authenticated`), of which `ingest_error` tells. An auditor adds these up.",
        ),
        (
            sample::ingest_error(),
            "One per document, attachment or mail that could not be read in full, or was turned away. Rate-limited by \
             `limits.errors_per_hour`, and once for sender and day where a sender is over its share; the events told and the \
             sum of `suppressed` are all the errors that there were.",
        ),
        (
            sample::probe(),
            "What `dmarc-shipper check` sends to each sink, whatever its `events` name, to see whether events arrive: one a sink and \
             check. Nothing is to be added up or answered; who does not want to see it leaves out `event_type: probe`.",
        ),
    ] {
        write!(page, "\n## `{}`\n\n{about}\n\n", event.event_type().as_str()).unwrap();
        page.push_str("| key | type | null | part | meaning |\n|---|---|---|---|---|\n");
        for key in keys(event.event_type()) {
            let nullable = if key.nullable { "yes" } else { "no" };
            let part = format!("{:?}", key.part).to_lowercase();
            writeln!(page, "| `{}` | {} | {nullable} | {part} | {} |", key.name, type_name(key.kind), key.doc).unwrap();
        }
        example(&event, &mut page);
    }
    page.push_str("\n## `reason`\n\nThe closed list of codes of `ingest_error`; codes are only ever added.\n\n");
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
