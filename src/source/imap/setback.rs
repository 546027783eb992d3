//! Error handling: retry, reconnect, or give up.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::{fault::Fault, fetch::Candidate, link::Link, round::Batch, run::Run};
use crate::{net::backoff::MAIL_SERVER, source::SourceError};

/// Time after its last flood from which a server is treated like any other.
const FLOODS_FORGOTTEN: Duration = Duration::from_secs(3600);

/// Age below which a session that ends during the wait for new mail counts as useless. Some proxies close connections that
/// are silent for a minute; a login per minute locks no account.
const LASTING: Duration = Duration::from_secs(60);

impl Run {
    /// Handles a fault: fails the run if a retry can't help, otherwise logs it once and schedules a retry.
    pub(super) fn broke(&mut self, fault: Fault) -> Result<(), SourceError> {
        let now = Instant::now();
        self.count_trouble();
        let is_new = self.trouble.is_none();
        let mut of_no_use = Duration::ZERO;
        if matches!(fault, Fault::Flooded(_)) {
            self.flooded = Some(now);
            // The whole session was spent on receiving the flood.
            if !self.brought_mail {
                of_no_use = self.began.elapsed();
            }
        }
        let patience = self.source.give_up_after.saturating_sub(*self.trouble.get_or_insert(of_no_use));
        let needs_a_person = matches!(fault, Fault::Credentials(_) | Fault::Configuration(_));
        let mut delay = self.backoff.delay();
        if needs_a_person {
            // Servers lock accounts.
            delay = delay.max(MAIL_SERVER.longest);
        }
        if let Fault::Throttled { wait: Some(wait), .. } = fault {
            delay = delay.max(wait);
        }
        let hopeless = match fault {
            Fault::Throttled { .. } if self.intake.once => patience.is_zero() || delay > patience,
            // A lost session may come back; an error at the start is treated as permanent.
            Fault::Lost(_) | Fault::LoggedOut(_) if self.intake.once && self.opened => patience.is_zero(),
            _ if self.intake.once => !self.looked || needs_a_person || patience.is_zero(),
            Fault::Configuration(_) => !self.looked,
            _ => false,
        };
        if hopeless {
            return Err(fault.into());
        }
        if self.stopping {
            self.round.forget_due();
        }
        self.intake.troubled(&self.source.name, &fault.to_string());
        self.link = Link::Down;
        self.refused = needs_a_person;
        self.give_back();
        if self.intake.once {
            delay = delay.min(patience);
        }
        self.retry_at = now + delay;
        let source = &*self.source.name;
        match fault {
            // Normal: servers do that every hour or day.
            Fault::LoggedOut(_) => info!(source, "{fault}; logging in again"),
            _ if is_new => warn!(source, "{fault}; trying again"),
            _ => debug!(source, "{fault}; trying again in {delay:.0?}"),
        }
        Ok(())
    }

    /// Returns the reserved bytes to the budget for other sources: a server may be away for long.
    fn give_back(&mut self) {
        let reserved = self.reservation.take().map(|(batch, _)| batch);
        let granted = self.granted.take().map(|(batch, _)| batch);
        for batch in granted.into_iter().chain(reserved) {
            self.round.put_back(batch);
        }
    }

    pub(super) fn works(&mut self) {
        self.begin_anew();
        if self.trouble.take().is_some() {
            info!(source = &*self.source.name, "the mailbox can be worked with again");
        }
    }

    /// Resets the retry delay, unless the server has flooded us recently, whatever it did since, or closes the connection
    /// during each wait for new mail: then the delay grows each time.
    fn begin_anew(&mut self) {
        if !self.hung_up && self.flooded.is_none_or(|at| at.elapsed() > FLOODS_FORGOTTEN) {
            self.backoff.reset();
        }
    }

    /// Handles a refusal to read the current folder. If it is one of several, the others are still read.
    pub(super) fn folder_failed(&mut self, fault: Fault) -> Result<(), SourceError> {
        if self.tour.is_of_one() || !matches!(fault, Fault::Refused { .. }) {
            return self.broke(fault);
        }
        self.give_back();
        self.round.fail(fault);
        Ok(())
    }

    /// Handles a fault during the wait for new mail. Servers end long sessions, so that is not logged as an error; mail
    /// that arrived meanwhile is found as soon as there is a session again.
    pub(super) fn wait_failed(&mut self, fault: Fault) -> Result<(), SourceError> {
        if matches!(fault, Fault::Lost(_)) {
            self.hung_up = !self.brought_mail && self.began.elapsed() < LASTING;
            if !self.hung_up {
                self.begin_anew();
            }
        }
        match fault {
            Fault::Refused { .. } => {
                self.idles = Some(false);
                self.say_once("the server refuses IDLE, which it offers; it is asked every poll_interval instead");
                Ok(())
            }
            Fault::Lost(_) if self.backoff.is_fresh() => {
                debug!(source = &*self.source.name, "{fault}, while it was waited for new mail");
                self.retry_at = Instant::now() + self.backoff.delay();
                Ok(())
            }
            fault => self.broke(fault),
        }
    }

    /// Handles a failed batch: its mails are fetched in parts, to find the one at fault. `moves_broke_off`: moves were
    /// pipelined with it and not completed, so the server may have failed at those.
    pub(super) fn not_fetched(&mut self, fault: Option<Fault>, moves_broke_off: bool) -> Result<(), SourceError> {
        let Some(fault) = fault else { return Ok(()) };
        let mut missing = self.fetching.take().map(|(missing, _)| missing).unwrap_or_default();
        missing.sort_unstable_by_key(|mail| mail.uid);
        let is_over_moves = moves_broke_off && matches!(fault, Fault::Lost(_) | Fault::Unintelligible(_));
        self.moves_along &= !is_over_moves;
        // No mail is to blame; or if one is, it will also fail in a FETCH without moves.
        let is_excused = is_over_moves || matches!(fault, Fault::Throttled { .. });
        match is_excused && !self.stopping {
            true => self.round.put_back(Batch { mails: missing, refused: None }),
            false => self.try_again(missing, &fault),
        }
        if fault.leaves_session() { Ok(()) } else { self.broke(fault) }
    }

    pub(super) fn try_again(&mut self, missing: Vec<Candidate>, fault: &Fault) {
        match (&missing[..], fault) {
            _ if self.stopping => {}
            (_, Fault::LoggedOut(_)) if self.round.excuse() => self.round.retry_apart(missing),
            ([mail], Fault::Oversize { announced, .. }) => self.round.resize(*mail, *announced),
            ([mail], _) => {
                self.round.suspects.accuse(*mail, fault.to_string());
                if self.round.suspects.are_likely() {
                    // So that they are decided on before `give_up_after`.
                    self.begin_anew();
                }
            }
            _ => self.round.retry_apart(missing),
        }
    }

    /// Decides on the mails that failed `max_attempts` times, when nothing else is left to fetch.
    pub(super) fn judge_suspects(&mut self) {
        let source = &*self.source.name;
        let (convicted, left, why) = self.round.judge();
        if convicted > 0 {
            warn!(source, mails = convicted, "mails can't be fetched, though others can; they are quarantined unread");
        }
        if left > 0 {
            error!(
                source,
                mails = left,
                "mails can't be fetched, and others neither: {why}; they stay for the next pass"
            );
        }
    }
}
