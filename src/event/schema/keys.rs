//! The tables themselves. A key that several types have is one constant, so that it means the same in each.

use super::{Key, Kind, Part};

const fn key(name: &'static str, kind: Kind, part: Part, doc: &'static str) -> Key {
    Key { name, kind, nullable: !matches!(kind, Kind::Texts | Kind::Objects(_)), part, doc }
}

/// A key that always has a value.
const fn always(name: &'static str, kind: Kind, part: Part, doc: &'static str) -> Key {
    Key { name, kind, nullable: false, part, doc }
}

const ORG: Key = key(
    "org",
    Kind::Text,
    Part::Seed,
    "Reporting organisation, `report_metadata/org_name`; where that is missing, the domain of `email`, with a warning.",
);
const REPORT_ID: Key = key(
    "report_id",
    Kind::Text,
    Part::Seed,
    "`report_metadata/report_id`, trimmed. Not unique: reporters reuse them, and share them.",
);
const DOMAIN: Key =
    key("domain", Kind::Text, Part::Seed, "`policy_published/domain`, lower case: where the DMARC record was found.");
const BEGIN: Key = key(
    "begin",
    Kind::Time,
    Part::Seed,
    "`date_range/begin`: start of the reported period. Null when missing or no time; then named in `parse_warnings`.",
);
const END: Key = key("end", Kind::Time, Part::Seed, "`date_range/end`: end of the reported period, null as `begin`.");
const INGEST_TIMESTAMP: Key =
    always("ingest_timestamp", Kind::Time, Part::Seed, "When the mail or file was read by this program.");

const EVENT_TYPE: Key =
    always("event_type", Kind::Text, Part::Identity, "`dmarc_aggregate`, `report` or `ingest_error`.");
const SCHEMA_VERSION: Key =
    always("schema_version", Kind::Int, Part::Identity, "1. Within a version keys are only ever added.");
const EVENT_ID: Key = always(
    "event_id",
    Kind::Text,
    Part::Identity,
    "32 hex digits, the same for the same fact whichever mail, run or replica tells it: deduplicate by it.",
);
const TENANT: Key = key("tenant", Kind::Text, Part::Identity, "`tenant` of the configuration; null when not set.");

const ORG_EMAIL: Key = key("org_email", Kind::Text, Part::Told, "`report_metadata/email`.");
const DOCUMENT_SHA256: Key = always(
    "document_sha256",
    Kind::Text,
    Part::Provenance,
    "SHA-256, in hex, of the document as it was inside its archive; in `ingest_error`, of the bytes that could not be \
     read, and null where none were looked at.",
);
const ATTACHMENT: Key = key(
    "attachment",
    Kind::Text,
    Part::Provenance,
    "Name of the attachment or file, as the sender wrote it: data, never a path to follow.",
);
const SOURCE: Key = always("source", Kind::Text, Part::Provenance, "Name of the source in the configuration.");
const MAILBOX: Key = key("mailbox", Kind::Text, Part::Provenance, "Folder of the mailbox, or path of the file.");
const MAIL_UID: Key =
    key("mail_uid", Kind::Int, Part::Provenance, "IMAP UID within `mailbox`; null for what is no mailbox.");
const MAIL_MESSAGE_ID: Key = key("mail_message_id", Kind::Text, Part::Provenance, "Message-ID of the mail.");
const MAIL_FROM: Key = key("mail_from", Kind::Text, Part::Provenance, "From of the mail.");
const MAIL_DATE: Key = key("mail_date", Kind::Time, Part::Provenance, "Date of the mail.");
const PARSE_WARNINGS: Key = key(
    "parse_warnings",
    Kind::Texts,
    Part::Told,
    "What had to be repaired or could not be understood, each `what: detail`: those of the document, then the row's.",
);
const TRUNCATED: Key = always(
    "truncated",
    Kind::Bool,
    Part::Told,
    "True when arrays, long strings or whole keys were cut to fit the sink's largest message.",
);

pub(super) const AGGREGATE: &[Key] = &[
    ORG,
    REPORT_ID,
    DOMAIN,
    key(
        "policy",
        Kind::Text,
        Part::Seed,
        "`policy_published/p`: `none`, `quarantine` or `reject`. Unknown words of this and the other enumerations are \
         kept, in lower case, and named in `parse_warnings`.",
    ),
    key(
        "source_ip",
        Kind::Text,
        Part::Seed,
        "`row/source_ip`, IPv4 or IPv6 in canonical form. Null when missing or no address; then named in \
         `parse_warnings`.",
    ),
    key(
        "count",
        Kind::Int,
        Part::Seed,
        "`row/count`: messages. Null when missing or no number; then named in `parse_warnings`.",
    ),
    key(
        "disposition",
        Kind::Text,
        Part::Seed,
        "`policy_evaluated/disposition`: `none`, `pass`, `quarantine`, `reject`.",
    ),
    key("dkim", Kind::Text, Part::Seed, "`policy_evaluated/dkim`: `pass` or `fail`, alignment included."),
    key("spf", Kind::Text, Part::Seed, "`policy_evaluated/spf`: `pass` or `fail`, alignment included."),
    key("header_from", Kind::Text, Part::Seed, "`identifiers/header_from`: domain of the From address, lower case."),
    BEGIN,
    END,
    key(
        "dkim_domain",
        Kind::Text,
        Part::Seed,
        "`auth_results/dkim/domain` of the signature that explains the verdict: the first passing one that is aligned \
         with `header_from`, else the first passing, else the first. Null without one.",
    ),
    key("dkim_result", Kind::Text, Part::Seed, "`auth_results/dkim/result` of that signature."),
    key(
        "spf_domain",
        Kind::Text,
        Part::Seed,
        "`auth_results/spf/domain` of the SPF result that explains the verdict, chosen likewise, `mfrom` before `helo`.",
    ),
    key("spf_result", Kind::Text, Part::Seed, "`auth_results/spf/result` of that result."),
    INGEST_TIMESTAMP,
    EVENT_TYPE,
    SCHEMA_VERSION,
    EVENT_ID,
    TENANT,
    ORG_EMAIL,
    key("org_contact", Kind::Text, Part::Told, "`report_metadata/extra_contact_info`."),
    key("generator", Kind::Text, Part::Told, "`report_metadata/generator` (RFC 9990)."),
    key("report_version", Kind::Text, Part::Told, "`feedback/version`."),
    key("xml_namespace", Kind::Text, Part::Told, "Namespace of the root element; null when it has none."),
    key("report_errors", Kind::Texts, Part::Told, "`report_metadata/error`, all of them."),
    key("subdomain_policy", Kind::Text, Part::Told, "`policy_published/sp`."),
    key("nonexistent_policy", Kind::Text, Part::Told, "`policy_published/np` (RFC 9990)."),
    key("pct", Kind::Int, Part::Told, "`policy_published/pct` (RFC 7489), percent."),
    key("adkim", Kind::Text, Part::Told, "`policy_published/adkim`: `r` or `s`."),
    key("aspf", Kind::Text, Part::Told, "`policy_published/aspf`: `r` or `s`."),
    key("fo", Kind::Text, Part::Told, "`policy_published/fo`, as told."),
    key("testing", Kind::Text, Part::Told, "`policy_published/testing` (RFC 9990): `y` or `n`."),
    key(
        "discovery_method",
        Kind::Text,
        Part::Told,
        "`policy_published/discovery_method` (RFC 9990): `psl`, `treewalk`.",
    ),
    key("envelope_from", Kind::Text, Part::Told, "`identifiers/envelope_from`, lower case."),
    key("envelope_to", Kind::Text, Part::Told, "`identifiers/envelope_to`, lower case."),
    key("dkim_selector", Kind::Text, Part::Told, "`auth_results/dkim/selector` of the signature of `dkim_domain`."),
    key(
        "spf_scope",
        Kind::Text,
        Part::Told,
        "`auth_results/spf/scope` of the result of `spf_domain`: `mfrom`, `helo`.",
    ),
    key(
        "dmarc_pass",
        Kind::Bool,
        Part::Derived,
        "Whether `dkim` or `spf` is `pass`, the reporter's verdict; null when it tells neither.",
    ),
    key(
        "dkim_aligned",
        Kind::Bool,
        Part::Derived,
        "Whether a passing signature's domain is aligned with `header_from` by `adkim` and the public suffix list: our \
         own reading of `auth_results`. Without signatures false if `dkim` is `fail`; null where too little is told.",
    ),
    key("spf_aligned", Kind::Bool, Part::Derived, "The same of the SPF results, by `aspf`."),
    key(
        "org_domain",
        Kind::Text,
        Part::Derived,
        "Organisational domain of `header_from` by the public suffix list; null when that is a public suffix or no name.",
    ),
    key(
        "policy_effective",
        Kind::Text,
        Part::Derived,
        "The policy that applies: `policy` where `header_from` is `domain`, `subdomain_policy` (or `policy`) below it; \
         else null. `nonexistent_policy` never, since no report says whether a name exists.",
    ),
    key("override_reason", Kind::Text, Part::Derived, "Type of the first of `reasons`."),
    key(
        "failure_class",
        Kind::Text,
        Part::Derived,
        "`pass`; `forwarded`, when `reasons` say so; `misaligned`, when DKIM or SPF passed, but for another domain; \
         `unauthenticated`, when nothing passed. Null where too little is told, or verdict and results contradict.",
    ),
    key(
        "dkim_auth",
        Kind::Objects(&["domain", "selector", "result", "human_result"]),
        Part::Told,
        "All of `auth_results/dkim`, up to `limits.auth_results`.",
    ),
    key(
        "spf_auth",
        Kind::Objects(&["domain", "scope", "result", "human_result"]),
        Part::Told,
        "All of `auth_results/spf`, up to `limits.auth_results`.",
    ),
    key(
        "reasons",
        Kind::Objects(&["type", "comment"]),
        Part::Told,
        "`policy_evaluated/reason`: why the disposition is not what the policy asks for.",
    ),
    always(
        "record_index",
        Kind::Int,
        Part::Provenance,
        "Position of the row among the document's records, from 0, skipped ones counted.",
    ),
    DOCUMENT_SHA256,
    ATTACHMENT,
    SOURCE,
    MAILBOX,
    MAIL_UID,
    MAIL_MESSAGE_ID,
    MAIL_FROM,
    MAIL_DATE,
    PARSE_WARNINGS,
    TRUNCATED,
];

pub(super) const REPORT: &[Key] = &[
    EVENT_TYPE,
    SCHEMA_VERSION,
    EVENT_ID,
    TENANT,
    key(
        "report_type",
        Kind::Text,
        Part::Told,
        "`event_type` of the document's rows: `dmarc_aggregate`; null when it could not be read as a report.",
    ),
    always(
        "outcome",
        Kind::Text,
        Part::Told,
        "`shipped`; `partial`, when rows were lost to damage or limits; `duplicate`, when it was shipped before; \
         `empty`, a report without rows; `unreadable`.",
    ),
    ORG,
    ORG_EMAIL,
    REPORT_ID,
    DOMAIN,
    BEGIN,
    END,
    always("rows", Kind::Int, Part::Told, "Rows shipped; 0 for a duplicate."),
    always("rows_skipped", Kind::Int, Part::Told, "Rows that could not be shipped."),
    always("count_sum", Kind::Int, Part::Told, "Sum of the `count` of the rows shipped: messages."),
    DOCUMENT_SHA256,
    ATTACHMENT,
    SOURCE,
    MAILBOX,
    MAIL_UID,
    MAIL_MESSAGE_ID,
    MAIL_FROM,
    MAIL_DATE,
    INGEST_TIMESTAMP,
    PARSE_WARNINGS,
    TRUNCATED,
];

pub(super) const INGEST_ERROR: &[Key] = &[
    EVENT_TYPE,
    SCHEMA_VERSION,
    EVENT_ID,
    TENANT,
    always("reason", Kind::Text, Part::Told, "Code of what went wrong, of the list below."),
    always("detail", Kind::Text, Part::Told, "What broke, then what was expected. May quote the sender."),
    key("limit_setting", Kind::Text, Part::Told, "Setting of the limit that was hit; null when it was none."),
    key("limit_value", Kind::Int, Part::Told, "Value that the limit had, in the setting's unit."),
    always("suppressed", Kind::Int, Part::Told, "Errors of this source that were held back since the last one told."),
    Key { nullable: true, ..DOCUMENT_SHA256 },
    ATTACHMENT,
    SOURCE,
    MAILBOX,
    MAIL_UID,
    MAIL_MESSAGE_ID,
    MAIL_FROM,
    MAIL_DATE,
    INGEST_TIMESTAMP,
    TRUNCATED,
];
