//! What is done about what broke.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::{
    fault::Fault,
    fetch::Candidate,
    link::Link,
    round::Batch,
    run::{LONGEST_DELAY, Run},
};
use crate::source::SourceError;

/// So long after its last flood a server is as good as any.
const FLOODS_FORGOTTEN: Duration = Duration::from_secs(3600);

/// A session that ends sooner, at the wait for new mail, was of no use. Some proxies end those that are silent for a minute; a login a
/// minute locks no account.
const LASTING: Duration = Duration::from_secs(60);

impl Run {
    /// Something broke: fail where nothing can be gained by another try, else say so once and wait.
    pub(super) fn broke(&mut self, fault: Fault) -> Result<(), SourceError> {
        let now = Instant::now();
        self.count_trouble();
        let is_new = self.trouble.is_none();
        let mut of_no_use = Duration::ZERO;
        if matches!(fault, Fault::Flooded(_)) {
            self.flooded = Some(now);
            // It was listened to all the while.
            if !self.brought_mail {
                of_no_use = self.began.elapsed();
            }
        }
        let patience = self.source.give_up_after.saturating_sub(*self.trouble.get_or_insert(of_no_use));
        let needs_a_person = matches!(fault, Fault::Credentials(_) | Fault::Configuration(_));
        let mut delay = self.backoff.delay();
        if needs_a_person {
            delay = delay.max(LONGEST_DELAY);
        }
        if let Fault::Throttled { wait: Some(wait), .. } = fault {
            delay = delay.max(wait);
        }
        let hopeless = match fault {
            Fault::Throttled { .. } if self.intake.once => patience.is_zero() || delay > patience,
            // A session that is lost may come back; what is refused at the start stays refused.
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
            // Servers do that every hour or day.
            Fault::LoggedOut(_) => info!(source, "{fault}; logging in again"),
            _ if is_new => warn!(source, "{fault}; trying again"),
            _ => debug!(source, "{fault}; trying again in {delay:.0?}"),
        }
        Ok(())
    }

    /// A server may be away for long: what was reserved for its mails is for other sources meanwhile.
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

    /// The next try follows soon, unless the server has flooded us, whatever it did since, or hangs up each time that it is
    /// waited for: it is left alone for longer each time.
    fn begin_anew(&mut self) {
        if !self.hung_up && self.flooded.is_none_or(|at| at.elapsed() > FLOODS_FORGOTTEN) {
            self.backoff.reset();
        }
    }

    /// The server won't let the current folder be looked through. Where it is one of several, they go on without it.
    pub(super) fn folder_failed(&mut self, fault: Fault) -> Result<(), SourceError> {
        if self.tour.is_of_one() || !matches!(fault, Fault::Refused { .. }) {
            return self.broke(fault);
        }
        self.give_back();
        self.round.fail(fault);
        Ok(())
    }

    /// The wait for new mail broke off. Servers end long sessions, so nobody needs to hear of it; what came meanwhile is
    /// looked for as soon as there is a session again.
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

    /// A batch was in the way of an error: its mails are fetched in parts, to find the one at fault. `moves_broke_off`: some went
    /// along, and the server may have broken over those.
    pub(super) fn not_fetched(&mut self, fault: Option<Fault>, moves_broke_off: bool) -> Result<(), SourceError> {
        let Some(fault) = fault else { return Ok(()) };
        let mut missing = self.fetching.take().map(|(missing, _)| missing).unwrap_or_default();
        missing.sort_unstable_by_key(|mail| mail.uid);
        let is_over_moves = moves_broke_off && matches!(fault, Fault::Lost(_) | Fault::Unintelligible(_));
        self.moves_along &= !is_over_moves;
        // No mail is to blame; or if one is, it will break a fetch that no moves go along with.
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
                    // They are to be judged before `give_up_after`.
                    self.begin_anew();
                }
            }
            _ => self.round.retry_apart(missing),
        }
    }

    /// Nothing is left to fetch but mails that did not come, as often as they were tried.
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
