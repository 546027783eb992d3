//! The walk through a mail or file: opens what can be opened, and hands out what is a document.

use std::cell::OnceCell;

use sha2::{Digest, Sha256};

use crate::trouble::{Reason, Trouble};

use super::{
    Document, Format, Found, Origin, Unreadable,
    budget::Budget,
    failure,
    header::{self, Header, clip, field_name, lines},
    marks,
    mime::{Part, Structure},
    sniff::{self, Kind},
    stream::{LayerKind, PEEK_BYTES, SMALL_BYTES, Stream},
    tar, zip,
};

/// Parts that come with a report and are none. An image or text that is named like a report is not meant.
const COMPANIONS: &[&str] = &[
    "text/plain",
    "text/html",
    "text/calendar",
    "text/rfc822-headers",
    "message/delivery-status",
    "message/disposition-notification",
    "application/pgp-signature",
    "application/pkcs7-signature",
    "application/x-pkcs7-signature",
];

/// Parts whose content only their recipient can open.
const ENCRYPTED: &[&str] = &["multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"];

pub(super) struct Walk<'w> {
    budget: &'w Budget<'w>,
    found: &'w mut dyn FnMut(Found<'_>),
    handed_out: u64,
}

/// What is known of the bytes at hand from what is around them.
#[derive(Clone)]
struct Around<'c> {
    /// Names from the attachment inwards.
    name: Option<String>,
    /// Names inside the attachment, inwards.
    member: String,
    attachment: &'c Attachment<'c>,
    depth: u64,
    /// This was meant as a report, so what is no report is told.
    is_meant: bool,
    /// Expected beside a report, so it need not be one.
    is_companion: bool,
}

/// The bytes of an attachment as attached, and their hash once it is wanted.
struct Attachment<'c> {
    bytes: &'c [u8],
    sha256: OnceCell<[u8; 32]>,
}

impl<'w> Walk<'w> {
    pub fn new(budget: &'w Budget<'w>, found: &'w mut dyn FnMut(Found<'_>)) -> Self {
        Self { budget, found, handed_out: 0 }
    }

    /// `header`: that of the mail, where the input is one.
    pub fn start(&mut self, input: &[u8], origin: Origin<'_>, header: Header) {
        let attachment = Attachment { bytes: input, sha256: OnceCell::new() };
        let mut around = Around {
            name: None,
            member: String::new(),
            attachment: &attachment,
            depth: 0,
            is_meant: false,
            is_companion: false,
        };
        match origin {
            Origin::Mail if lines(input).find(|line| !line.trim_ascii().is_empty()).is_some_and(begins_a_mail) => {
                self.mail_of(header, input, &around);
            }
            Origin::Mail => {
                self.stream(Stream::of(input), &around);
                if self.handed_out == 0 {
                    around.is_meant = true;
                    self.foreign(
                        &around,
                        Trouble::new(Reason::MailUnreadable, "no header stands before the mail's body"),
                    );
                }
            }
            // A folder of saved mails is read by the rules of a mailbox.
            Origin::File { .. } if sniff::kind(head(input)) == Kind::Mail => {
                self.mail_of(header, input, &around);
            }
            Origin::File { name } => {
                (around.is_meant, around.name) = (true, Some(clip(name)));
                self.stream(Stream::of(input), &around);
                if self.handed_out == 0 {
                    self.foreign(&around, Trouble::new(Reason::NotAReport, "the file carries no report"));
                }
            }
        }
    }

    fn mail(&mut self, mail: &[u8], around: &Around<'_>) {
        self.mail_of(header::read(mail), mail, around);
    }

    fn mail_of(&mut self, header: Header, mail: &[u8], around: &Around<'_>) {
        let is_marked = around.is_meant || marks::header(&header);
        let structure = Structure::of(header, mail, self.budget);
        let is_meant = is_marked || structure.parts.iter().any(marks::part);
        let may_be_prose = is_meant && !structure.parts.iter().any(Part::is_feedback);
        for part in &structure.parts {
            let bytes = part.decode();
            let attachment = Attachment { bytes: &bytes, sha256: OnceCell::new() };
            let name = part.header.name.as_deref();
            let around = Around {
                name: join(around.name.as_deref(), name),
                member: String::new(),
                attachment: &attachment,
                depth: around.depth,
                is_meant,
                is_companion: !name.is_some_and(marks::name) && is_companion(part, &bytes),
            };
            let prose = (may_be_prose && part.header.kind == "text/plain").then(|| failure::in_text(&bytes)).flatten();
            match prose {
                Some(fields) => self.document(&Stream::of(&fields), Format::Feedback, &around),
                None => self.part(part, &bytes, &around),
            }
        }
        if let Some(trouble) = structure.trouble {
            self.foreign(&Around { is_meant, is_companion: false, ..around.clone() }, trouble);
        }
    }

    fn part(&mut self, part: &Part<'_>, bytes: &[u8], around: &Around<'_>) {
        let kind = part.header.kind.as_str();
        if ENCRYPTED.contains(&kind) {
            self.foreign(
                around,
                Trouble::new(Reason::EncryptedMail, format!("the mail is encrypted or sealed ({kind})")),
            );
        } else if part.is_feedback() {
            let original = part.original.as_ref().map(|original| original.decode());
            let document = failure::document(bytes, original.as_deref());
            self.document(&Stream::of(&document), Format::Feedback, around);
        } else if kind.starts_with("message/") && sniff::kind(head(bytes)) == Kind::Unknown && !around.is_companion {
            self.container(around, |walk, inside| walk.mail(bytes, inside));
        } else {
            self.stream(Stream::of(bytes), around);
        }
    }

    /// Tells what a stream is, and goes on accordingly.
    fn stream(&mut self, stream: Stream<'_>, around: &Around<'_>) {
        let (first, trouble) = stream.peek(self.budget);
        let small = (trouble.is_none() && first.len() < SMALL_BYTES).then(|| Stream::of(&first));
        let again = small.as_ref().unwrap_or(&stream);
        let head = head(&first);
        match (sniff::kind(head), trouble) {
            (Kind::Report, _) => self.document(again, Format::Xml, around),
            (Kind::TlsReport, _) => self.document(again, Format::Json, around),
            (Kind::Feedback, _) => self.document(again, Format::Feedback, around),
            (Kind::Gzip, _) => {
                self.container(around, |walk, inside| walk.stream(stream.inflated(LayerKind::Gzip), inside))
            }
            (Kind::Zlib, _) => {
                self.container(around, |walk, inside| walk.stream(stream.inflated(LayerKind::Zlib), inside))
            }
            (Kind::Tar, _) => self.container(around, |walk, inside| walk.tar(again, inside)),
            (Kind::Zip, _) => self.container(around, |walk, inside| walk.held(&stream, inside, Self::zip)),
            (Kind::Mail, _) => self.container(around, |walk, inside| walk.held(&stream, inside, Self::mail)),
            // Two bytes of text can look like zlib; then nothing comes out.
            (Kind::Empty, Some(_)) if stream.innermost() == Some(LayerKind::Zlib) && head.is_empty() => {
                self.foreign(around, not_a_report("the bytes are of no known kind"));
            }
            (_, Some(trouble)) if matches!(trouble.reason, Reason::CorruptGzip | Reason::CorruptZlib) => {
                self.unreadable(around, trouble);
            }
            (_, Some(trouble)) => self.foreign(around, trouble),
            (kind, None) => self.foreign(around, why_foreign(kind, head)),
        }
    }

    /// Goes one level deeper, if that is allowed.
    fn container(&mut self, around: &Around<'_>, open: impl FnOnce(&mut Self, &Around<'_>)) {
        match self.budget.deeper(around.depth) {
            Ok(depth) => open(self, &Around { depth, ..around.clone() }),
            Err(trouble) => self.foreign(around, trouble),
        }
    }

    /// Opens what can only be read from memory, and says what it was cut off by.
    fn held(&mut self, stream: &Stream<'_>, around: &Around<'_>, open: fn(&mut Self, &[u8], &Around<'_>)) {
        if stream.is_plain() {
            return open(self, stream.bytes, around);
        }
        match stream.hold(self.budget) {
            Ok((bytes, None)) => open(self, &bytes, around),
            Ok((bytes, Some(trouble))) => {
                open(self, &bytes, around);
                self.foreign(around, trouble);
            }
            Err(trouble) => self.foreign(around, trouble),
        }
    }

    fn zip(&mut self, archive: &[u8], around: &Around<'_>) {
        let directory = match zip::directory(archive, self.budget.limits.archive_entries.saturating_add(1)) {
            Ok(directory) => directory,
            Err(trouble) => return self.foreign(around, trouble),
        };
        let is_meant = around.is_meant || directory.members.iter().any(|member| marks::name(&member.name));
        let around = Around { is_meant, is_companion: false, ..around.clone() };
        if directory.is_office() {
            return self.foreign(&around, not_a_report("the zip is a document of an office suite or a program"));
        }
        if directory.members.is_empty() && directory.trouble.is_none() {
            return self.foreign(&around, Trouble::new(Reason::Empty, "the zip has no members"));
        }
        for member in directory.members.iter().filter(|member| !member.is_clutter()) {
            let around = around.member(&member.name);
            if let Err(trouble) = self.budget.entry() {
                return self.foreign(&around, trouble);
            }
            match member.stream(archive) {
                Ok(stream) => self.stream(stream, &around),
                Err(trouble) => self.foreign(&around, trouble),
            }
        }
        if let Some(trouble) = directory.trouble {
            self.foreign(&around, trouble);
        }
    }

    fn tar(&mut self, archive: &Stream<'_>, around: &Around<'_>) {
        let around = Around { is_companion: false, ..around.clone() };
        tar::members(archive, self.budget, &mut |name, member| {
            let mut inside = name.map_or_else(|| around.clone(), |name| around.member(&name));
            match member {
                Ok(member) => {
                    inside.is_meant |= marks::name(&member.name);
                    self.stream(Stream::ending(&member.bytes, member.end), &inside);
                }
                Err(trouble) if matches!(trouble.reason, Reason::CorruptGzip | Reason::CorruptZlib) => {
                    self.unreadable(&inside, trouble);
                }
                Err(trouble) => self.foreign(&inside, trouble),
            }
        });
    }

    fn document(&mut self, stream: &Stream<'_>, format: Format, around: &Around<'_>) {
        self.handed_out += 1;
        let attachment = around.name.clone();
        (self.found)(Found::Document(Document { attachment, format, stream, budget: self.budget }));
    }

    /// Told only where a report was meant.
    fn foreign(&mut self, around: &Around<'_>, trouble: Trouble) {
        if around.is_meant && !around.is_companion {
            self.unreadable(around, trouble);
        }
    }

    fn unreadable(&mut self, around: &Around<'_>, trouble: Trouble) {
        self.handed_out += 1;
        let attachment = around.name.clone();
        (self.found)(Found::Unreadable(Unreadable { attachment, sha256: around.sha256(), trouble }));
    }
}

impl Around<'_> {
    fn member(&self, name: &str) -> Self {
        let member = if self.member.is_empty() { clip(name) } else { clip(&format!("{}/{name}", self.member)) };
        Around { name: join(self.name.as_deref(), Some(name)), member, ..self.clone() }
    }

    fn sha256(&self) -> [u8; 32] {
        let attached = *self.attachment.sha256.get_or_init(|| Sha256::digest(self.attachment.bytes).into());
        if self.member.is_empty() {
            return attached;
        }
        Sha256::new().chain_update(attached).chain_update(self.member.as_bytes()).finalize().into()
    }
}

/// `outer/inner`, at most 255 characters of it.
fn join(outer: Option<&str>, inner: Option<&str>) -> Option<String> {
    match (outer, inner) {
        (Some(outer), Some(inner)) => Some(clip(&format!("{outer}/{inner}"))),
        (Some(name), None) | (None, Some(name)) => Some(clip(name)),
        (None, None) => None,
    }
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(PEEK_BYTES)]
}

fn begins_a_mail(line: &[u8]) -> bool {
    super::header::is_mailbox_line(line) || field_name(line).is_some()
}

fn is_companion(part: &Part<'_>, bytes: &[u8]) -> bool {
    let kind = part.header.kind.as_str();
    COMPANIONS.contains(&kind) || kind.starts_with("image/") || sniff::kind(head(bytes)) == Kind::Image
}

fn not_a_report(detail: &str) -> Trouble {
    Trouble::new(Reason::NotAReport, detail)
}

fn why_foreign(kind: Kind, head: &[u8]) -> Trouble {
    match kind {
        Kind::Empty => Trouble::new(Reason::Empty, "there is nothing in it"),
        Kind::Unused => Trouble::new(Reason::Empty, "there is nothing in it but the word unused"),
        Kind::Tnef => Trouble::new(Reason::Tnef, "the attachment is inside a TNEF part (winmail.dat)"),
        Kind::Encrypted => Trouble::new(Reason::EncryptedMail, "the attachment is encrypted for a person"),
        Kind::Unsupported(name) => {
            let detail = format!("the attachment is {name}; gzip, zlib, zip and tar are read");
            Trouble::new(Reason::UnsupportedContainer, detail)
        }
        _ if head.trim_ascii_start().starts_with(b"<") => {
            not_a_report("the XML has no feedback element near its start")
        }
        _ if head.trim_ascii_start().starts_with(b"{") => {
            not_a_report("the JSON has no key of a TLS report near its start")
        }
        _ => not_a_report("the bytes are of no known kind"),
    }
}
