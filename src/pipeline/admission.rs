//! Admission control of one source: wanted domains, the daily share of each sender, and the limit of error events.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::warn;

use crate::{
    config::{Config, senders::Senders},
    domain_name::comparable,
    event::{Provenance, ingest_error::IngestErrorEvent},
    extract::MailAuth,
    flood::{Cost, Flood, Sender, Telling},
    report::values,
    trouble::{Reason, Trouble},
};

/// Admission control in front of one source's reader; lives as long as the process reads the source's mails.
#[derive(Debug)]
pub struct Admission {
    source: Arc<str>,
    /// Policy domains whose reports are wanted; empty means all.
    domains: Vec<String>,
    senders: Senders,
    /// `None`: mails and errors are not counted.
    flood: Option<Flood>,
    errors_per_hour: u64,
    /// The last error whose event was held back.
    held: Option<Failure>,
}

/// An error in reading, with what its `ingest_error` event reports.
#[derive(Debug)]
pub struct Failure {
    pub trouble: Trouble,
    /// SHA-256 of the bytes that could not be read; `None` if there are none, or they were not looked at.
    pub sha256: Option<[u8; 32]>,
    pub provenance: Arc<Provenance>,
    /// The sink that rejected events, if that is the error.
    pub rejected_by: Option<Arc<str>>,
}

impl Admission {
    /// Returns a admission that admits everything and counts nothing: for input that a user asks to be read directly.
    pub fn open() -> Self {
        Self {
            source: "".into(),
            domains: Vec::new(),
            senders: Senders::default(),
            flood: None,
            errors_per_hour: u64::MAX,
            held: None,
        }
    }

    /// Returns the admission of one source. Each source counts by itself, so that a flood in one mailbox does not affect the others.
    pub fn new(source: Arc<str>, config: &Config) -> Self {
        let senders = config.sources.get(&*source).map(|source| source.options().senders().clone()).unwrap_or_default();
        Self {
            source,
            senders,
            domains: config.domains.clone(),
            flood: Some(Flood::new(&config.limits)),
            errors_per_hour: config.limits.errors_per_hour,
            held: None,
        }
    }

    /// Counts a mail before it is opened. Returns the bytes that it may inflate to, of the `most` that any mail may.
    /// `sender` is `None` for input that is not counted.
    ///
    /// # Errors
    ///
    /// The sender is over its share of the day; the mail is to be left for another day.
    pub fn mail(&mut self, sender: Option<&Sender>, bytes: u64, most: u64, now: Timestamp) -> Result<u64, Trouble> {
        let Some(flood) = &mut self.flood else { return Ok(most) };
        say_deferred(&self.source, flood.turn_to(now));
        let Some(sender) = sender else { return Ok(most) };
        flood.mail(sender, bytes).map(|()| flood.inflatable(sender, bytes, most))
    }

    /// Returns the trouble of a mail that inflates to more than [`Admission::mail`] allowed.
    pub fn inflates_too_far(&self, sender: Option<&Sender>) -> Option<Trouble> {
        self.flood.as_ref().zip(sender).map(|(flood, sender)| flood.inflates_too_far(sender))
    }

    /// Returns the authserv-ids, in lower case, of the servers whose `Authentication-Results` are trusted.
    pub fn trusted_authserv_ids(&self) -> &[String] {
        &self.senders.trusted_authserv_ids
    }

    /// Checks that reports of this sender may be read. `auth` is what the trusted servers found.
    ///
    /// # Errors
    ///
    /// Senders have to be authenticated (`require_authenticated`), and this one is not.
    pub fn sender(&self, auth: Option<&MailAuth>) -> Result<(), Trouble> {
        if !self.senders.require_authenticated || auth.is_some_and(|auth| auth.authenticated_domain().is_some()) {
            return Ok(());
        }
        let detail = match auth {
            Some(_) => "none of DMARC, DKIM and SPF passed; expected one of them, as require_authenticated is set",
            None => {
                "no Authentication-Results of a server in trusted_authserv_ids; expected them, as require_authenticated is \
                 set: see docs/imap.md for the name that your server goes by"
            }
        };
        Err(Trouble::new(Reason::SenderNotAuthenticated, detail))
    }

    /// Checks that reports for this policy domain are wanted. If only some domains are, a report that names none is not.
    pub fn domain(&self, domain: Option<&str>) -> Result<(), Trouble> {
        let name = domain.map(values::domain).unwrap_or_default();
        let compared = comparable(&name);
        let is_below = |wanted: &String| {
            compared.strip_suffix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if self.domains.is_empty() || self.domains.iter().any(is_below) {
            return Ok(());
        }
        let detail = match name.chars().take(255).collect::<String>() {
            name if name.is_empty() => "the report names no domain; expected one of domains".to_owned(),
            name => {
                format!("the report is for {name}; expected one of domains, or a subdomain: add it there to ship it")
            }
        };
        Err(Trouble::new(Reason::UnwantedDomain, detail))
    }

    /// Checks that a mail may cost `cost`; called before the first row of a report is shipped.
    ///
    /// # Errors
    ///
    /// The cost does not fit into the sender's share of the day; the mail is to be left for another day.
    pub fn admits(&mut self, sender: Option<&Sender>, cost: &Cost) -> Result<(), Trouble> {
        let (Some(flood), Some(sender)) = (&mut self.flood, sender) else { return Ok(()) };
        flood.admits(sender, cost)
    }

    /// Subtracts the cost of a mail that has been read, or deferred, from its sender's share.
    pub fn charge(&mut self, sender: Option<&Sender>, cost: &Cost, is_deferred: bool) {
        if let (Some(flood), Some(sender)) = (&mut self.flood, sender) {
            flood.charge(sender, cost, is_deferred);
        }
    }

    /// Returns the event of a failure; `None` if it is held back: it is counted, and a later event reports the number.
    pub fn tell(&mut self, sender: Option<&Sender>, failure: Failure) -> Option<IngestErrorEvent> {
        let Some(flood) = &mut self.flood else { return Some(failure.event(0)) };
        match flood.error(failure.trouble.reason, sender, failure.provenance.ingest) {
            Telling::Now { held_back } => {
                self.held = None;
                Some(failure.event(held_back))
            }
            Telling::HeldBack { is_news } => {
                if is_news {
                    warn!(
                        source = &*self.source,
                        "more than limits.errors_per_hour ({}) errors in this hour; suppressing further ingest_error events, \
                         whose mails are still quarantined",
                        self.errors_per_hour
                    );
                }
                self.held = Some(failure);
                None
            }
        }
    }

    /// Returns the event of the last error that was held back, with the number of those before it, and logs deferred mails.
    pub fn close(&mut self) -> Option<IngestErrorEvent> {
        let flood = self.flood.as_mut()?;
        say_deferred(&self.source, flood.end_day());
        let held_back = flood.held_back();
        let last = self.held.take()?;
        warn!(
            source = &*self.source,
            errors = held_back,
            "ingest_error events were suppressed; sending the last one, with their number"
        );
        Some(last.event(held_back.saturating_sub(1)))
    }
}

impl Failure {
    fn event(self, held_back: u64) -> IngestErrorEvent {
        let Self { trouble, sha256, provenance, rejected_by } = self;
        match rejected_by {
            Some(sink) => IngestErrorEvent::rejected_by(sink, trouble, sha256, held_back, provenance),
            None => IngestErrorEvent::new(trouble, sha256, held_back, provenance),
        }
    }
}

fn say_deferred(source: &str, deferred: Vec<(String, u64)>) {
    for (sender, mails) in deferred {
        warn!(source, sender, mails, "deferred mails to another day: the sender exceeded its daily share");
    }
}
