//! Tables of keys. A key of several types is one constant, so that it means the same in each.

use super::{Key, Kind, Part};

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
    "Reporting organisation: `report_metadata/org_name`, and where that is missing, the domain of `email`, with a warning. \
     Of a TLS report `organization-name`; of a failure report the host of `Reporting-MTA`, else whose \
     `Authentication-Results` they are, else the domain of the mail's From, with a warning.",
);
pub(super) const REPORT_ID: Key = key(
    "report_id",
    Kind::Text,
    Part::Seed,
    "`report_metadata/report_id` or `report-id`, trimmed. Not unique: reporters reuse them, and share them.",
);
pub(super) const DOMAIN: Key = key(
    "domain",
    Kind::Text,
    Part::Seed,
    "The domain that the report is for, lower case: `policy_published/domain`, where the DMARC record was found; of a TLS \
     report `policy-domain`; of a failure report `Reported-Domain`. In the `report` event of a TLS report null when its \
     policies are for several.",
);
pub(super) const BEGIN: Key = key(
    "begin",
    Kind::Time,
    Part::Seed,
    "Start of the reported period: `date_range/begin`, `start-datetime`; of a failure report `Arrival-Date`. Null when \
     missing, or no time: then `parse_warnings` name it.",
);
pub(super) const END: Key = key(
    "end",
    Kind::Time,
    Part::Seed,
    "End of the reported period: `date_range/end`, `end-datetime`; of a failure report `Arrival-Date`. Null as \
     `begin`.",
);
pub(super) const INGEST_TIMESTAMP: Key = always(
    "ingest_timestamp",
    Kind::Time,
    Part::Seed,
    "When the mail or file was read by this program; of a probe, when it was made.",
);

pub(super) const EVENT_TYPE: Key = always(
    "event_type",
    Kind::Text,
    Part::Identity,
    "`dmarc_aggregate`, `tls_rpt`, `dmarc_failure`, `report`, `ingest_error` or `probe`.",
);
pub(super) const SCHEMA_VERSION: Key =
    always("schema_version", Kind::Int, Part::Identity, "1. Within a version keys are only ever added.");
pub(super) const EVENT_ID: Key = always(
    "event_id",
    Kind::Text,
    Part::Identity,
    "32 hex digits, the same for the same fact whichever mail, run or replica tells it: deduplicate by it.",
);
pub(super) const TENANT: Key =
    key("tenant", Kind::Text, Part::Identity, "`tenant` of the configuration; null when not set.");

pub(super) const ORG_EMAIL: Key = key("org_email", Kind::Text, Part::Told, "`report_metadata/email`.");
pub(super) const DOCUMENT_SHA256: Key = always(
    "document_sha256",
    Kind::Text,
    Part::Provenance,
    "SHA-256, in hex, of the document as it was inside its archive; of one that could not be read at all, of its first \
     2 MiB. In `ingest_error`, of the bytes that could not be read, and null where none were looked at.",
);
pub(super) const ATTACHMENT: Key = key(
    "attachment",
    Kind::Text,
    Part::Provenance,
    "Name of the attachment or file, as the sender wrote it: data, never a path to follow.",
);
pub(super) const SOURCE: Key =
    always("source", Kind::Text, Part::Provenance, "Name of the source in the configuration.");
pub(super) const MAILBOX: Key =
    key("mailbox", Kind::Text, Part::Provenance, "Folder of the mailbox, or path of the file.");
pub(super) const MAIL_UID: Key =
    key("mail_uid", Kind::Int, Part::Provenance, "IMAP UID within `mailbox`; null for what is no mailbox.");
pub(super) const MAIL_MESSAGE_ID: Key = key("mail_message_id", Kind::Text, Part::Provenance, "Message-ID of the mail.");
pub(super) const MAIL_FROM: Key = key("mail_from", Kind::Text, Part::Provenance, "From of the mail.");
pub(super) const MAIL_DATE: Key = key("mail_date", Kind::Time, Part::Provenance, "Date of the mail.");
pub(super) const MAIL_AUTH: Key = key(
    "mail_auth",
    Kind::Objects(&["method", "result", "domain"]),
    Part::Provenance,
    "How the mail was authenticated: the results of `spf`, `dkim` and `dmarc` in the `Authentication-Results` (RFC 8601) of \
     servers in the source's `trusted_authserv_ids`, with the domain that each is for: of SPF that of MAIL FROM, or HELO; of \
     DKIM the signer's; of DMARC that of From. `[]` when no such server said anything.",
);
pub(super) const REPORTER_ALIGNED: Key = key(
    "reporter_aligned",
    Kind::Bool,
    Part::Derived,
    "Whether one of the results of `mail_auth` that passed is for the organisational domain that the report says it comes \
     from: that of `org_email`; of a TLS report that of the address in `contact-info`; of a failure report that of \
     `Reporting-MTA`. Null when no trusted server said anything, or the report names no such domain. True does not make \
     the report true: it says who sent it.",
);
pub(super) const PARSE_WARNINGS: Key = key(
    "parse_warnings",
    Kind::Texts,
    Part::Told,
    "What had to be repaired or could not be understood, each `what: detail`: those of the document, then the row's.",
);
pub(super) const TRUNCATED: Key = always(
    "truncated",
    Kind::Bool,
    Part::Told,
    "True when arrays, long strings or whole keys were cut to fit the sink's largest message.",
);

pub(super) const SOURCE_IP: Key = key(
    "source_ip",
    Kind::Text,
    Part::Seed,
    "Address that the mail was sent from, IPv4 or IPv6 in canonical form: `row/source_ip`, `sending-mta-ip`, \
     `Source-IP`. Null when missing, or no address: then `parse_warnings` name it.",
);
pub(super) const COUNT: Key = key(
    "count",
    Kind::Int,
    Part::Seed,
    "`row/count`: messages. Of a TLS report sessions: of a failure `failed-session-count`; of a policy successful \
     and failed ones together, which those of its failures are among. Of a failure report `Incidents`, and 1 \
     without. Null when missing, or no number: then `parse_warnings` name it.",
);
pub(super) const HEADER_FROM: Key = key(
    "header_from",
    Kind::Text,
    Part::Seed,
    "Domain of the From address, lower case: `identifiers/header_from`; of a failure report, that of the mail that \
     it is about.",
);
pub(super) const DKIM_DOMAIN: Key = key(
    "dkim_domain",
    Kind::Text,
    Part::Seed,
    "`auth_results/dkim/domain` of the signature that explains the verdict: the first passing one that is aligned \
     with `header_from`, else the first passing, else the first. Null without one. Of a failure report \
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
    "Elements of an aggregate report that its schema does not have, such as those of RFC 9990's `extension`: of a row those in \
     its record, of a `report` all others, which its rows do not repeat. An entry for each text, in the order of the document: \
     `path` names the elements around it within `feedback` (`record/arc/cv`), of an attribute with its name behind `@`; \
     `namespace` is null where it is the report's; `value` is null where there is no text. Some 4 KiB are kept of each; \
     `parse_warnings` say `extensions_shortened` when there were more.",
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
    SOURCE_IP,
    COUNT,
    key(
        "disposition",
        Kind::Text,
        Part::Seed,
        "`policy_evaluated/disposition`: `none`, `pass`, `quarantine`, `reject`.",
    ),
    key("dkim", Kind::Text, Part::Seed, "`policy_evaluated/dkim`: `pass` or `fail`, alignment included."),
    key("spf", Kind::Text, Part::Seed, "`policy_evaluated/spf`: `pass` or `fail`, alignment included."),
    HEADER_FROM,
    BEGIN,
    END,
    DKIM_DOMAIN,
    key("dkim_result", Kind::Text, Part::Seed, "`auth_results/dkim/result` of that signature."),
    key(
        "spf_domain",
        Kind::Text,
        Part::Seed,
        "`auth_results/spf/domain` of the SPF result that explains the verdict, chosen likewise, `mfrom` before \
         `helo`.",
    ),
    key("spf_result", Kind::Text, Part::Seed, "`auth_results/spf/result` of that result."),
    INGEST_TIMESTAMP,
    EVENT_TYPE,
    SCHEMA_VERSION,
    EVENT_ID,
    TENANT,
    ORG_EMAIL,
    ORG_CONTACT,
    GENERATOR,
    REPORT_VERSION,
    key("xml_namespace", Kind::Text, Part::Told, "Namespace of the root element; null when it has none."),
    key("report_errors", Kind::Texts, Part::Told, "`report_metadata/error`, all of them."),
    key("subdomain_policy", Kind::Text, Part::Told, "`policy_published/sp`."),
    key("nonexistent_policy", Kind::Text, Part::Told, "`policy_published/np` (RFC 9990)."),
    key("pct", Kind::Int, Part::Told, "`policy_published/pct` (RFC 7489), percent."),
    key("adkim", Kind::Text, Part::Told, "`policy_published/adkim`: `r` or `s`."),
    key("aspf", Kind::Text, Part::Told, "`policy_published/aspf`: `r` or `s`."),
    key("fo", Kind::Text, Part::Told, "`policy_published/fo`, as told."),
    key(
        "testing",
        Kind::Text,
        Part::Told,
        "`policy_published/testing` (RFC 9990): `y` or `n`, the tag `t` of the DMARC record.",
    ),
    key(
        "discovery_method",
        Kind::Text,
        Part::Told,
        "`policy_published/discovery_method` (RFC 9990): `psl`, `treewalk`.",
    ),
    ENVELOPE_FROM,
    key("envelope_to", Kind::Text, Part::Told, "`identifiers/envelope_to`, lower case."),
    DKIM_SELECTOR,
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
        "Organisational domain of `header_from` by the public suffix list; null when that is a public suffix or no \
         name.",
    ),
    key(
        "policy_effective",
        Kind::Text,
        Part::Derived,
        "The policy that receivers were asked to apply: `policy` where `header_from` is `domain`, `subdomain_policy` (or \
         `policy`) below it; else null. Where `testing` is `y` it is one level lower: `quarantine` for `reject`, `none` for \
         `quarantine` (RFC 9989 section 4.7). `nonexistent_policy` never, since no report says whether a name exists.",
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
    EXTENSIONS,
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
        "`event_type` of the document's rows: `dmarc_aggregate`, `tls_rpt` or `dmarc_failure`; null when it could not be read \
         as a report.",
    ),
    always(
        "outcome",
        Kind::Text,
        Part::Told,
        "`shipped`; `partial`, when rows were lost to damage or limits, or say nothing; `duplicate`, when it was shipped before; \
         `empty`, a report without rows; `unreadable`.",
    ),
    ORG,
    ORG_EMAIL,
    REPORT_ID,
    DOMAIN,
    BEGIN,
    END,
    always("rows", Kind::Int, Part::Told, "Rows shipped; 0 for a duplicate."),
    always("rows_skipped", Kind::Int, Part::Told, "Rows that were not shipped, as they say nothing."),
    always(
        "count_sum",
        Kind::Int,
        Part::Told,
        "Sum of the `count` of the rows shipped; of a TLS report, of those of its policies.",
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
    MAIL_AUTH,
    INGEST_TIMESTAMP,
    TRUNCATED,
];
