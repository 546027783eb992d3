//! Packs a document into an attachment and a mail.

use std::io::{Cursor, Write};

use flate2::{Compression, write::GzEncoder};
use zip::{ZipWriter, write::SimpleFileOptions};

/// Container of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Gzip,
    Zip,
    TarGz,
    Plain,
}

/// Returns a mail that contains `document`, in a file named `stem` with the suffix of the container.
pub fn mail(host: &str, subject: &str, number: usize, stem: &str, container: Container, document: &[u8]) -> Vec<u8> {
    let attachment = match container {
        Container::Gzip => gzip(document),
        Container::Zip => zip(&format!("{stem}.xml"), document),
        Container::TarGz => gzip(&tar(&format!("{stem}.xml"), document)),
        Container::Plain => document.to_vec(),
    };
    with_attachment(host, subject, number, stem, container, &attachment)
}

/// Returns a mail whose attachment begins like this container and is corrupt after a few bytes.
pub fn damaged(container: Container, number: usize) -> Vec<u8> {
    let mut attachment = match container {
        Container::Zip => zip("x.xml", b"<feedback/>"),
        _ => gzip(b"<feedback/>"),
    };
    attachment[12..].fill(0xff);
    with_attachment("broken.example", "Report", number, "x", container, &attachment)
}

fn with_attachment(
    host: &str,
    subject: &str,
    number: usize,
    stem: &str,
    container: Container,
    attachment: &[u8],
) -> Vec<u8> {
    let (content_type, ending) = match container {
        Container::Gzip => ("application/gzip", "xml.gz"),
        Container::Zip => ("application/zip", "zip"),
        Container::TarGz => ("application/x-gzip", "tar.gz"),
        Container::Plain => ("text/xml", "xml"),
    };
    let boundary = format!("=_part_{number}");
    let mut mail = format!(
        "From: DMARC reports <dmarc@{host}>\r\nTo: dmarc@example.com\r\nSubject: {subject}\r\n\
         Date: Mon, 2 Nov 2026 06:00:00 +0000\r\nMessage-ID: <{number}@{host}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nAn aggregate report is attached.\r\n\
         --{boundary}\r\nContent-Type: {content_type}; name=\"{stem}.{ending}\"\r\n\
         Content-Disposition: attachment; filename=\"{stem}.{ending}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    .into_bytes();
    for line in base64(attachment).as_bytes().chunks(76) {
        mail.extend_from_slice(line);
        mail.extend_from_slice(b"\r\n");
    }
    mail.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    mail
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(name, SimpleFileOptions::default()).unwrap();
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap().into_inner()
}

fn tar(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, bytes).unwrap();
    archive.into_inner().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= three.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}
