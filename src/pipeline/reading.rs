//! Reads one mail and makes its events. Blocks, without sockets: the pipeline runs it on its own thread, `parse` directly.

use std::{
    io::Read,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    admission::{Admission, Failure},
    missing::{Missing, Recipients},
    settlement::Claimed,
    sink_queue::Stopped,
};
use crate::{
    event::{
        Event, Provenance,
        aggregate::{self, AggregateEvent},
        failure::{Addresses, FailureEvent},
        head::Head,
        report::{Outcome, ReportEvent, Tally},
        tls_rpt::{self, TlsRptEvent},
    },
    extract::{self, Document, Envelope, Found, MailAuth, Origin, Room, Unreadable},
    flood::{Cost, Sender},
    ledger::{DocumentKey, ReportName, Shipped},
    limits::Limits,
    report::{self, Report, Scan},
    source::{Place, Verdict},
    trouble::{Reason, Trouble},
};

/// Destination of a mail's events, and record of the documents shipped before.
pub trait Output {
    /// Emits an event; calls `idle` if it has to wait for long.
    fn emit(&mut self, event: Event, recipients: Recipients<'_>, idle: &dyn Fn()) -> Result<(), Stopped>;
    /// Claims a document; `name` is the reporter's name for it.
    fn claim(&mut self, document: &DocumentKey, name: Option<&ReportName>) -> Result<Claimed, Stopped>;
    /// Records that the first `rows` rows of a claimed document have been emitted, and that more follow.
    fn rows_read(&mut self, _document: &DocumentKey, _rows: u64) {}
    /// Records that every row of a claimed document has been emitted.
    fn document_read(&mut self, document: &DocumentKey);
}

/// A mail or report file to be read.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub content: &'a Result<bytes::Bytes, Trouble>,
    pub place: &'a Place,
    pub tenant: Option<&'a str>,
    /// Form in which failure reports show addresses.
    pub addresses: Addresses,
    /// Number of processes that died while reading it, and the maximum.
    pub attempts: Attempts,
    pub now: Timestamp,
}

/// Processes that died ([`Failures::deaths`](crate::ledger::Failures::deaths)), and their maximum (`max_attempts`).
#[derive(Debug, Clone, Copy)]
pub struct Attempts {
    pub made: u32,
    pub most: u32,
}

impl Attempts {
    /// For input whose attempts are not counted.
    pub const FIRST: Self = Self { made: 0, most: u32::MAX };

    fn left(self) -> Result<(), Trouble> {
        if self.made < self.most {
            return Ok(());
        }
        let detail = format!(
            "{} processes died while they were reading this mail, and it was not read again; expected max_attempts ({}) at most: \
             please report it, with the mail where you can",
            self.made, self.most
        );
        Err(Trouble::new(Reason::AttemptsExhausted, detail))
    }
}

/// Result of reading one mail.
#[derive(Debug, Default)]
pub struct Reading {
    /// Documents that this mail shipped, or shares with another mail in flight.
    pub documents: Vec<(DocumentKey, Shipped)>,
    /// Reporters' names for the documents that it shipped, with the documents' hashes.
    pub names: Vec<(ReportName, [u8; 32])>,
    /// Documents that were shipped before.
    pub seen_again: Vec<DocumentKey>,
    /// Number of documents of which nothing was shipped now, because they were shipped before or are in flight.
    pub duplicates: u64,
    /// Number of documents that this run is not to ship.
    pub left: u64,
    /// Set if the sender is over its share of the day: what is not shipped of the mail yet is left for another day.
    pub deferred: Option<Trouble>,
    /// True if the deferral was reported for this mail, and not for an earlier one.
    pub is_news: bool,
    /// Number of reports in mails that a bounce or a receipt returns: they were sent from here, and are not shipped.
    pub returned: u64,
    /// Rows emitted.
    pub rows: u64,
    /// Errors in input that could not be read in full, or was turned away.
    pub troubles: Vec<Trouble>,
    /// Number of these errors that were only counted, without an event.
    pub held_back: usize,
}

impl Reading {
    /// Returns the verdict on the mail; the one place where outcomes become verdicts.
    pub fn verdict(&self) -> Verdict {
        match (self.troubles.first(), self.documents.len() + self.seen_again.len()) {
            _ if self.left > 0 => Verdict::Leave,
            _ if let Some(trouble) = &self.deferred => Verdict::Defer(trouble.clone()),
            (Some(trouble), _) => Verdict::Quarantine(trouble.clone()),
            (None, 0) => Verdict::WithoutReport,
            (None, _) => Verdict::Archive,
        }
    }
}

/// Reads one mail and emits its events. `Err`: a sink has ended or the ledger can't be read, and the mail is to be left as
/// it was. A panic in a reader becomes an `ingest_error`, and the mail is quarantined.
pub fn read(
    mail: Incoming<'_>,
    limits: &Limits,
    admission: &mut Admission,
    room: &Room<'_>,
    output: &mut dyn Output,
) -> Result<Reading, Stopped> {
    let mut reader = Reader {
        mail,
        limits,
        admission,
        room,
        output,
        envelope: Arc::default(),
        mail_auth: None,
        sender: None,
        cost: Cost::default(),
        reading: Reading::default(),
        stopped: false,
    };
    match (mail.content, mail.attempts.left()) {
        (Err(trouble), _) => reader.trouble(reader.provenance(None, None), None, trouble.clone()),
        (Ok(bytes), Err(trouble)) => {
            reader.trouble(reader.provenance(None, None), Some(Sha256::digest(bytes).into()), trouble)
        }
        (Ok(bytes), Ok(())) => {
            if catch_unwind(AssertUnwindSafe(|| reader.walk(bytes))).is_err() {
                let trouble = Trouble::new(
                    Reason::ReaderPanic,
                    "the reader failed on this mail; please report it, with the mail where you can",
                );
                reader.trouble(reader.provenance(None, None), Some(Sha256::digest(bytes).into()), trouble);
            }
        }
    }
    reader.admission.charge(reader.sender.as_ref(), &reader.cost, reader.reading.deferred.is_some());
    if reader.stopped { Err(Stopped) } else { Ok(reader.reading) }
}

struct Reader<'a> {
    mail: Incoming<'a>,
    limits: &'a Limits,
    admission: &'a mut Admission,
    /// Memory for inflated containers; released while a sink is waited for.
    room: &'a Room<'a>,
    output: &'a mut dyn Output,
    envelope: Arc<Envelope>,
    /// Authentication results of trusted servers for the mail's sender.
    mail_auth: Option<Arc<MailAuth>>,
    /// Sender whose share of the day the mail counts against; `None`: it is not counted.
    sender: Option<Sender>,
    /// Cost of the mail to that share.
    cost: Cost,
    reading: Reading,
    /// True once the output has ended: no more events are emitted.
    stopped: bool,
}

impl Reader<'_> {
    fn walk(&mut self, bytes: &[u8]) {
        let place = self.mail.place;
        let origin = match place.is_in_mailbox() {
            true => Origin::Mail,
            false => Origin::File { name: place.path().unwrap_or("-") },
        };
        let mut opened = extract::open(bytes, origin, self.limits);
        self.envelope = opened.envelope();
        self.mail_auth = opened.mail_auth(self.admission.trusted_authserv_ids()).map(Arc::new);
        self.sender = self.sender_of(origin);
        let (size, most) = (bytes.len() as u64, self.limits.mail_inflated_bytes);
        let allowed = match self.admission.mail(self.sender.as_ref(), size, most, self.mail.now) {
            Ok(allowed) => allowed,
            Err(trouble) => return self.defer(trouble),
        };
        self.cost.bytes = size;
        let beyond = self.admission.inflates_too_far(self.sender.as_ref());
        if let Some(beyond) = beyond.clone().filter(|_| allowed < most) {
            opened.allow(allowed, beyond);
        }
        // Reported only for mails that hold a report; other mails are of no concern to this program.
        let mut admitted = Some(self.admission.sender(self.mail_auth.as_deref()));
        let inflated = opened.walk(self.room, &mut |found| match found {
            _ if self.stopped || self.reading.deferred.is_some() => {}
            _ if matches!(admitted, Some(Err(_)) | None) => {
                if let Some(Err(trouble)) = admitted.take() {
                    self.trouble(self.provenance(None, None), None, trouble);
                }
            }
            Found::Document(document) => self.document(&document),
            Found::Returned => self.reading.returned += 1,
            Found::Unreadable(unreadable) => self.not_read(unreadable),
        });
        self.cost.inflated_bytes = inflated.bytes;
        // The last document may have been passed over as no report, because the rest of it was missing.
        if let Some(beyond) = beyond.filter(|_| inflated.is_cut && self.reading.deferred.is_none()) {
            self.defer(beyond);
        }
    }

    /// Returns the sender whose share the mail counts against. `None` for stdin, which does not come again, and for a file
    /// that a person asked for and that is no mail.
    fn sender_of(&self, origin: Origin<'_>) -> Option<Sender> {
        let from = self.envelope.from.as_deref();
        let is_counted = self.mail.place.comes_again() && (from.is_some() || origin == Origin::Mail);
        let authenticated = self.mail_auth.as_deref().and_then(MailAuth::authenticated_domain);
        is_counted.then(|| authenticated.map_or_else(|| Sender::claimed(from), Sender::authenticated))
    }

    /// Reads a document, or each of several that follow one another in it.
    fn document(&mut self, document: &Document<'_>) {
        let scan = report::scan(document.format, || document.open(), self.limits);
        if scan.as_ref().is_ok_and(Scan::is_alone) {
            return self.one(document, scan);
        }
        let mut each = |one: Result<Document<'_>, Trouble>| match one {
            _ if self.stopped || self.reading.deferred.is_some() => {}
            Ok(one) => self.one(&one, report::scan(one.format, || one.open(), self.limits)),
            Err(trouble) => self.unreadable(document, trouble),
        };
        if !document.each_of_several(&mut each) {
            self.one(document, scan);
        }
    }

    fn one(&mut self, document: &Document<'_>, scan: Result<Scan, Trouble>) {
        match scan {
            Ok(Scan { damage: Some(trouble), .. }) | Err(trouble) if trouble.reason == Reason::SenderOverLimit => {
                self.defer(trouble);
            }
            Ok(scan) => self.scanned(document, scan),
            Err(trouble) => self.unreadable(document, trouble),
        }
    }

    /// Ships a document that can be read, unless it was shipped before or is in flight.
    fn scanned(&mut self, document: &Document<'_>, mut scan: Scan) {
        let envelope = self.envelope_of(document);
        scan.report.add_header(&envelope);
        let cost = Cost {
            inflated_bytes: document.inflated(),
            rows: self.cost.rows + scan.rows,
            event_bytes: self.cost.event_bytes.saturating_add(self.event_bytes(&scan, &envelope)),
            ..self.cost
        };
        if let Err(trouble) = self.admit(&scan, &cost) {
            return match trouble.reason {
                Reason::SenderOverLimit => self.defer(trouble),
                _ => self.trouble(self.provenance_of(document), Some(scan.sha256), trouble),
            };
        }
        let provenance = self.provenance_of(document);
        let key = DocumentKey { tenant: provenance.tenant.clone(), sha256: scan.sha256 };
        let name = scan.report.name().map(|told| ReportName::new(provenance.tenant.as_deref(), &told));
        let Ok(claimed) = self.output.claim(&key, name.as_ref()) else {
            self.stopped = true;
            return;
        };
        if matches!(claimed, Claimed::Mine { reuses_name: true, .. }) {
            scan.report.warn(REUSED.into());
        }
        let incomplete = scan.incomplete().cloned();
        let again = scan.held.map_or(Again::Read { is_clean: scan.is_clean }, Again::Held);
        let rows = Rows::of(scan.report, scan.sha256, provenance, self.mail.addresses);
        let head = rows.head().clone();
        match claimed {
            Claimed::Mine { missing, .. } => {
                self.cost = cost;
                let (mut tally, damage) = self.rows(document, rows, again, &key, &missing);
                tally.rows_skipped = scan.skipped;
                let damage = damage.or(incomplete);
                let outcome = outcome_of(&tally, damage.is_some());
                let shipped = self.shipped(&head, tally.rows);
                if missing.is_partial() {
                    let duplicate = ReportEvent::of(head.clone(), Outcome::Duplicate, Tally::default());
                    self.emit(Event::Report(Box::new(duplicate)), Recipients::Having(&missing));
                }
                self.emit(
                    Event::Report(Box::new(ReportEvent::of(head, outcome, tally))),
                    Recipients::Needing(&missing),
                );
                self.output.document_read(&key);
                if let Some(trouble) = damage {
                    self.trouble(self.provenance_of(document), Some(scan.sha256), trouble);
                }
                self.reading.names.extend(name.map(|name| (name, key.sha256)));
                self.reading.documents.push((key, shipped));
            }
            Claimed::NeverShipped => self.reading.left += 1,
            Claimed::InFlight | Claimed::Known => {
                let shipped = self.shipped(&head, scan.rows);
                let duplicate = ReportEvent::of(head, Outcome::Duplicate, Tally::default());
                self.emit(Event::Report(Box::new(duplicate)), Recipients::All);
                // Reported when the document was shipped; counted again so that this mail gets the same verdict as the first one.
                self.reading.troubles.extend(incomplete);
                self.reading.duplicates += 1;
                match claimed {
                    Claimed::InFlight => self.reading.documents.push((key, shipped)),
                    _ => self.reading.seen_again.push(key),
                }
            }
        }
    }

    /// Returns the size in bytes of all events of a report, including what each repeats of the mail.
    fn event_bytes(&self, scan: &Scan, envelope: &Envelope) -> u64 {
        let of_mail = report::of_mail(self.mail_auth.as_deref(), envelope);
        scan.event_bytes.saturating_add(of_mail.saturating_mul(scan.rows))
    }

    /// Checks that a report may be shipped: each domain that it is for is wanted, the events of the mail are not too large,
    /// and its sender may send as much. Called before the document is claimed: one that is turned away must not be claimed.
    fn admit(&mut self, scan: &Scan, cost: &Cost) -> Result<(), Trouble> {
        for domain in scan.report.domains() {
            self.admission.domain(domain)?;
        }
        let most = self.limits.mail_event_bytes;
        if cost.event_bytes > most {
            let what = "the size of the events of the mail's reports, in bytes,";
            return Err(Trouble::over(Reason::TooManyEventBytes, what, "limits.mail_event_bytes", most));
        }
        self.admission.admits(self.sender.as_ref(), cost)
    }

    /// Emits every row to the sinks that need it; rows that no sink needs count in the totals all the same.
    fn rows(
        &mut self,
        document: &Document<'_>,
        rows: Rows,
        again: Again,
        key: &DocumentKey,
        missing: &Missing,
    ) -> (Tally, Option<Trouble>) {
        let (mut tally, limits, arrived) = (Tally::default(), self.limits, missing.arrived());
        let read = match rows {
            Rows::Aggregate(shared) => {
                let mut each = |row: report::Row<'_>| {
                    let event = AggregateEvent::new(shared.clone(), row);
                    tally.add(event.count());
                    self.row(key, tally.rows, missing, || Event::Aggregate(Box::new(event)))
                };
                match again {
                    Again::Held(held) => {
                        held.into_iter().map(each).find(ControlFlow::is_break);
                        Ok(())
                    }
                    Again::Read { is_clean } => report::rows(document.open(), is_clean, limits, &mut each),
                }
            }
            Rows::TlsRpt(shared) => report::tls_rows(document.open(), self.limits, &mut |row| {
                let event = TlsRptEvent::new(shared.clone(), row);
                tally.add(event.sessions());
                self.row(key, tally.rows, missing, || Event::TlsRpt(Box::new(event)))
            }),
            Rows::Failure(event) => {
                tally.add(event.count());
                self.emit(Event::Failure(event), Recipients::Needing(missing));
                Ok(())
            }
        };
        self.reading.rows += tally.rows.saturating_sub(arrived);
        (tally, read.err())
    }

    /// Emits one row. `row` is its number in the document, from 1.
    fn row<'r>(
        &mut self,
        key: &DocumentKey,
        row: u64,
        missing: &Missing,
        event: impl FnOnce() -> Event<'r>,
    ) -> ControlFlow<()> {
        if row <= missing.arrived() {
            return ControlFlow::Continue(());
        }
        self.emit(event(), Recipients::NeedingRow(missing, row));
        if self.stopped {
            return ControlFlow::Break(());
        }
        if row.is_multiple_of(PROGRESS_ROWS) {
            self.output.rows_read(key, row);
        }
        ControlFlow::Continue(())
    }

    /// Leaves the rest of the mail for another day, and reports that.
    fn defer(&mut self, trouble: Trouble) {
        let failure = Failure {
            trouble: trouble.clone(),
            sha256: None,
            provenance: self.provenance(None, None),
            rejected_by: None,
        };
        if let Some(event) = self.admission.tell(self.sender.as_ref(), failure) {
            self.reading.is_news = true;
            self.emit(Event::IngestError(Box::new(event)), Recipients::All);
        }
        self.reading.deferred = Some(trouble);
    }

    fn unreadable(&mut self, document: &Document<'_>, trouble: Trouble) {
        let (attachment, envelope) = (document.attachment.clone(), document.envelope.clone());
        self.not_read(Unreadable { attachment, sha256: hash_of(document), trouble, envelope });
    }

    /// Reports a document that can't be read: one `report` event, for consumers that count documents, and the error.
    fn not_read(&mut self, unreadable: Unreadable) {
        let Unreadable { attachment, sha256, trouble, envelope: inner } = unreadable;
        if trouble.reason == Reason::SenderOverLimit {
            return self.defer(trouble);
        }
        let warnings = inner.as_ref().unwrap_or(&self.envelope).warnings.clone();
        let provenance = self.provenance(attachment, inner);
        self.emit(
            Event::Report(Box::new(ReportEvent::unreadable(&sha256, provenance.clone(), warnings))),
            Recipients::All,
        );
        self.trouble(provenance, Some(sha256), trouble);
    }

    fn trouble(&mut self, provenance: Arc<Provenance>, sha256: Option<[u8; 32]>, trouble: Trouble) {
        let failure = Failure { trouble: trouble.clone(), sha256, provenance, rejected_by: None };
        match self.admission.tell(self.sender.as_ref(), failure) {
            Some(event) => self.emit(Event::IngestError(Box::new(event)), Recipients::All),
            None => self.reading.held_back += 1,
        }
        self.reading.troubles.push(trouble);
    }

    fn emit(&mut self, event: Event, recipients: Recipients<'_>) {
        let room = self.room;
        if !self.stopped && self.output.emit(event, recipients, &|| room.release()).is_err() {
            self.stopped = true;
        }
    }

    /// Header of the mail that a document was in.
    fn envelope_of(&self, document: &Document<'_>) -> Arc<Envelope> {
        document.envelope.clone().unwrap_or_else(|| self.envelope.clone())
    }

    fn provenance_of(&self, document: &Document<'_>) -> Arc<Provenance> {
        self.provenance(document.attachment.clone(), document.envelope.clone())
    }

    /// `inner` is the header of a mail in an archive or mbox, in place of that of the mail or file at hand.
    fn provenance(&self, attachment: Option<String>, inner: Option<Arc<Envelope>>) -> Arc<Provenance> {
        let place = self.mail.place;
        let envelope = inner.as_ref().unwrap_or(&self.envelope);
        let (uid_validity, mail_uid) = place.uid().unzip();
        Arc::new(Provenance {
            tenant: self.mail.tenant.map(str::to_owned),
            source: place.source().to_string(),
            mailbox: place.mailbox().map(str::to_owned),
            mail_uid,
            uid_validity,
            mail_auth: self.mail_auth.clone(),
            mail_message_id: envelope.message_id.clone(),
            mail_from: envelope.from.clone(),
            mail_date: envelope.date.map(|date| date.to_string()),
            attachment,
            ingest: self.mail.now,
        })
    }

    fn shipped(&self, head: &Head, rows: u64) -> Shipped {
        Shipped {
            first_shipped: self.mail.now,
            last_seen: self.mail.now,
            org: head.org().map(str::to_owned),
            report_id: head.report_id().map(str::to_owned),
            rows,
            mail: self.mail.place.to_string(),
        }
    }
}

/// Interval in rows at which the progress of a document is recorded: some tens of milliseconds of work.
const PROGRESS_ROWS: u64 = 1_000;

/// Log message about [`Reading::returned`].
pub const RETURNED: &str = "skipped reports in mails that bounces or receipts return: they were sent from here";

/// Warning in the `report` event of a document that came under another document's name.
const REUSED: &str = "report_id_reused: another report came with the same organisation, domain, report_id and period";

/// Way to the rows of a report that was scanned.
enum Again {
    Held(Vec<report::Row<'static>>),
    Read { is_clean: bool },
}

/// Data from which the events of a report's rows are made.
enum Rows {
    Aggregate(Arc<aggregate::Shared>),
    TlsRpt(Arc<tls_rpt::Shared>),
    /// A failure report has one event, which is this one.
    Failure(Box<FailureEvent>),
}

impl Rows {
    fn of(report: Report, sha256: [u8; 32], provenance: Arc<Provenance>, addresses: Addresses) -> Self {
        match report {
            Report::Aggregate(report) => Rows::Aggregate(aggregate::Shared::new(&report, sha256, provenance)),
            Report::TlsRpt(report) => Rows::TlsRpt(tls_rpt::Shared::new(*report, sha256, provenance)),
            Report::Failure(report) => {
                Rows::Failure(Box::new(FailureEvent::new(&report, sha256, provenance, addresses)))
            }
        }
    }

    fn head(&self) -> &Arc<Head> {
        match self {
            Rows::Aggregate(shared) => shared.head(),
            Rows::TlsRpt(shared) => shared.head(),
            Rows::Failure(event) => event.head(),
        }
    }
}

/// Returns the outcome of a document that could be read: `shipped` and `empty` mean that nothing in it was left out.
fn outcome_of(tally: &Tally, is_incomplete: bool) -> Outcome {
    match (is_incomplete, tally.rows) {
        (true, _) => Outcome::Partial,
        (false, 0) => Outcome::Empty,
        (false, _) => Outcome::Shipped,
    }
}

/// Maximum number of bytes hashed of a document that no reader understood: a bomb is not inflated to its end for it.
const HASHED_BYTES: u64 = 2 << 20;

/// Returns the hash of a document that no reader understood: of what can be decompressed, up to `HASHED_BYTES`.
fn hash_of(document: &Document<'_>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let (mut content, mut chunk) = (document.open().take(HASHED_BYTES), [0; 8192]);
    while let Ok(read @ 1..) = content.read(&mut chunk) {
        hasher.update(&chunk[..read]);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests;
