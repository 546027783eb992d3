//! Rate limits: the daily quota of each sender, and the hourly quota of error events. Pure: the clock is passed in.
//!
//! Anyone may write any From. So a quota does not identify who sent a mail; it bounds the cost of one name, and the memory
//! for names is bounded too. A mail that exceeds the quota is not lost: it is left for another day.
//!
//! A quota ("share") has two pools, each as large as the quota. *Ordinary* mails draw on the first: those that need at most
//! a [`PARTS`]th of the quota. *Large* mails draw on the second. So a flood of large mails, whatever they cost, takes
//! nothing from ordinary ones; and 1,000 ordinary mails use at most half of their pool, so that as much is left for others
//! of the same name.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::{
    domain_name::comparable,
    limits::Limits,
    trouble::{LimitHit, Reason, Trouble},
};

#[cfg(test)]
mod tests;

/// Maximum number of senders with a quota of their own per day; all later ones share one. There are some thousands of
/// reporters in the world, and most domains get reports from some dozens. About a megabyte when full.
pub const SENDERS: usize = 4096;

/// Number of mails of the largest ordinary size that use up a quota: twice the number that may be forged per day under the
/// name of a sender without any harm to its own mails.
pub const PARTS: u64 = 2_000;

/// Maximum length of a domain name (RFC 1035 section 2.3.4).
const DOMAIN_BYTES: usize = 253;

/// Name of `Shares::others` in messages.
const OTHERS: &str = "all later senders of the day";

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// Usage of one source's quotas. Keeps at most [`SENDERS`] names each of authenticated and of claimed senders, for a day.
#[derive(Debug)]
pub struct Flood {
    mails_per_day: u64,
    per_day: Cost,
    errors_per_hour: u64,
    /// Days since 1970, UTC.
    day: i64,
    /// Quotas of authenticated senders, and of all others: a forger uses up nothing of the former.
    authenticated: Shares,
    claimed: Shares,
    /// Hours since 1970, UTC.
    hour: i64,
    /// Error events in this hour.
    errors: u64,
    /// True once it was logged that this hour's quota is used up.
    is_said: bool,
    /// Number of errors held back since the last error event.
    held_back: u64,
}

/// Usage by sender.
#[derive(Debug, Default)]
struct Shares {
    senders: HashMap<Box<str>, Spent>,
    /// Usage of all senders that came when `senders` was full.
    others: Spent,
}

/// The name whose quota a mail uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sender {
    /// An organisational domain, in lower case; empty if the mail has none.
    domain: Box<str>,
    /// True if the mail was authenticated for that domain.
    is_authenticated: bool,
}

/// Cost of a mail, each field against the setting `limits.sender_<field>_per_day`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Size of the mail, in bytes.
    pub bytes: u64,
    /// Size of its decompressed parts, in bytes.
    pub inflated_bytes: u64,
    /// Number of rows of its reports that are shipped.
    pub rows: u64,
    /// Size of their events, in bytes.
    pub event_bytes: u64,
}

/// Usage of one sender on one day.
#[derive(Debug, Default)]
struct Spent {
    mails: u64,
    ordinary: Cost,
    large: Cost,
    /// True if a large mail was read today.
    has_large: bool,
    /// Number of mails that were left for another day.
    deferred: u64,
    /// True if an event has reported that today.
    is_told: bool,
}

/// Decision on an error: emit an event, or hold it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Emit the event, with the number of errors held back since the last one.
    Now { held_back: u64 },
    /// Only count the error; `is_news` for the first one that exceeds the hour's quota.
    HeldBack { is_news: bool },
}

impl Sender {
    /// The sender of a mail with this unverified From address.
    pub fn claimed(from: Option<&str>) -> Self {
        let domain = from.and_then(|from| from.rsplit_once('@')).map_or("", |(_, domain)| domain.trim());
        Self::of(domain, false)
    }

    /// The sender of a mail that was authenticated for this domain, whatever its From is.
    pub fn authenticated(domain: &str) -> Self {
        Self::of(domain, true)
    }

    /// Subdomains use the quota of their organisational domain, since its owner can make any number of them.
    fn of(domain: &str, is_authenticated: bool) -> Self {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if domain.len() > DOMAIN_BYTES {
            return Self { domain: Box::default(), is_authenticated: false };
        }
        let domain = comparable(domain).to_lowercase();
        Self { domain: psl::domain_str(&domain).unwrap_or(&domain).into(), is_authenticated }
    }

    fn name(&self) -> &str {
        if self.domain.is_empty() { "senders without a domain" } else { &self.domain }
    }
}

impl Flood {
    pub fn new(limits: &Limits) -> Self {
        Self {
            mails_per_day: limits.sender_mails_per_day,
            per_day: Cost {
                bytes: limits.sender_bytes_per_day,
                inflated_bytes: limits.sender_inflated_bytes_per_day,
                rows: limits.sender_rows_per_day,
                event_bytes: limits.sender_event_bytes_per_day,
            },
            errors_per_hour: limits.errors_per_hour,
            day: 0,
            authenticated: Shares::default(),
            claimed: Shares::default(),
            hour: 0,
            errors: 0,
            is_said: false,
            held_back: 0,
        }
    }

    /// Sets the current day from `now`. On a new day, resets all quotas and returns the senders of deferred mails, with the
    /// number of those.
    pub fn turn_to(&mut self, now: Timestamp) -> Vec<(String, u64)> {
        let day = day_of(now);
        if day == self.day {
            return Vec::new();
        }
        self.day = day;
        self.end_day()
    }

    /// Resets all quotas and returns the senders of deferred mails, like [`Flood::turn_to`].
    pub fn end_day(&mut self) -> Vec<(String, u64)> {
        let [authenticated, claimed] = [&mut self.authenticated, &mut self.claimed].map(std::mem::take);
        authenticated.deferred().chain(claimed.deferred()).collect()
    }

    /// Counts a mail before it is opened.
    ///
    /// # Errors
    ///
    /// If it does not fit into the sender's quota. It is not counted then, and must be left for another day.
    pub fn mail(&mut self, sender: &Sender, bytes: u64) -> Result<(), Trouble> {
        let most = self.mails_per_day;
        let (name, spent) = self.spent(sender);
        if spent.mails >= most {
            return Err(over("number of mails", name, "limits.sender_mails_per_day", most));
        }
        self.admits(sender, &Cost { bytes, ..Cost::default() })?;
        self.spent(sender).1.mails += 1;
        Ok(())
    }

    /// Checks whether a mail that costs `cost` fits into the rest of the sender's quota.
    ///
    /// The first large mail of a day always fits, whatever it costs: a mail larger than the quota would never be read
    /// otherwise.
    ///
    /// # Errors
    ///
    /// If it does not fit, and must be left for another day.
    pub fn admits(&mut self, sender: &Sender, cost: &Cost) -> Result<(), Trouble> {
        let per_day = self.per_day;
        let (name, spent) = self.spent(sender);
        if cost.is_ordinary(&per_day) && spent.ordinary.and(cost).exceeds(&per_day).is_none() {
            return Ok(());
        }
        match spent.large.and(cost).exceeds(&per_day) {
            Some((what, setting, most)) if spent.has_large => Err(over(what, name, setting, most)),
            _ => Ok(()),
        }
    }

    /// Maximum number of bytes that a mail of `bytes` may inflate to; `most` is the maximum of any mail.
    pub fn inflatable(&mut self, sender: &Sender, bytes: u64, most: u64) -> u64 {
        let per_day = self.per_day;
        let (_, spent) = self.spent(sender);
        if !spent.has_large {
            return most;
        }
        let fits = spent.large.bytes.saturating_add(bytes) <= per_day.bytes;
        let large = if fits { per_day.inflated_bytes.saturating_sub(spent.large.inflated_bytes) } else { 0 };
        most.min(large.max(per_day.inflated_bytes / PARTS))
    }

    /// The trouble of a mail that inflates to more than [`Flood::inflatable`].
    pub fn inflates_too_far(&self, sender: &Sender) -> Trouble {
        let what = "decompressed size in bytes of mails";
        over(what, sender.name(), "limits.sender_inflated_bytes_per_day", self.per_day.inflated_bytes)
    }

    /// Charges a mail's cost to the quota, after it has been read. A deferred mail is charged to the pool of large mails
    /// only, so that ordinary mails are not held up, however many deferred ones return each day.
    pub fn charge(&mut self, sender: &Sender, cost: &Cost, is_deferred: bool) {
        let per_day = self.per_day;
        let (_, spent) = self.spent(sender);
        spent.deferred += u64::from(is_deferred);
        let ordinary = spent.ordinary.and(cost);
        if !is_deferred && cost.is_ordinary(&per_day) && ordinary.exceeds(&per_day).is_none() {
            spent.ordinary = ordinary;
        } else {
            spent.large = spent.large.and(cost);
            spent.has_large |= *cost != Cost::default();
        }
    }

    /// Decides whether an error becomes an event at `now`. That a sender exceeds its quota is reported once a day.
    pub fn error(&mut self, reason: Reason, sender: Option<&Sender>, now: Timestamp) -> Telling {
        let hour = now.as_second().div_euclid(HOUR);
        if hour != self.hour {
            (self.hour, self.errors, self.is_said) = (hour, 0, false);
        }
        let over = sender.filter(|_| reason == Reason::SenderOverLimit);
        let was_told = over.is_some_and(|sender| self.spent(sender).1.is_told);
        if was_told || self.errors >= self.errors_per_hour {
            self.held_back += 1;
            return Telling::HeldBack { is_news: !was_told && !std::mem::replace(&mut self.is_said, true) };
        }
        if let Some(sender) = over {
            self.spent(sender).1.is_told = true;
        }
        self.errors += 1;
        Telling::Now { held_back: std::mem::take(&mut self.held_back) }
    }

    /// Number of errors held back since the last error event.
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    /// Returns the usage that a sender is charged to, and the name of all who share it.
    fn spent<'s>(&'s mut self, sender: &'s Sender) -> (&'s str, &'s mut Spent) {
        let shares = if sender.is_authenticated { &mut self.authenticated } else { &mut self.claimed };
        if shares.senders.contains_key(&sender.domain) || shares.senders.len() < SENDERS {
            (sender.name(), shares.senders.entry(sender.domain.clone()).or_default())
        } else {
            (OTHERS, &mut shares.others)
        }
    }
}

impl Shares {
    /// Names of senders with deferred mails, and the number of those mails.
    fn deferred(self) -> impl Iterator<Item = (String, u64)> {
        let name = |domain: Box<str>| Sender { domain, is_authenticated: false }.name().to_owned();
        let senders = self.senders.into_iter().map(move |(domain, spent)| (name(domain), spent.deferred));
        senders.chain([(OTHERS.to_owned(), self.others.deferred)]).filter(|(_, deferred)| *deferred > 0)
    }
}

impl Cost {
    fn and(&self, more: &Cost) -> Cost {
        Cost {
            bytes: self.bytes.saturating_add(more.bytes),
            inflated_bytes: self.inflated_bytes.saturating_add(more.inflated_bytes),
            rows: self.rows.saturating_add(more.rows),
            event_bytes: self.event_bytes.saturating_add(more.event_bytes),
        }
    }

    /// True if this is the cost of an ordinary mail; `per_day` is the quota of a day.
    fn is_ordinary(&self, per_day: &Cost) -> bool {
        let of = |share: u64| share / PARTS;
        let largest = Cost {
            bytes: of(per_day.bytes),
            inflated_bytes: of(per_day.inflated_bytes),
            rows: of(per_day.rows),
            event_bytes: of(per_day.event_bytes),
        };
        self.exceeds(&largest).is_none()
    }

    /// Returns the first item that exceeds `most`: its name, its setting, and its maximum.
    fn exceeds(&self, most: &Cost) -> Option<(&'static str, &'static str, u64)> {
        let items = [
            (self.bytes, most.bytes, "size in bytes of mails", "limits.sender_bytes_per_day"),
            (
                self.inflated_bytes,
                most.inflated_bytes,
                "decompressed size in bytes of mails",
                "limits.sender_inflated_bytes_per_day",
            ),
            (self.rows, most.rows, "number of rows", "limits.sender_rows_per_day"),
            (self.event_bytes, most.event_bytes, "size in bytes of events", "limits.sender_event_bytes_per_day"),
        ];
        items.into_iter().find(|(spent, most, ..)| spent > most).map(|(_, most, what, setting)| (what, setting, most))
    }
}

/// Returns the number of days since 1970, UTC.
pub fn day_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(DAY)
}

fn over(what: &str, name: &str, setting: &'static str, limit: u64) -> Trouble {
    let detail = format!(
        "the {what} from {name} today (UTC) exceeds {limit}; the mail is left for another day; raise {setting} to \
         read more per day"
    );
    Trouble { limit: Some(LimitHit { setting, value: limit }), ..Trouble::new(Reason::SenderOverLimit, detail) }
}
