//! Tables of keys. A key of several types is one constant, so that it means the same in each.

use super::key::{Key, Kind, Part};

pub(super) const fn key(name: &'static str, kind: Kind, part: Part, doc: &'static str) -> Key {
    Key { name, kind, nullable: !matches!(kind, Kind::Texts | Kind::Objects(_)), part, doc }
}

/// A key that is never null.
pub(super) const fn always(name: &'static str, kind: Kind, part: Part, doc: &'static str) -> Key {
    Key { name, kind, nullable: false, part, doc }
}

pub(super) const ORG: Key = key(
    "org",
    Kind::Text,
    Part::Seed,
    "Reporting organisation. Aggregate report: `report_metadata/org_name`; if missing, the domain of `email`, with a \
     warning. TLS report: `organization-name`; if missing, the mail's `TLS-Report-Submitter` (RFC 8460 section 5.3), \
     with a warning. Failure report: the host of `Reporting-MTA`, else the server named in `Authentication-Results`, \
     else the domain of the mail's From, with a warning.",
);
pub(super) const REPORT_ID: Key = key(
    "report_id",
    Kind::Text,
    Part::Seed,
    "`report_metadata/report_id` or `report-id`, trimmed. Not unique: a reporter may reuse an id, and several \
     reporters may use the same one.",
);
pub(super) const DOMAIN: Key = key(
    "domain",
    Kind::Text,
    Part::Seed,
    "Domain that the report is about, lower case. Aggregate report: `policy_published/domain`, where the DMARC record \
     was found. TLS report: `policy-domain`; if missing, the mail's `TLS-Report-Domain` (RFC 8460 section 5.3), with a \
     warning. Failure report: `Reported-Domain`. Null in the `report` event of a TLS \
     report with policies for several domains.",
);
pub(super) const BEGIN: Key = key(
    "begin",
    Kind::Time,
    Part::Seed,
    "Start of the reporting period: `date_range/begin` or `start-datetime`; of a failure report, `Arrival-Date`. Null \
     if missing, not a time, or in a time zone that is ambiguous (`CEST`, `IST`); `parse_warnings` names it then. A time \
     without a time zone is read as UTC, and is named as well, as is any other form than that of the standard.",
);
pub(super) const END: Key = key(
    "end",
    Kind::Time,
    Part::Seed,
    "End of the reporting period: `date_range/end` or `end-datetime`; of a failure report, `Arrival-Date`. Null in the \
     same cases as `begin`.",
);
pub(super) const INGEST_TIMESTAMP: Key = always(
    "ingest_timestamp",
    Kind::Time,
    Part::Seed,
    "Time at which this program read the mail or file; of a probe, the time at which it was created.",
);

pub(super) const EVENT_TYPE: Key = always(
    "event_type",
    Kind::Text,
    Part::Identity,
    "`dmarc_aggregate`, `tls_rpt`, `dmarc_failure`, `report`, `ingest_error` or `probe`.",
);
pub(super) const SCHEMA_VERSION: Key =
    always("schema_version", Kind::Int, Part::Identity, "1. Keys are only ever added within a version.");
pub(super) const EVENT_ID: Key = always(
    "event_id",
    Kind::Text,
    Part::Identity,
    "32 hex digits, identical for the same row, report or error in every mail, run and replica. Use it for \
     deduplication.",
);
pub(super) const TENANT: Key =
    key("tenant", Kind::Text, Part::Identity, "`tenant` from the configuration; null if not set.");

pub(super) const ORG_EMAIL: Key = key("org_email", Kind::Text, Part::Told, "`report_metadata/email`.");
pub(super) const DOCUMENT_SHA256: Key = always(
    "document_sha256",
    Kind::Text,
    Part::Provenance,
    "SHA-256, in hex, of the document after decompression. If the document could not be read at all: of its first 2 \
     MiB. In `ingest_error`: of the bytes that could not be read, or of the document of the first rejected event; null if there are \
     none.",
);
pub(super) const ATTACHMENT: Key = key(
    "attachment",
    Kind::Text,
    Part::Provenance,
    "Name of the attachment or file, as the sender wrote it. It is untrusted data: never use it as a path.",
);
pub(super) const SOURCE: Key =
    always("source", Kind::Text, Part::Provenance, "Name of the source in the configuration.");
pub(super) const MAILBOX: Key = key("mailbox", Kind::Text, Part::Provenance, "Mailbox folder, or path of the file.");
pub(super) const MAIL_UID: Key = key(
    "mail_uid",
    Kind::Int,
    Part::Provenance,
    "IMAP UID within `mailbox`; null if the source is not an IMAP mailbox.",
);
pub(super) const MAIL_MESSAGE_ID: Key =
    key("mail_message_id", Kind::Text, Part::Provenance, "`Message-ID` header of the mail.");
pub(super) const MAIL_FROM: Key = key("mail_from", Kind::Text, Part::Provenance, "`From` header of the mail.");
pub(super) const MAIL_DATE: Key = key(
    "mail_date",
    Kind::Time,
    Part::Provenance,
    "`Date` header of the mail. Null if missing or not a time, by the same rules as `begin`; in the latter case the \
     `parse_warnings` of all events of its reports name it.",
);
pub(super) const MAIL_AUTH: Key = key(
    "mail_auth",
    Kind::Objects(&["method", "result", "domain"]),
    Part::Provenance,
    "Authentication results of the mail: `spf`, `dkim` and `dmarc` from the `Authentication-Results` (RFC 8601) of \
     servers in the source's `trusted_authserv_ids`. `domain` is the domain that was checked: for SPF that of MAIL \
     FROM or HELO, for DKIM that of the signer, for DMARC that of From. `[]` if no trusted server added any.",
);
pub(super) const REPORTER_ALIGNED: Key = key(
    "reporter_aligned",
    Kind::Bool,
    Part::Derived,
    "True if a passing result in `mail_auth` is for the organisational domain that the report claims to come from: \
     that of `org_email`; of a TLS report, that of the address in `contact-info`; of a failure report, that of \
     `Reporting-MTA`. Null if there are no results of a trusted server, or the report names no such domain. True says \
     who sent the report, not that its content is true.",
);
pub(super) const PARSE_WARNINGS: Key = key(
    "parse_warnings",
    Kind::Texts,
    Part::Told,
    "Repairs of the report and notes on its values: first those of the document, then those of the row. A repair is \
     `code: explanation: detail` (the detail may be missing), with `, n times` at the end if repeated; a note on a value is \
     `key: explanation`.",
);
pub(super) const TRUNCATED: Key = always(
    "truncated",
    Kind::Bool,
    Part::Told,
    "True if arrays, long strings or whole keys were cut to fit the sink's maximum message size.",
);

pub(super) const SOURCE_IP: Key = key(
    "source_ip",
    Kind::Text,
    Part::Seed,
    "IPv4 or IPv6 address of the sending host, in canonical form: `row/source_ip`, `sending-mta-ip` or `Source-IP`. \
     Null if missing or not an address; in the latter case `parse_warnings` names it.",
);
pub(super) const COUNT: Key = key(
    "count",
    Kind::Int,
    Part::Seed,
    "Number of messages: `row/count`. TLS report: number of sessions; for a failure `failed-session-count`, for a \
     policy the sum of successful and failed sessions, which includes those of its failures. Failure report: \
     `Incidents`, 1 if missing. Null if missing or not a number; in the latter case `parse_warnings` names it.",
);
pub(super) const HEADER_FROM: Key = key(
    "header_from",
    Kind::Text,
    Part::Seed,
    "Domain of the From address, lower case: `identifiers/header_from`; of a failure report, the domain of From in the \
     mail that it is about.",
);
pub(super) const DKIM_DOMAIN: Key = key(
    "dkim_domain",
    Kind::Text,
    Part::Seed,
    "`auth_results/dkim/domain` of the signature that explains the verdict: the first one that passed and is aligned \
     with `header_from`, else the first that passed, else the first. Null without signatures. Failure report: \
     `DKIM-Domain`.",
);
pub(super) const ORG_CONTACT: Key =
    key("org_contact", Kind::Text, Part::Told, "`report_metadata/extra_contact_info` or `contact-info`.");
pub(super) const GENERATOR: Key =
    key("generator", Kind::Text, Part::Told, "`report_metadata/generator` (RFC 9990) or `User-Agent`.");
pub(super) const REPORT_VERSION: Key =
    key("report_version", Kind::Text, Part::Told, "`feedback/version` or `Version`.");
pub(super) const ENVELOPE_FROM: Key = key(
    "envelope_from",
    Kind::Text,
    Part::Told,
    "`identifiers/envelope_from`, or the domain of `Original-Mail-From`, lower case.",
);
pub(super) const DKIM_SELECTOR: Key = key(
    "dkim_selector",
    Kind::Text,
    Part::Told,
    "`auth_results/dkim/selector` of the signature of `dkim_domain`, or `DKIM-Selector`.",
);

pub(super) const EXTENSIONS: Key = key(
    "extensions",
    Kind::Objects(&["path", "namespace", "value"]),
    Part::Told,
    "Elements of an aggregate report that are not in its schema, such as those in RFC 9990's `extension`. A row has \
     those of its record; the `report` event has all others, which the rows do not repeat. One entry per text, in \
     document order. `path` is the path of elements below `feedback` (`record/arc/cv`), with `@` before the name of an \
     attribute; `namespace` is null if it is the report's own; `value` is null without text. About 4 KiB are kept for \
     each row and for the report; `parse_warnings` has `extensions_shortened` if there were more.",
);

pub(super) const AGGREGATE: &[Key] = &[
    ORG,
    REPORT_ID,
    DOMAIN,
    key(
        "policy",
        Kind::Text,
        Part::Seed,
        "`policy_published/p`: `none`, `quarantine` or `reject`. Unknown values of this and other enumerations are \
         kept, in lower case, and named in `parse_warnings`.",
    ),
    SOURCE_IP,
    COUNT,
    key(
        "disposition",
        Kind::Text,
        Part::Seed,
        "`policy_evaluated/disposition`: `none`, `pass`, `quarantine` or `reject`.",
    ),
    key("dkim", Kind::Text, Part::Seed, "`policy_evaluated/dkim`: `pass` or `fail`; includes alignment."),
    key("spf", Kind::Text, Part::Seed, "`policy_evaluated/spf`: `pass` or `fail`; includes alignment."),
    HEADER_FROM,
    BEGIN,
    END,
    DKIM_DOMAIN,
    key("dkim_result", Kind::Text, Part::Seed, "`auth_results/dkim/result` of the signature of `dkim_domain`."),
    key(
        "spf_domain",
        Kind::Text,
        Part::Seed,
        "`auth_results/spf/domain` of the SPF result that explains the verdict, selected in the same way as \
         `dkim_domain`; `mfrom` takes precedence over `helo`.",
    ),
    key("spf_result", Kind::Text, Part::Seed, "`auth_results/spf/result` of the result of `spf_domain`."),
    INGEST_TIMESTAMP,
    EVENT_TYPE,
    SCHEMA_VERSION,
    EVENT_ID,
    TENANT,
    ORG_EMAIL,
    ORG_CONTACT,
    GENERATOR,
    REPORT_VERSION,
    key("xml_namespace", Kind::Text, Part::Told, "Namespace of the root element; null if it has none."),
    key("report_errors", Kind::Texts, Part::Told, "All `report_metadata/error` elements."),
    key("subdomain_policy", Kind::Text, Part::Told, "`policy_published/sp`."),
    key("nonexistent_policy", Kind::Text, Part::Told, "`policy_published/np` (RFC 9990)."),
    key("pct", Kind::Int, Part::Told, "`policy_published/pct` (RFC 7489), in percent."),
    key("adkim", Kind::Text, Part::Told, "`policy_published/adkim`: `r` or `s`."),
    key("aspf", Kind::Text, Part::Told, "`policy_published/aspf`: `r` or `s`."),
    key("fo", Kind::Text, Part::Told, "`policy_published/fo`, as reported."),
    key(
        "testing",
        Kind::Text,
        Part::Told,
        "`policy_published/testing` (RFC 9990): `y` or `n`; tag `t` of the DMARC record.",
    ),
    key(
        "discovery_method",
        Kind::Text,
        Part::Told,
        "`policy_published/discovery_method` (RFC 9990): `psl` or `treewalk`.",
    ),
    ENVELOPE_FROM,
    key("envelope_to", Kind::Text, Part::Told, "`identifiers/envelope_to`, lower case."),
    DKIM_SELECTOR,
    key(
        "spf_scope",
        Kind::Text,
        Part::Told,
        "`auth_results/spf/scope` of the result of `spf_domain`: `mfrom` or `helo`.",
    ),
    key(
        "dmarc_pass",
        Kind::Bool,
        Part::Derived,
        "True if `dkim` or `spf` is `pass`: the reporter's verdict. Null if the report has neither.",
    ),
    key(
        "dkim_aligned",
        Kind::Bool,
        Part::Derived,
        "True if a signature passed and its domain is aligned with `header_from`, by `adkim` and the public suffix \
         list; computed from `auth_results`. Without signatures, false if `dkim` is `fail`. Null if the report has too \
         little data.",
    ),
    key("spf_aligned", Kind::Bool, Part::Derived, "The same for SPF results, by `aspf`."),
    key(
        "org_domain",
        Kind::Text,
        Part::Derived,
        "Organisational domain of `header_from`, by the public suffix list; null if `header_from` is a public suffix \
         or not a domain name.",
    ),
    key(
        "policy_effective",
        Kind::Text,
        Part::Derived,
        "Policy that receivers were asked to apply: `policy` if `header_from` is `domain`; `subdomain_policy` (or \
         `policy`) if it is below `domain`; else null. If `testing` is `y`, one level lower: `quarantine` for \
         `reject`, `none` for `quarantine` (RFC 9989 section 4.7). Never `nonexistent_policy`, since reports do not \
         say whether a name exists.",
    ),
    key("override_reason", Kind::Text, Part::Derived, "Type of the first entry of `reasons`."),
    key(
        "failure_class",
        Kind::Text,
        Part::Derived,
        "`pass`; `forwarded`, if `reasons` say so; `misaligned`, if DKIM or SPF passed, but for another domain; \
         `unauthenticated`, if nothing passed. Null if the report has too little data, or if its verdict and results \
         contradict each other.",
    ),
    key(
        "dkim_auth",
        Kind::Objects(&["domain", "selector", "result", "human_result"]),
        Part::Told,
        "All `auth_results/dkim` entries, at most 64.",
    ),
    key(
        "spf_auth",
        Kind::Objects(&["domain", "scope", "result", "human_result"]),
        Part::Told,
        "All `auth_results/spf` entries, at most 64.",
    ),
    key(
        "reasons",
        Kind::Objects(&["type", "comment"]),
        Part::Told,
        "`policy_evaluated/reason`: why the disposition differs from the policy.",
    ),
    EXTENSIONS,
    always(
        "record_index",
        Kind::Int,
        Part::Provenance,
        "Position of the row among the records of the document, from 0; skipped records count.",
    ),
    DOCUMENT_SHA256,
    ATTACHMENT,
    SOURCE,
    MAILBOX,
    MAIL_UID,
    MAIL_MESSAGE_ID,
    MAIL_FROM,
    MAIL_DATE,
    MAIL_AUTH,
    REPORTER_ALIGNED,
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
        "`event_type` of the document's rows: `dmarc_aggregate`, `tls_rpt` or `dmarc_failure`; null if it could not be \
         read as a report.",
    ),
    always(
        "outcome",
        Kind::Text,
        Part::Told,
        "`shipped`, if everything in the document was read and shipped; `partial`, if something was not: lost to damage \
         or limits, skipped or shortened, as the `ingest_error` after it says; `duplicate`, if it was shipped before; \
         `empty`, if the report has no rows; `unreadable`.",
    ),
    ORG,
    ORG_EMAIL,
    REPORT_ID,
    DOMAIN,
    BEGIN,
    END,
    always("rows", Kind::Int, Part::Told, "Number of rows shipped; 0 for a duplicate."),
    always("rows_skipped", Kind::Int, Part::Told, "Number of rows not shipped because they contain nothing."),
    always(
        "count_sum",
        Kind::Int,
        Part::Told,
        "Sum of `count` over the rows shipped; of a TLS report, over its policies only.",
    ),
    EXTENSIONS,
    DOCUMENT_SHA256,
    ATTACHMENT,
    SOURCE,
    MAILBOX,
    MAIL_UID,
    MAIL_MESSAGE_ID,
    MAIL_FROM,
    MAIL_DATE,
    MAIL_AUTH,
    REPORTER_ALIGNED,
    INGEST_TIMESTAMP,
    PARSE_WARNINGS,
    TRUNCATED,
];

pub(super) const INGEST_ERROR: &[Key] = &[
    EVENT_TYPE,
    SCHEMA_VERSION,
    EVENT_ID,
    TENANT,
    always("reason", Kind::Text, Part::Told, "Error code, from a closed list."),
    always("detail", Kind::Text, Part::Told, "What failed, then what was expected. May quote the sender."),
    key("limit_setting", Kind::Text, Part::Told, "Name of the setting whose limit was exceeded; null if none was."),
    key("limit_value", Kind::Int, Part::Told, "Value of that limit, in the unit of the setting."),
    always(
        "suppressed",
        Kind::Int,
        Part::Told,
        "Number of errors of this source that were suppressed since the previous `ingest_error`.",
    ),
    Key { nullable: true, ..DOCUMENT_SHA256 },
    ATTACHMENT,
    SOURCE,
    MAILBOX,
    MAIL_UID,
    MAIL_MESSAGE_ID,
    MAIL_FROM,
    MAIL_DATE,
    MAIL_AUTH,
    INGEST_TIMESTAMP,
    TRUNCATED,
];
