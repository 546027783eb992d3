//! What one source lets in: reports for wanted domains, as much as a sender may send, and as many errors as can be told.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::warn;

use crate::{
    config::{Config, senders::Senders, source::SourceConfig},
    event::{Provenance, ingest_error::IngestErrorEvent},
    extract::MailAuth,
    flood::{Cost, Flood, Sender, Telling},
    report::values,
    trouble::{Reason, Trouble},
};

/// Stands before the reading of one source's mails; lives as long as the process reads them.
#[derive(Debug)]
pub struct Gate {
    source: Arc<str>,
    /// Policy domains whose reports are wanted; empty: all.
    domains: Vec<String>,
    senders: Senders,
    /// `None`: nothing is counted.
    flood: Option<Flood>,
    errors_per_hour: u64,
    /// The last error that was held back.
    held: Option<Failure>,
}

/// What is told of one thing that could not be read.
#[derive(Debug)]
pub struct Failure {
    pub trouble: Trouble,
    /// SHA-256 of the bytes that could not be read; `None` where there are none, or they were not looked at.
    pub sha256: Option<[u8; 32]>,
    pub provenance: Arc<Provenance>,
}

impl Gate {
    /// Lets everything in, and counts nothing: for what a user asks to be read here and now.
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

    /// The gate of one source: each counts on its own, so that a flood in one mailbox leaves the others alone.
    pub fn new(source: Arc<str>, config: &Config) -> Self {
        let senders = config.sources.get(&*source).map(SourceConfig::senders).cloned().unwrap_or_default();
        Self {
            source,
            senders,
            domains: config.domains.clone(),
            flood: Some(Flood::new(&config.limits)),
            errors_per_hour: config.limits.errors_per_hour,
            held: None,
        }
    }

    /// Counts a mail before it is opened, and gives the most that it may inflate to, of `most` that any may. `sender` is
    /// `None` for what is not counted.
    ///
    /// # Errors
    ///
    /// Its sender is over its share of the day, and it is to be left for another.
    pub fn mail(&mut self, sender: Option<&Sender>, bytes: u64, most: u64, now: Timestamp) -> Result<u64, Trouble> {
        let Some(flood) = &mut self.flood else { return Ok(most) };
        say_deferred(&self.source, flood.turn_to(now));
        let Some(sender) = sender else { return Ok(most) };
        flood.mail(sender, bytes).map(|()| flood.inflatable(sender, bytes, most))
    }

    /// The trouble of a mail that inflates to more than [`Gate::mail`] allowed.
    pub fn inflates_too_far(&self, sender: Option<&Sender>) -> Option<Trouble> {
        self.flood.as_ref().zip(sender).map(|(flood, sender)| flood.inflates_too_far(sender))
    }

    /// The servers whose word on a mail's sender counts, by their authserv-ids in lower case.
    pub fn trusted_authserv_ids(&self) -> &[String] {
        &self.senders.trusted_authserv_ids
    }

    /// Whether reports of this sender may be read. `auth` is what the trusted servers said.
    ///
    /// # Errors
    ///
    /// Senders have to be authenticated, and this one is not.
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

    /// Whether reports for this policy domain are wanted. Where only some domains' are, one that names none isn't.
    pub fn domain(&self, domain: Option<&str>) -> Result<(), Trouble> {
        let name = domain.map(values::domain).unwrap_or_default();
        let is_below = |wanted: &String| {
            name.strip_suffix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
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

    /// Whether a mail may come to `cost`, asked before the first row of a report is shipped.
    ///
    /// # Errors
    ///
    /// It does not fit into the sender's share of the day, and is to be left for another.
    pub fn admits(&mut self, sender: Option<&Sender>, cost: &Cost) -> Result<(), Trouble> {
        let (Some(flood), Some(sender)) = (&mut self.flood, sender) else { return Ok(()) };
        flood.admits(sender, cost)
    }

    /// Takes the cost of a mail that has been read, or deferred, from its sender's share.
    pub fn charge(&mut self, sender: Option<&Sender>, cost: &Cost, is_deferred: bool) {
        if let (Some(flood), Some(sender)) = (&mut self.flood, sender) {
            flood.charge(sender, cost, is_deferred);
        }
    }

    /// The event of a failure; `None`: it is counted, and a later one tells the number.
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
                        "more than limits.errors_per_hour ({}) errors in this hour; further ones are counted, and their \
                         mails quarantined as ever",
                        self.errors_per_hour
                    );
                }
                self.held = Some(failure);
                None
            }
        }
    }

    /// Says what has not been said: the last error that was held back, with the number of those before it.
    pub fn close(&mut self) -> Option<IngestErrorEvent> {
        let flood = self.flood.as_mut()?;
        say_deferred(&self.source, flood.end_day());
        let held_back = flood.held_back();
        let last = self.held.take()?;
        warn!(
            source = &*self.source,
            errors = held_back,
            "errors were held back; the last one is told, with their number"
        );
        Some(last.event(held_back.saturating_sub(1)))
    }
}

impl Failure {
    fn event(self, held_back: u64) -> IngestErrorEvent {
        IngestErrorEvent::new(self.trouble, self.sha256, held_back, self.provenance)
    }
}

fn say_deferred(source: &str, deferred: Vec<(String, u64)>) {
    for (sender, mails) in deferred {
        warn!(source, sender, mails, "mails were left for another day: their sender was over its share of this one");
    }
}
