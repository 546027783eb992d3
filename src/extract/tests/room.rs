//! Memory held in addition to the mail: one container at a time, reserved before use, and dropped at any time on request.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use proptest::{prelude::*, sample::select};

use super::{
    properties::{Around::*, pack},
    *,
};

/// Counts memory that is reserved and freed.
#[derive(Default)]
struct Counted {
    taken: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
}

struct Taken {
    mine: usize,
    taken: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
}

impl Reserve for Counted {
    fn reservation(&self) -> Box<dyn Reservation> {
        Box::new(Taken { mine: 0, taken: self.taken.clone(), most: self.most.clone() })
    }
}

impl Reservation for Taken {
    fn grow(&mut self, bytes: usize) {
        // A reader that waits here holds no other memory.
        assert_eq!(self.taken.get(), self.mine);
        self.mine += bytes;
        self.taken.set(self.mine);
        self.most.set(self.most.get().max(self.mine));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - self.mine);
    }
}

/// A report of some 200 KB that compresses badly.
fn large_report() -> Vec<u8> {
    let mut state = 1u64;
    let mut report = b"<feedback><report_metadata>".to_vec();
    while report.len() < 200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        report.extend_from_slice(format!("<x>{state:016x}</x>").as_bytes());
    }
    report
}

/// Returns all findings, read to their end in pieces; the room is released before every `every`-th piece.
fn read_with_releases(input: &[u8], room: &Room<'_>, every: usize, held: &mut usize) -> Vec<(Option<String>, Vec<u8>)> {
    let (mut all, mut pieces) = (Vec::new(), 0usize);
    let limits = Limits { nesting: 20, ..Limits::default() };
    open(input, Origin::File { name: "x" }, &limits).walk(room, &mut |found| {
        let Found::Document(document) = found else { panic!("{found:?}") };
        let (mut bytes, mut piece) = (Vec::new(), [0; 5000]);
        let mut reader = document.open();
        loop {
            pieces += 1;
            *held = room.bytes().max(*held);
            if every > 0 && pieces.is_multiple_of(every) {
                room.release();
                assert_eq!(room.bytes(), 0);
            }
            match reader.read(&mut piece).unwrap() {
                0 => break,
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
        all.push((document.attachment.clone(), bytes));
    });
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dropped_buffers_do_not_change_documents_and_all_memory_is_returned(
        around in prop::collection::vec(
            select(vec![Gzip, Zlib, Zip, StoredZip, Tar, Base64, QuotedPrintable, EightBit, Forwarded]), 1..5),
        every in 1..20usize,
    ) {
        let report = large_report();
        let mut input = report.clone();
        for around in around {
            // Quoted-printable is up to three times as long, each time; larger containers are not opened.
            prop_assume!(input.len() < budget::HELD_BYTES);
            input = pack(&input, around);
        }
        let reserve = Counted::default();
        let room = Room::new(&reserve);
        let whole = read_with_releases(&input, &room, 0, &mut 0);
        let released = read_with_releases(&input, &room, every, &mut 0);
        prop_assert!(whole == released);
        prop_assert!(whole.iter().all(|(_, bytes)| *bytes == report));
        drop(room);
        prop_assert_eq!(reserve.taken.get(), 0);
        prop_assert!(reserve.most.get() <= 1 << 20, "{} bytes at once", reserve.most.get());
    }
}

#[test]
fn large_buffers_are_reserved_before_use() {
    let report = large_report();
    let archive = zip_by(CompressionMethod::Stored, &[("a.xml", &report), ("b.xml", &report)]);
    for (input, is_held) in [
        (gzip(&archive), true),
        (gzip(&tar(&[("a.xml", &report)])), true),
        (report_mail(&[part("application/zip", "x", &archive)]), true),
        (report_mail(&[part("application/zip", "x", &zip(&[("a.xml", &report[..40_000])]))]), false),
        (archive.clone(), false),
        (gzip(&report), false),
        (report_mail(&[part("application/gzip", "x", &gzip(&report))]), false),
    ] {
        let reserve = Counted::default();
        let room = Room::new(&reserve);
        let mut held = 0;
        read_with_releases(&input, &room, 0, &mut held);
        assert_eq!((held > FREE_BYTES, reserve.most.get() > 0), (is_held, is_held), "{held}");
        assert!(!is_held || reserve.most.get() >= held, "{held}");
    }
}

#[test]
fn memory_is_returned_after_a_panic() {
    let report = large_report();
    let input = gzip(&zip_by(CompressionMethod::Stored, &[("a.xml", &report)]));
    let (reserve, limits) = (Counted::default(), Limits::default());
    let room = Room::new(&reserve);
    let walk = || open(&input, Origin::File { name: "x" }, &limits).walk(&room, &mut |_| panic!("a defect"));
    assert!(catch_unwind(AssertUnwindSafe(walk)).is_err());
    assert!(reserve.taken.get() > 0);
    drop(room);
    assert_eq!(reserve.taken.get(), 0);
}
