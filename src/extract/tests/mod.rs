//! Tests of extraction. Archives and mails are built with the crates that are in common use for writing them.

mod archives;
mod containers;
mod damage;
mod encodings;
mod hostile;
mod limits;
mod mails;
mod other_files;
mod private;
mod properties;
mod room;
mod text;

use std::io::{Read, Write};

use ::zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};

use super::*;
use crate::trouble::Reason;

const XML: &[u8] =
    b"<?xml version=\"1.0\"?>\n<feedback><report_metadata><org_name>x</org_name></report_metadata></feedback>\n";
const JSON: &[u8] = b"{\"organization-name\": \"x\", \"report-id\": \"1\", \"policies\": []}";
const REPORT_NAME: &str = "receiver.example!example.com!1700000000!1700086399";

/// Findings of a walk, with documents read to their end, twice.
#[derive(Clone, PartialEq, Eq)]
enum Seen {
    Document { name: Option<String>, format: Format, bytes: Vec<u8>, end: Option<Reason> },
    Unreadable { name: Option<String>, reason: Reason },
    Returned,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seen::Document { name, format, bytes, end } => {
                let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
                write!(f, "{format:?} {name:?} of {} bytes, {begin:?}…, end {end:?}", bytes.len())
            }
            Seen::Unreadable { name, reason } => write!(f, "unreadable {name:?}: {reason:?}"),
            Seen::Returned => f.write_str("returned"),
        }
    }
}

fn document(name: &str, bytes: &[u8]) -> Seen {
    let format = if bytes.starts_with(b"{") { Format::Json } else { Format::Xml };
    Seen::Document { name: Some(name.into()), format, bytes: bytes.into(), end: None }
}

fn unreadable(name: &str, reason: Reason) -> Seen {
    Seen::Unreadable { name: Some(name.into()), reason }
}

fn in_mail(mail: &[u8]) -> Vec<Seen> {
    within(mail, Origin::Mail, &Limits::default())
}

fn in_file(name: &str, file: &[u8]) -> Vec<Seen> {
    within(file, Origin::File { name }, &Limits::default())
}

fn within(input: &[u8], origin: Origin<'_>, limits: &Limits) -> Vec<Seen> {
    let mut all = Vec::new();
    open(input, origin, limits).walk(&Room::new(&Unshared), &mut |found| {
        all.push(match found {
            Found::Document(document) => {
                let (bytes, end) = read(&document);
                assert!(read(&document) == (bytes.clone(), end), "the second reading differs");
                Seen::Document { name: document.attachment.clone(), format: document.format, bytes, end }
            }
            Found::Returned => Seen::Returned,
            Found::Unreadable(unreadable) => {
                Seen::Unreadable { name: unreadable.attachment, reason: unreadable.trouble.reason }
            }
        });
    });
    all
}

fn read(document: &Document<'_>) -> (Vec<u8>, Option<Reason>) {
    let mut bytes = Vec::new();
    let end = document.open().read_to_end(&mut bytes).err();
    (bytes, end.map(|error| Trouble::from_io(&error, Reason::ReaderPanic).reason))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

pub(crate) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(bytes).unwrap();
    zlib.finish().unwrap()
}

pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    zip_by(CompressionMethod::Deflated, members)
}

fn zip_by(method: CompressionMethod, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = ::tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = ::tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (number, group) in bytes.chunks(3).enumerate() {
        let bits = group.iter().chain(&[0, 0]).take(3).fold(0, |bits, &byte| bits << 8 | u32::from(byte));
        for letter in 0..4 {
            let value = (bits >> (18 - 6 * letter) & 63) as usize;
            text.push(if letter <= group.len() { ALPHABET[value] as char } else { '=' });
        }
        if number % 19 == 18 {
            text.push_str("\r\n");
        }
    }
    text
}

/// A part with its header, encoded as base64.
pub(crate) fn part(kind: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "Content-Type: {kind}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n"
    );
    (head + &base64(bytes)).into_bytes()
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{text}").into_bytes()
}

/// A multipart mail without any mark of a report.
fn mail(parts: &[Vec<u8>]) -> Vec<u8> {
    mail_headed("From: Ann <ann@example.com>\r\nSubject: hello\r\n", parts)
}

fn mail_headed(header: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    // Nested mails need different boundaries.
    let boundary = format!("=_b{}", parts.iter().map(Vec::len).sum::<usize>());
    let kind = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\npreamble\r\n");
    let mut mail = (header.to_owned() + &kind).into_bytes();
    for part in parts {
        mail.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        mail.extend_from_slice(part);
        mail.extend_from_slice(b"\r\n");
    }
    mail.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    mail
}

/// A multipart mail that its subject marks as a report.
pub(crate) fn report_mail(parts: &[Vec<u8>]) -> Vec<u8> {
    mail_headed("From: noreply@receiver.example\r\nSubject: Report Domain: example.com Submitter: x\r\n", parts)
}
