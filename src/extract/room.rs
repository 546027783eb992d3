//! The memory that one reader holds containers in, beside the mail itself.
//!
//! A zip or a mail inside another container can only be understood from memory. It is never needed there: whatever was
//! inflated can be inflated again. So a reader holds one such container at a time, and may be told at any moment to drop
//! it; who reads on from it reads the same bytes out of what it came from. That way no reader keeps memory while it waits
//! for anything, and readers can't wait for each other.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::Read,
};

use crate::trouble::{Reason, Trouble};

/// A container up to this size, in bytes, is held without asking for memory: reporters nest zips of some kilobytes.
pub const FREE_BYTES: usize = 64 << 10;

/// Where the memory for larger containers comes from.
pub trait Reserve {
    /// An empty reservation, which gives back all that it has when it is dropped.
    fn reservation(&self) -> Box<dyn Reservation>;
}

/// Memory that one container may take.
pub trait Reservation {
    /// Waits until `bytes` more may be taken. Whoever waits here holds nothing but the mail and what this reservation has.
    fn grow(&mut self, bytes: usize);
}

/// Gives whatever is asked for, at once: for one reader on its own, which needs no more than `limits.mail_bytes`.
#[derive(Debug)]
pub struct Unshared;

impl Reserve for Unshared {
    fn reservation(&self) -> Box<dyn Reservation> {
        Box::new(Self)
    }
}

impl Reservation for Unshared {
    fn grow(&mut self, _: usize) {}
}

/// Room for one container at a time.
pub struct Room<'r> {
    reserve: &'r dyn Reserve,
    held: RefCell<Option<Held>>,
    /// Containers so far.
    containers: Cell<u64>,
}

/// The bytes of one container, and the memory that they take.
struct Held {
    container: Id,
    bytes: Vec<u8>,
    _reservation: Option<Box<dyn Reservation>>,
}

/// A container of one mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u64);

impl fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl<'r> Room<'r> {
    pub fn new(reserve: &'r dyn Reserve) -> Self {
        Self { reserve, held: RefCell::new(None), containers: Cell::new(0) }
    }

    /// Drops what is held and gives its memory back: for a reader that has to wait. Costs it some time afterwards, and
    /// changes nothing of what it reads.
    pub fn release(&self) {
        *self.held.borrow_mut() = None;
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.held.borrow().as_ref().map_or(0, |held| held.bytes.capacity())
    }

    pub(super) fn new_container(&self) -> Id {
        self.containers.set(self.containers.get() + 1);
        Id(self.containers.get())
    }

    /// Holds all of `input` as the bytes of `container`, instead of what was held before. Gives their number, and what
    /// ended them early; `None` when there are more than `most`.
    pub(super) fn hold(&self, container: Id, mut input: impl Read, most: usize) -> (Option<usize>, Option<Trouble>) {
        let mut reservation = None;
        let mut bytes = Vec::new();
        let failure = loop {
            if bytes.len() == bytes.capacity() {
                let more = bytes.len().max(USUAL_BYTES).min(most.saturating_add(1).saturating_sub(bytes.len()));
                if more == 0 {
                    return (None, None);
                }
                if bytes.len() + more > FREE_BYTES {
                    // What `input` reads from may be held; it is read from what that came out of instead.
                    self.release();
                    let new = bytes.capacity() + more;
                    let reservation = reservation.get_or_insert_with(|| self.reserve.reservation());
                    reservation.grow(if bytes.capacity() > FREE_BYTES { more } else { new });
                }
                bytes.reserve_exact(more);
            }
            let room = (bytes.capacity() - bytes.len()) as u64;
            match (&mut input).take(room).read_to_end(&mut bytes) {
                Ok(read) if (read as u64) < room => break None,
                Ok(_) => {}
                Err(error) => break Some(Trouble::from_io(&error, Reason::NotAReport)),
            }
        };
        if bytes.len() > most {
            return (None, failure);
        }
        let length = bytes.len();
        *self.held.borrow_mut() = Some(Held { container, bytes, _reservation: reservation });
        (Some(length), failure)
    }

    pub(super) fn holds(&self, container: Id) -> bool {
        self.held.borrow().as_ref().is_some_and(|held| held.container == container)
    }

    /// Lets `look` see the bytes of `container`; `None`: they are not held.
    pub(super) fn look<T>(&self, container: Id, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let held = self.held.borrow();
        held.as_ref().filter(|held| held.container == container).map(|held| look(&held.bytes))
    }
}

/// What a usual container comes to.
const USUAL_BYTES: usize = 4 << 10;
