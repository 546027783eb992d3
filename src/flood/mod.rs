//! Each sender's share of a day, and the errors told in an hour. Pure: the clock is passed in.
//!
//! Anyone may write any From. So a share says nothing about who sent a mail; it bounds what one name can cost, and the
//! memory for names is bounded too. What a share has no room for is not lost: it is left for another day.
//!
//! A share has two pools, each as large as the share. *Ordinary* mails take from the first: those that need no more than
//! [`PARTS`] times would use the share up. *Large* mails take from the second. So a flood of large mails, whatever they
//! cost, takes nothing from ordinary ones; and 1,000 ordinary mails take half of their pool at the most, so that as much
//! is left for others of the same name.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::{
    limits::Limits,
    trouble::{LimitHit, Reason, Trouble},
};

#[cfg(test)]
mod tests;

/// Senders that have a share of their own in a day; later ones have one together. The reporters of the world are some
/// thousands, and most domains hear of some dozens. About a megabyte when full.
pub const SENDERS: usize = 4096;

/// So many mails of the largest ordinary size use up a share: twice as many as may be forged in a day under the name of
/// a sender without any harm to its own mails.
pub const PARTS: u64 = 2_000;

/// A domain name has at most 253 bytes (RFC 1035 section 2.3.4).
const DOMAIN_BYTES: usize = 253;

/// The name of `Shares::others`.
const OTHERS: &str = "all later senders of the day";

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// The spending of one source's shares. Remembers at most [`SENDERS`] names of either kind, for a day.
#[derive(Debug)]
pub struct Flood {
    mails_per_day: u64,
    per_day: Cost,
    errors_per_hour: u64,
    /// Days since 1970, UTC.
    day: i64,
    /// Of senders whose mails were authenticated, and of all others: a forger takes nothing from the former.
    authenticated: Shares,
    claimed: Shares,
    /// Hours since 1970, UTC.
    hour: i64,
    /// Told in this hour.
    errors: u64,
    /// Whether it has been said that this hour has no room for more.
    is_said: bool,
    /// Since the last one that was told.
    held_back: u64,
}

/// Shares by name.
#[derive(Debug, Default)]
struct Shares {
    senders: HashMap<Box<str>, Spent>,
    /// Of all senders who came when `senders` was full.
    others: Spent,
}

/// The name that a mail takes a share under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sender {
    /// An organisational domain, in lower case; empty where the mail names none.
    domain: Box<str>,
    /// Whether the mail was proved to be from that domain.
    is_authenticated: bool,
}

/// What a mail costs, each against the setting `limits.sender_<field>_per_day`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Size of the mail.
    pub bytes: u64,
    /// Size of what came out of its compressed parts.
    pub inflated_bytes: u64,
    /// Rows of its reports that are shipped.
    pub rows: u64,
    /// Size of their events.
    pub event_bytes: u64,
}

/// One sender's day.
#[derive(Debug, Default)]
struct Spent {
    mails: u64,
    ordinary: Cost,
    large: Cost,
    /// Whether a large mail was read today.
    has_large: bool,
    /// Mails that were left for another day.
    deferred: u64,
    /// Whether that has been told today.
    is_told: bool,
}

/// Whether an error becomes an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// With the number of those held back since the last one.
    Now { held_back: u64 },
    /// It is counted; `is_news` for the first that the hour has no room for.
    HeldBack { is_news: bool },
}

impl Sender {
    /// The sender of a mail with this From address, which anyone may write.
    pub fn claimed(from: Option<&str>) -> Self {
        let domain = from.and_then(|from| from.rsplit_once('@')).map_or("", |(_, domain)| domain.trim());
        Self::of(domain, false)
    }

    /// The sender of a mail that was proved to be from this domain, whatever its From says.
    pub fn authenticated(domain: &str) -> Self {
        Self::of(domain, true)
    }

    /// Subdomains share with the domain they were made below, since anyone who has one can make any number of them.
    fn of(domain: &str, is_authenticated: bool) -> Self {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if domain.len() > DOMAIN_BYTES {
            return Self { domain: Box::default(), is_authenticated: false };
        }
        let domain = domain.to_lowercase();
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

    /// Makes `now`'s the day of what follows. When that is another day than before, all shares are whole again, and the
    /// senders of deferred mails come back, with their number.
    pub fn turn_to(&mut self, now: Timestamp) -> Vec<(String, u64)> {
        let day = day_of(now);
        if day == self.day {
            return Vec::new();
        }
        self.day = day;
        self.end_day()
    }

    /// Makes all shares whole again; senders of deferred mails come back, as from [`Flood::turn_to`].
    pub fn end_day(&mut self) -> Vec<(String, u64)> {
        let [authenticated, claimed] = [&mut self.authenticated, &mut self.claimed].map(std::mem::take);
        authenticated.deferred().chain(claimed.deferred()).collect()
    }

    /// Counts a mail before it is opened.
    ///
    /// # Errors
    ///
    /// It does not fit into the sender's share, is not counted, and is to be left for another day.
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

    /// Whether a mail that comes to `cost` fits into what is left of the sender's share.
    ///
    /// The first large mail of a day fits whatever it costs: what is larger than a share would never be read.
    ///
    /// # Errors
    ///
    /// It does not, and is to be left for another day.
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

    /// The most that a mail of so many bytes may inflate to, of `most` that any may.
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

    /// The trouble of a mail that inflates further.
    pub fn inflates_too_far(&self, sender: &Sender) -> Trouble {
        let what = "size in bytes of what is in the mails";
        over(what, sender.name(), "limits.sender_inflated_bytes_per_day", self.per_day.inflated_bytes)
    }

    /// Takes a mail's cost from the share, once it has been read. One that is deferred takes from the pool of large mails
    /// only: however many of them come again each day, ordinary ones are not held up.
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

    /// Whether an error is to be told at `now`. That a sender is over its share is told once a day.
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

    /// Errors held back since the last one was told.
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    /// The spending of a sender, and the name of all who share it.
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
    /// Names of senders with deferred mails, and the number of those.
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

    /// Whether it is the cost of an ordinary mail, by the share of a day.
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

    /// The first item that is beyond `most`: its name, its setting, and how much it may be.
    fn exceeds(&self, most: &Cost) -> Option<(&'static str, &'static str, u64)> {
        let items = [
            (self.bytes, most.bytes, "size in bytes of mails", "limits.sender_bytes_per_day"),
            (
                self.inflated_bytes,
                most.inflated_bytes,
                "size in bytes of what is in the mails",
                "limits.sender_inflated_bytes_per_day",
            ),
            (self.rows, most.rows, "number of rows", "limits.sender_rows_per_day"),
            (self.event_bytes, most.event_bytes, "size in bytes of events", "limits.sender_event_bytes_per_day"),
        ];
        items.into_iter().find(|(spent, most, ..)| spent > most).map(|(_, most, what, setting)| (what, setting, most))
    }
}

/// The day that a time is in, counted from 1970, UTC.
pub fn day_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(DAY)
}

fn over(what: &str, name: &str, setting: &'static str, limit: u64) -> Trouble {
    let detail = format!(
        "the {what} from {name} today (UTC) exceeds {limit}; the mail is left for another day: raise {setting} to have more \
         read in one"
    );
    Trouble { limit: Some(LimitHit { setting, value: limit }), ..Trouble::new(Reason::SenderOverLimit, detail) }
}
