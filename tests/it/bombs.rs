//! Decompression bombs and other inputs made to exhaust memory: the program may use 64 MiB of memory in addition to the
//! file itself, and reports what it refused.
//!
//! The limit is enforced by the kernel: a program that needs more runs out of memory, and ends by a signal.

use std::{ffi::OsStr, fs, io::Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status, write::GzEncoder};
use tempfile::TempDir;

use crate::support::process::{Finished, Shipper};

const MIB: usize = 1 << 20;

/// Memory that the program may use in addition to the file itself, in MiB.
const MOST: usize = 64;

#[test]
fn a_gzip_bomb_is_refused() {
    refused("elements.xml.gz", &gzip(&[b"<feedback>", b"<x/>".repeat(MIB).as_slice()].concat()), "inflation_ratio");
    // Just below the limit on the ratio.
    for (head, byte) in [("<feedback>", 0), ("<feedback>", b' '), ("<feedback><!--", b'-')] {
        refused("bytes.xml.gz", &gzip_of(head.as_bytes(), &[byte; MIB], 200), "xml_token_too_large");
    }
}

#[test]
fn a_gzip_bomb_in_a_gzip_is_refused() {
    refused("bomb.xml.gz.gz", &gzip(&gzip_of(b"<feedback>", &[0; MIB], 200)), "xml_token_too_large");
}

#[test]
fn a_zip_bomb_is_refused() {
    refused("bomb.zip", &zip_bomb("a.xml", b"<feedback>", b' ', 200), "xml_token_too_large");
}

#[test]
fn a_zip_of_zip_bombs_is_refused() {
    let bomb = zip_bomb("a.xml", b"<feedback>", b' ', 100);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for number in 0..8 {
        archive.start_file(format!("{number}.zip"), zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(&bomb).unwrap();
    }
    refused("bombs.zip", &archive.finish().unwrap().into_inner(), "xml_token_too_large");
}

#[test]
fn a_billion_laughs_entity_bomb_is_refused() {
    let entities: String =
        (1..10).map(|n| format!("<!ENTITY e{n} \"{}\">", format!("&e{};", n - 1).repeat(10))).collect();
    let bomb = format!("<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY e0 \"lol\">{entities}]><feedback>&e9;</feedback>");
    refused("laughs.xml", bomb.as_bytes(), "xml_doctype");
}

#[test]
fn elements_100_000_deep_are_refused() {
    refused("deep.xml", format!("<feedback>{}", "<a>".repeat(100_000)).as_bytes(), "xml_too_deep");
}

#[test]
fn a_text_of_100_mb_is_refused() {
    let words: Vec<u8> = (0..MIB).map(|n| b'a' + (n * n / 7 % 26) as u8).collect();
    refused("text.xml.gz", &gzip_of(b"<feedback><report_metadata><org_name>", &words, 100), "xml_token_too_large");
}

#[test]
fn tags_full_of_attributes_are_read_in_little_memory() {
    let attributes: String = (0..3500).map(|n| format!(" xmlns:a{n}=''")).collect();
    let records = format!("<record{attributes}><count>1</count></record>").repeat(20);
    let bomb = [gzip_of(b"<feedback>", records.as_bytes(), 20), gzip(b"</feedback>")].concat();
    let rows = parsed("attributes.xml.gz", &bomb, MOST).exited(0).events();
    assert_eq!(rows.len(), 401);
}

#[test]
fn a_mail_of_only_newlines_or_fields_needs_little_memory() {
    let nested: String =
        (0..7).map(|n| format!("--b{n}\nContent-Type: multipart/mixed; boundary=b{}\n\n", n + 1)).collect();
    let header = "From: dmarc@example.com\nContent-Type: multipart/mixed; boundary=b0\n\n";
    let newlines = format!("{header}{nested}{}", "\n".repeat(4 * MIB));
    refused("newlines.eml", newlines.as_bytes(), "empty");
    refused("fields.eml", "a:b\n".repeat(2 * MIB).as_bytes(), "not_a_report");
}

#[test]
fn a_large_report_is_read_row_by_row() {
    let record = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>\n";
    let report = [gzip_of(b"<feedback>", record.repeat(1000).as_bytes(), 20), gzip(b"</feedback>")].concat();
    // If all rows were kept in memory, they would need more than this.
    let rows = parsed("large.xml.gz", &report, 24).exited(0).stdout.lines().count();
    assert_eq!(rows, 20_001);
}

#[test]
fn the_memory_limit_of_these_tests_is_effective() {
    let finished = parsed("x.xml", &vec![b' '; 8 * MIB], 0);
    assert_eq!(finished.status.code(), None, "{finished:?}");
}

/// Runs `parse` on a file, which must be refused for this reason.
#[track_caller]
fn refused(name: &str, file: &[u8], reason: &str) {
    let events = parsed(name, file, MOST).exited(65).events();
    assert!(events.iter().any(|event| event["reason"] == reason), "{reason}: {events:?}");
}

/// Runs `parse` with a limit of `most` MiB of memory plus the size of the file.
#[track_caller]
fn parsed(name: &str, file: &[u8], most: usize) -> Finished {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, file).unwrap();
    let kib = most * 1024 + file.len() / 1024;
    Shipper::limited(kib, ["parse".as_ref(), path.as_os_str()] as [&OsStr; 2]).run()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns a gzip of `head` and `times` copies of `unit`. Each copy is a gzip member of its own, so that even a large one
/// is made quickly.
fn gzip_of(head: &[u8], unit: &[u8], times: usize) -> Vec<u8> {
    [gzip(head), gzip(unit).repeat(times)].concat()
}

/// Returns a zip with one member: `head`, and `mib` MiB of one byte, of which only the first MiB is really compressed, and
/// its blocks repeated.
fn zip_bomb(name: &str, head: &[u8], byte: u8, mib: usize) -> Vec<u8> {
    let data = [deflated(head), deflated(&vec![byte; MIB]).repeat(mib), vec![3, 0]].concat();
    let mut crc = Crc::new();
    crc.update(head);
    let mut fields = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
    fields.extend(crc.sum().to_le_bytes());
    fields.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    fields.extend(u32::try_from(head.len() + mib * MIB).unwrap().to_le_bytes());
    fields.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    fields.extend([0, 0]);
    let local = [b"PK\x03\x04", fields.as_slice(), name.as_bytes(), &data].concat();
    let entry = [b"PK\x01\x02\x14\x00", fields.as_slice(), &[0; 14], name.as_bytes()].concat();
    let mut end = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
    end.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
    end.extend(u32::try_from(local.len()).unwrap().to_le_bytes());
    end.extend([0, 0]);
    [local, entry, end].concat()
}

/// Returns deflate blocks that other blocks can follow.
fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 4 + 1024);
    let status = Compress::new(Compression::best(), false).compress_vec(bytes, &mut out, FlushCompress::Full).unwrap();
    assert!(status == Status::Ok && out.len() < out.capacity());
    out
}
