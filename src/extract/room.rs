//! Memory in which one reader holds a container, in addition to the mail itself.
//!
//! A zip or a mail inside another container can only be parsed in memory. But the memory can be freed at any time, since
//! everything can be inflated again. So a reader holds one such container at a time and may be made to drop it at any
//! moment; whoever is reading from it then gets the same bytes by inflating again. That way no reader keeps memory while it
//! waits for anything, and readers can't deadlock on each other.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::Read,
};

use crate::trouble::{Reason, Trouble};

/// Maximum size, in bytes, of a container that is held without reserving memory: reporters nest zips of some kilobytes.
pub const FREE_BYTES: usize = 64 << 10;

/// Source of memory for larger containers.
pub trait Reserve {
    /// Returns an empty reservation, which frees all its memory when dropped.
    fn reservation(&self) -> Box<dyn Reservation>;
}

/// Memory reserved for one container.
pub trait Reservation {
    /// Grows by `bytes`; waits until they are available. The waiting reader holds only the mail and this reservation.
    fn grow(&mut self, bytes: usize);
}

/// Grants every request at once: for a single reader, which needs no more than `limits.mail_bytes`.
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

/// Holds one container at a time.
pub struct Room<'r> {
    reserve: &'r dyn Reserve,
    held: RefCell<Option<Held>>,
    /// Number of containers so far.
    containers: Cell<u64>,
}

/// The bytes of one container, and their memory reservation.
struct Held {
    container: Id,
    bytes: Vec<u8>,
    _reservation: Option<Box<dyn Reservation>>,
}

/// Identifies a container of one mail.
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

    /// Frees the held container and its memory, for a reader that has to wait. Reading on takes longer afterwards, but
    /// returns the same bytes.
    pub fn release(&self) {
        *self.held.borrow_mut() = None;
    }

    /// Number of bytes held.
    pub fn bytes(&self) -> usize {
        self.held.borrow().as_ref().map_or(0, |held| held.bytes.capacity())
    }

    pub(super) fn new_container(&self) -> Id {
        self.containers.set(self.containers.get() + 1);
        Id(self.containers.get())
    }

    /// Reads `input` to its end and holds it as the bytes of `container`, in place of any other. Returns the number of
    /// bytes, or `None` if there are more than `most`, and the trouble that ended `input` early.
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
                    // `input` may be reading from the held container; after this it inflates that container again instead.
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

    /// Calls `look` with the bytes of `container`; `None` if they are not held.
    pub(super) fn look<T>(&self, container: Id, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let held = self.held.borrow();
        held.as_ref().filter(|held| held.container == container).map(|held| look(&held.bytes))
    }
}

/// Typical size of a container, in bytes.
const USUAL_BYTES: usize = 4 << 10;
