//! Queue of actions on mails: what is due now, and what becomes due while commands for it are under way.

use std::{
    collections::{BTreeMap, VecDeque},
    task::{Context, Poll},
};

use futures::{Stream, stream};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    settle::Action,
    uids::{Set, sets},
};

/// UIDs by the action that is due.
pub struct Due {
    mails: BTreeMap<Action, Vec<u32>>,
    more: UnboundedReceiver<Vec<(u32, Action)>>,
}

impl Due {
    pub fn of(first: Vec<(u32, Action)>, more: UnboundedReceiver<Vec<(u32, Action)>>) -> Self {
        let mut due = Self { mails: BTreeMap::new(), more };
        due.add(first);
        due
    }

    pub fn add(&mut self, more: impl IntoIterator<Item = (u32, Action)>) {
        more.into_iter().for_each(|(uid, action)| self.mails.entry(action).or_default().push(uid));
    }

    /// Returns the next action and its UID sets; `None` if nothing is due now.
    pub fn next(&mut self) -> Option<(Action, Vec<Set>)> {
        while let Ok(more) = self.more.try_recv() {
            self.add(more);
        }
        let (action, uids) = self.mails.pop_first()?;
        Some((action, sorted(uids)))
    }

    /// Yields the sets in `first`, and then those of mails for which `action` becomes due.
    pub fn sets(&mut self, action: Action, first: Vec<Set>) -> impl Stream<Item = Set> {
        let mut sets = VecDeque::from(first);
        stream::poll_fn(move |cx| {
            while sets.is_empty() {
                match self.poll_more(action, cx) {
                    Poll::Ready(more) => sets.extend(more),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(sets.pop_front())
        })
    }

    fn poll_more(&mut self, action: Action, cx: &mut Context<'_>) -> Poll<Vec<Set>> {
        while let Poll::Ready(Some(more)) = self.more.poll_recv(cx) {
            self.add(more);
        }
        self.mails.remove(&action).map_or(Poll::Pending, |uids| Poll::Ready(sorted(uids)))
    }
}

fn sorted(mut uids: Vec<u32>) -> Vec<Set> {
    uids.sort_unstable();
    sets(&uids)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn what_becomes_due_while_the_same_is_done_follows_at_once_and_what_is_another_thing_later() {
        let (sender, more) = unbounded_channel();
        let mut due = Due::of(vec![(3, Action::Archive), (1, Action::Archive), (2, Action::Quarantine)], more);
        let (action, first) = due.next().unwrap();
        {
            let mut sets = due.sets(action, first);
            let mut next = || sets.next().now_or_never().map(|set| set.unwrap().text);
            assert_eq!((next(), next()), (Some("1,3".into()), None));
            sender.send(vec![(7, Action::Delete), (6, Action::Archive), (5, Action::Archive)]).unwrap();
            assert_eq!((next(), next()), (Some("5:6".into()), None));
        }
        sender.send(vec![(9, Action::Quarantine)]).unwrap();
        let rest: Vec<(Action, String)> =
            std::iter::from_fn(|| due.next()).map(|(action, sets)| (action, sets[0].text.clone())).collect();
        assert_eq!(rest, [(Action::Quarantine, "2,9".into()), (Action::Delete, "7".into())]);
    }
}
