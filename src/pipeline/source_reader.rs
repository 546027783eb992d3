//! Reader of one source: reads its mails one after the other, and reports what sinks reject of them.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    admission::{Admission, Failure},
    component_metrics::SourceMeter,
    deferred::Deferred,
    handover::{Read, RejectedMail, Reply},
    missing::Recipients,
    pool::Pool,
    reading::{Attempts, Incoming, Output, Reading, read},
    settlement::{Claimed, Route, Settlement},
    sink_queue::{Emitter, Stopped},
    summary::Summary,
};
use crate::{
    config::{Config, FailureReports},
    deliver::MailId,
    event::{Event, failure::Addresses, report::Outcome},
    extract::Room,
    ledger::{DocumentKey, Failures, PlaceVerdict, ReportName},
    limits::Limits,
    ops::condition::Condition,
    source::{Mail, MailRef, Place, Verdict, registry},
    trouble::{Reason, Trouble},
};

/// Capacity of the channel between a source and its reader, in mails; their bytes are bounded by the intake budget. More
/// than a source hands over at once: while it waits to hand one over, it settles none.
pub const MAILS_WAITING: usize = 4_096;

/// Reader of one source's mails, one mail at a time.
pub struct SourceReader {
    pub mails: mpsc::Receiver<Mail>,
    /// Mails read before of which sinks have rejected events.
    pub rejected: mpsc::UnboundedReceiver<RejectedMail>,
    /// Sender of `rejected`, for the settlement.
    pub reader: mpsc::UnboundedSender<RejectedMail>,
    pub verdicts: mpsc::UnboundedSender<(MailRef, Verdict)>,
    pub emitter: Emitter,
    pub meter: SourceMeter,
    pub admission: Admission,
    pub settlement: Arc<Settlement>,
    pub route: Route,
    pub config: Arc<Config>,
    pub summary: Arc<Summary>,
    pub deferred: Arc<Deferred>,
    pub condition: Arc<Condition>,
    pub pool: Pool,
    pub stop: CancellationToken,
    pub dry_run: bool,
}

impl SourceReader {
    /// Reads mails until the source has ended.
    pub async fn run(mut self) {
        loop {
            let first = tokio::select! {
                mail = self.mails.recv() => match mail {
                    Some(mail) => Work::Read(mail),
                    None => break,
                },
                Some(mail) = self.rejected.recv() => Work::Reject(mail),
            };
            let task = tokio::task::spawn_blocking(move || {
                let mut next = Some(first);
                while let Some(work) = next {
                    match work {
                        Work::Read(mail) => self.read(mail),
                        Work::Reject(mail) => self.reject(mail),
                    }
                    self.reject_waiting();
                    next = self.mails.try_recv().ok().map(Work::Read);
                }
                self.emitter.rest();
                self
            });
            // `reading::read` catches the panics of readers; one that gets here is a bug of this file, and the mail stays
            // in place.
            self = task.await.expect("what is left of reading does not panic");
        }
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(event) = self.admission.close() {
                // Ignored: a required sink that has ended has logged its error, and `close` has logged the number of errors
                // held back.
                self.emitter.emit(&Event::IngestError(Box::new(event)), &Recipients::All, &|| {}).ok();
            }
        });
        closing.await.expect("closing words do not panic");
    }

    fn read(&mut self, mail: Mail) {
        let Mail { mail, place, content, permit } = mail;
        let reply = Reply { mail, verdicts: self.verdicts.clone() };
        if self.stop.is_cancelled() {
            return self.settlement.leave(&reply);
        }
        self.meter.mail(content.as_ref().map_or(0, |bytes| bytes.len() as u64));
        let (settlement, route, stop) = (self.settlement.clone(), self.route.clone(), self.stop.clone());
        let opened = settlement.open(&place, &route, &stop, || {
            self.emitter.rest();
            // The mails that this one waits for may be among them.
            self.reject_waiting();
        });
        let Some(id) = opened else { return self.settlement.leave(&reply) };
        self.emitter.begin(id, &place);
        let limits: &Limits = &self.config.limits;
        let now = Timestamp::now();
        let failures = self.settlement.failures(&place, &self.route).unwrap_or_default();
        let undelivered = undelivered(&failures, self.config.max_attempts);
        let content = content.and_then(|bytes| undelivered.clone().map_or(Ok(bytes), Err));
        let incoming = Incoming {
            content: &content,
            place: &place,
            tenant: self.config.tenant_of(place.source()),
            addresses: match self.config.failure_reports {
                FailureReports::Masked => Addresses::Masked,
                FailureReports::Full => Addresses::Full,
            },
            attempts: Attempts { made: self.settlement.attempts(&place), most: self.config.max_attempts },
            now,
        };
        let share = self.pool.share(Handle::current(), self.emitter.bookmark());
        let room = Room::new(&share);
        let mut output = ToSinks {
            mail: id,
            emitter: &mut self.emitter,
            meter: &self.meter,
            settlement: &self.settlement,
            route: &self.route,
            rows_read: None,
        };
        let reading = match undelivered {
            // The `ingest_error` of an earlier pass did not arrive either.
            Some(trouble) if failures.passes > self.config.max_attempts => {
                error!(mail = %place, %trouble, "quarantined without an ingest_error event, which the sinks did not accept either");
                Ok(Reading { troubles: vec![trouble], ..Reading::default() })
            }
            _ => read(incoming, limits, &mut self.admission, &room, &mut output),
        };
        drop((content, permit));
        // Rows that no event of their document follows: its reader has panicked.
        let Ok(reading) = reading.and_then(|reading| self.emitter.flush(&|| {}).map(|()| reading)) else {
            return self.settlement.abandon(id, &reply);
        };
        let mut verdict = reading.verdict();
        self.summary.add(&place, &reading, &verdict);
        if !self.settlement.settles_mails(&self.route) && !matches!(verdict, Verdict::Defer(_)) {
            verdict = Verdict::Leave;
        }
        if matches!(verdict, Verdict::Defer(_)) {
            self.deferred.add(&place, now);
        }
        self.condition.source_moved(place.source());
        let stays = stays(&place, &verdict, &self.config).filter(|_| !self.dry_run);
        let Reading { documents, names, seen_again, .. } = reading;
        let sinks = self.route.keys();
        let (reader, rejected) = (self.reader.clone(), Vec::new());
        let read = Read { reply, place, verdict, documents, sinks, names, seen_again, stays, reader, rejected };
        self.settlement.mail_read(id, self.emitter.mark().clone(), read);
    }

    /// Deals with the mails of which sinks have rejected events.
    fn reject_waiting(&mut self) {
        while let Ok(mail) = self.rejected.try_recv() {
            self.reject(mail);
        }
    }

    /// Reports the events of a mail that sinks have rejected, with one event for each of these sinks to all others, and
    /// quarantines the mail.
    fn reject(&mut self, rejected: RejectedMail) {
        let RejectedMail { mail, place, reply, verdict, sinks } = rejected;
        self.emitter.begin(mail, &place);
        let mut troubles = Vec::new();
        for by in sinks {
            let sink = self.config.sinks.keys().nth(by.sink).map_or("", String::as_str).into();
            let trouble = by.trouble(&sink);
            warn!(mail = %place, sink = &*sink, %trouble, "the sink rejected events of this mail");
            troubles.push(trouble.clone());
            let Some(first) = by.first else { continue };
            let (sha256, provenance) = (first.metadata.document, first.metadata.provenance);
            let failure = Failure { trouble, sha256, provenance, rejected_by: Some(sink) };
            let Some(event) = self.admission.tell(None, failure) else { continue };
            let event = Event::IngestError(Box::new(event));
            self.meter.event(&event);
            if self.emitter.emit(&event, &Recipients::All, &|| {}).is_err() {
                return self.settlement.abandon(mail, &reply);
            }
        }
        let now = match (&verdict, troubles.into_iter().next()) {
            (Verdict::Archive | Verdict::WithoutReport, Some(trouble)) => Verdict::Quarantine(trouble),
            _ => verdict.clone(),
        };
        self.summary.reject(&place, &verdict, &now);
        let stays = stays(&place, &now, &self.config);
        self.settlement.rejections_reported(mail, self.emitter.mark().clone(), now, stays);
        self.emitter.rest();
    }
}

/// Work of a reader.
enum Work {
    Read(Mail),
    Reject(RejectedMail),
}

/// Returns the reason why a mail is not read again: in `most` passes its events did not arrive at the sinks.
fn undelivered(failures: &Failures, most: u32) -> Option<Trouble> {
    let Failures { passes, sinks, .. } = failures;
    (*passes >= most).then(|| {
        let detail = format!(
            "in {passes} passes the events of other mails arrived at {sinks} and those of this one did not, so it was not read \
             again; expected max_attempts ({most}) at most: see in the log what these sinks failed on, and when they take it, \
             move the mail back to have it shipped"
        );
        Trouble::new(Reason::AttemptsExhausted, detail)
    })
}

/// Returns the verdict that the ledger is to remember for a mail that its source leaves in place.
fn stays(place: &Place, verdict: &Verdict, config: &Config) -> Option<PlaceVerdict> {
    let remembered = match verdict {
        Verdict::Archive => PlaceVerdict::Shipped,
        Verdict::Quarantine(_) => PlaceVerdict::Quarantined,
        Verdict::WithoutReport => PlaceVerdict::WithoutReport,
        Verdict::Leave | Verdict::Defer(_) => return None,
    };
    let source = config.sources.get(place.source().as_ref());
    let taken_away = source.is_some_and(|source| registry::kind(source).takes_away(verdict));
    (!taken_away).then_some(remembered)
}

/// [`Output`] of one mail: emits to the sinks, claims documents at the settlement.
struct ToSinks<'a> {
    mail: MailId,
    emitter: &'a mut Emitter,
    meter: &'a SourceMeter,
    settlement: &'a Settlement,
    route: &'a Route,
    /// Rows of a document after which its progress is to be recorded, before its next event: these rows get their numbers when
    /// they are queued, which may have to wait.
    rows_read: Option<(DocumentKey, u64)>,
}

impl Output for ToSinks<'_> {
    fn emit(&mut self, event: Event, recipients: Recipients<'_>, idle: &dyn Fn()) -> Result<(), Stopped> {
        // A mail that this run does not settle is read again later, so its reports are not counted as duplicates.
        let is_duplicate = matches!(&event, Event::Report(report) if report.outcome() == Outcome::Duplicate);
        if is_duplicate && !self.settlement.settles_mails(self.route) {
            return Ok(());
        }
        if let Some((document, rows)) = self.rows_read.take() {
            self.emitter.flush(idle)?;
            self.settlement.rows_read(self.mail, &document, rows, self.emitter.mark());
        }
        self.meter.event(&event);
        self.emitter.emit(&event, &recipients, idle)
    }

    fn claim(&mut self, document: &DocumentKey, name: Option<&ReportName>) -> Result<Claimed, Stopped> {
        self.settlement.claim(self.mail, self.route, document, name)
    }

    fn rows_read(&mut self, document: &DocumentKey, rows: u64) {
        self.rows_read = Some((document.clone(), rows));
    }

    fn document_read(&mut self, document: &DocumentKey) {
        self.settlement.document_read(self.mail, document, self.emitter.mark());
    }
}
