//! How much of a flood is dealt with: each sender's share of a day, and errors an hour. Pure: the clock is passed in.
//!
//! Anyone may write any From. So a share says nothing about who sent a mail; it bounds what one name can cost, and what is
//! remembered of names is bounded too.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::{
    limits::Limits,
    trouble::{Reason, Trouble},
};

#[cfg(test)]
mod tests;

/// Senders that have a share of their own in a day; later ones have one together. The reporters of the world are some
/// thousands, and most domains hear of some dozens. About a megabyte when full.
pub const SENDERS: usize = 4096;

/// A domain name has at most 253 bytes (RFC 1035 section 2.3.4).
const DOMAIN_BYTES: usize = 253;

/// What `Flood::others` is called.
const OTHERS: &str = "all later senders of the day";

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// What was spent of one source's shares. Remembers at most [`SENDERS`] names, for a day.
#[derive(Debug)]
pub struct Flood {
    mails_per_day: u64,
    bytes_per_day: u64,
    rows_per_day: u64,
    errors_per_hour: u64,
    /// Days since 1970, UTC.
    day: i64,
    senders: HashMap<Sender, Spent>,
    /// Of all senders who came when `senders` was full.
    others: Spent,
    /// Hours since 1970, UTC.
    hour: i64,
    /// Told in this hour.
    errors: u64,
    /// Whether it has been said that this hour has no room for more.
    is_said: bool,
    /// Since the last one that was told.
    held_back: u64,
}

/// Who a mail says it is from: an organisational domain, in lower case; empty where the mail names none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sender(Box<str>);

/// One sender's day.
#[derive(Debug, Default)]
struct Spent {
    mails: u64,
    bytes: u64,
    rows: u64,
    /// Mails and reports that did not fit.
    turned_away: u64,
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
    /// The sender of a mail with this From address. Subdomains share with the domain they were made below, since anyone
    /// who has one can make any number of them.
    pub fn of(from: Option<&str>) -> Self {
        let domain = from.and_then(|from| from.rsplit_once('@')).map_or("", |(_, domain)| domain.trim());
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if domain.len() > DOMAIN_BYTES {
            return Self(Box::default());
        }
        let domain = domain.to_lowercase();
        Self(psl::domain_str(&domain).unwrap_or(&domain).into())
    }
}

impl Flood {
    pub fn new(limits: &Limits) -> Self {
        Self {
            mails_per_day: limits.sender_mails_per_day,
            bytes_per_day: limits.sender_bytes_per_day,
            rows_per_day: limits.sender_rows_per_day,
            errors_per_hour: limits.errors_per_hour,
            day: 0,
            senders: HashMap::new(),
            others: Spent::default(),
            hour: 0,
            errors: 0,
            is_said: false,
            held_back: 0,
        }
    }

    /// Makes `now`'s the day of what follows. When that is another day than before, all shares are whole again, and who was
    /// turned away comes back, with the number of mails and reports.
    pub fn turn_to(&mut self, now: Timestamp) -> Vec<(String, u64)> {
        let day = now.as_second().div_euclid(DAY);
        if day == self.day {
            return Vec::new();
        }
        self.day = day;
        self.end_day()
    }

    /// Makes all shares whole again; who was turned away comes back, as from [`Flood::turn_to`].
    pub fn end_day(&mut self) -> Vec<(String, u64)> {
        let spent = self.senders.drain().map(|(sender, spent)| (sender.name().to_owned(), spent));
        let others = (OTHERS.to_owned(), std::mem::take(&mut self.others));
        let all = spent.chain([others]).map(|(name, spent)| (name, spent.turned_away));
        all.filter(|(_, turned_away)| *turned_away > 0).collect()
    }

    /// Counts a mail of so many bytes.
    ///
    /// # Errors
    ///
    /// It does not fit into the sender's share, is not counted, and is not to be read.
    pub fn mail(&mut self, sender: &Sender, bytes: u64) -> Result<(), Trouble> {
        let (mails_per_day, bytes_per_day) = (self.mails_per_day, self.bytes_per_day);
        let (name, spent) = self.spent(sender);
        let all = spent.bytes.saturating_add(bytes);
        if spent.mails >= mails_per_day {
            return Err(spent.over("number of mails", name, "limits.sender_mails_per_day", mails_per_day));
        }
        if all > bytes_per_day {
            return Err(spent.over("size in bytes of mails", name, "limits.sender_bytes_per_day", bytes_per_day));
        }
        spent.mails += 1;
        spent.bytes = all;
        Ok(())
    }

    /// Counts the rows of a report before the first of them is shipped: all or none.
    ///
    /// # Errors
    ///
    /// They do not fit into the sender's share, are not counted, and are not to be shipped.
    pub fn rows(&mut self, sender: &Sender, rows: u64) -> Result<(), Trouble> {
        let limit = self.rows_per_day;
        let (name, spent) = self.spent(sender);
        let all = spent.rows.saturating_add(rows);
        if all > limit {
            return Err(spent.over("number of rows", name, "limits.sender_rows_per_day", limit));
        }
        spent.rows = all;
        Ok(())
    }

    /// Rows that were counted before, and were not shipped after all.
    pub fn give_back(&mut self, sender: &Sender, rows: u64) {
        let (_, spent) = self.spent(sender);
        spent.rows = spent.rows.saturating_sub(rows);
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

    /// The spending of a sender, and what to call who it is shared with.
    fn spent<'s>(&'s mut self, sender: &'s Sender) -> (&'s str, &'s mut Spent) {
        if self.senders.contains_key(sender) || self.senders.len() < SENDERS {
            (sender.name(), self.senders.entry(sender.clone()).or_default())
        } else {
            (OTHERS, &mut self.others)
        }
    }
}

impl Sender {
    fn name(&self) -> &str {
        if self.0.is_empty() { "senders without a domain" } else { &self.0 }
    }
}

impl Spent {
    fn over(&mut self, what: &str, name: &str, setting: &'static str, limit: u64) -> Trouble {
        self.turned_away += 1;
        let what = format!("the {what} from {name} today (UTC)");
        Trouble::over(Reason::SenderOverLimit, what, setting, limit)
    }
}
