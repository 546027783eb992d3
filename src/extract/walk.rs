//! Walks through a mail or file: opens containers recursively, and passes on the documents found.

use std::{cell::OnceCell, io::BufRead, sync::Arc};

use sha2::{Digest, Sha256};

use crate::{
    limits::OTHER_FILES,
    trouble::{Reason, Trouble},
};

use super::{
    budget::Budget,
    decode::Encoding,
    document::{Document, Format, Found, Origin, Unreadable},
    failure,
    fields::{BYTE_ORDER_MARK, field_name, is_mailbox_line, lines},
    header::{self, Envelope, Header, clip},
    inflate::Compression,
    mbox::{self, MboxMail},
    mime::{Part, Structure},
    outlook, pem, report_hints,
    sniff::{self, Kind},
    split::{self, Content, Piece},
    stream::{Container, End, Extent, PEEK_BYTES, SMALL_BYTES, Stream, last_byte, read_up_to},
    tar, zip,
};

/// Content types of parts that accompany a report. A part of these types is still expected to be a report if named like one.
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

/// Those of them that are detached signatures: CMS data without a content.
const SIGNATURES: &[&str] =
    &["application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"];

/// Content types of encrypted parts, which only their recipient can open. Those of S/MIME are also those of signed mails.
const ENCRYPTED: &[&str] = &["multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"];

/// A stream, its first bytes, and the trouble that ended it early.
type Peeked<'p> = (Stream<'p>, &'p [u8], Option<Trouble>);

pub(super) struct Walk<'w> {
    budget: &'w Budget<'w>,
    found: &'w mut dyn FnMut(Found<'_>),
    handed_out: u64,
    /// The first of what could not be looked into, and was passed over as no report was expected there, and the number of all.
    passed_over: Option<(Unreadable, u64)>,
    /// Number of documents among the findings.
    documents: u64,
    /// Files of the open mails and archives that need not be reports: they are errors only if nothing else there is one.
    others: Vec<Unreadable>,
}

/// Context of the bytes at hand.
#[derive(Clone)]
struct Around<'c> {
    /// Names of the attachment and the members inside it, outermost first.
    name: Option<String>,
    /// Names of the members inside the attachment, outermost first.
    member: String,
    attachment: &'c Attachment<'c>,
    /// Header of the innermost mail that was in an archive or mbox.
    envelope: Option<Arc<Envelope>>,
    /// Directly in an archive or mbox.
    is_archived: bool,
    depth: u64,
    /// Meant as a report: content that is no report is reported as unreadable.
    is_meant: bool,
    /// Usually accompanies a report, so it need not be one itself.
    is_companion: bool,
    /// Named or typed like a report: content that is none is reported, whatever is beside it.
    is_named: bool,
    /// Within a mail that a bounce or a receipt returns.
    is_returned: bool,
}

/// Numbers of findings when a mail or archive was opened.
struct Scope {
    documents: u64,
    others: usize,
}

/// An attachment's bytes as attached, and their hash once it is needed.
struct Attachment<'c> {
    stream: Stream<'c>,
    sha256: OnceCell<[u8; 32]>,
}

impl<'w> Walk<'w> {
    pub fn new(budget: &'w Budget<'w>, found: &'w mut dyn FnMut(Found<'_>)) -> Self {
        Self { budget, found, handed_out: 0, documents: 0, others: Vec::new(), passed_over: None }
    }

    /// Walks through `input`. `header` is the header of the mail if the input is one.
    pub fn start(&mut self, input: &[u8], origin: Origin<'_>, header: Header) {
        self.walk(input, origin, header);
        // What is beside a report may hold others.
        if let Some((mut first, times)) = self.passed_over.take().filter(|_| self.documents > 0) {
            if times > 1 {
                first.trouble.detail.push_str(&format!("; the first of {times} that could not be looked into"));
            }
            (self.found)(Found::Unreadable(first));
        }
    }

    fn walk(&mut self, input: &[u8], origin: Origin<'_>, header: Header) {
        let attachment = Attachment::of(Stream::of(input));
        let mut around = Around {
            name: None,
            member: String::new(),
            attachment: &attachment,
            envelope: None,
            is_archived: false,
            depth: 0,
            is_meant: false,
            is_companion: false,
            is_named: true,
            is_returned: false,
        };
        if header::has_carriage_returns(input) {
            let stream = Stream::of(input).decoded(Encoding::CarriageReturns);
            return self.held(&stream, &around, Self::one_mail);
        }
        let mail = Extent::Memory(input);
        match origin {
            Origin::Mail if lines(input).find(|line| !line.trim_ascii().is_empty()).is_some_and(begins_a_mail) => {
                self.mail_of(header, &mail, &around);
            }
            Origin::Mail => {
                self.stream(Stream::of(input), &around);
                if self.handed_out == 0 {
                    around.is_meant = true;
                    self.foreign(&around, Trouble::new(Reason::MailUnreadable, "the mail has no header"));
                }
            }
            // A directory of saved mails is read by the rules of a mailbox.
            Origin::File { .. } if sniff::kind(head(input)) == Kind::Mail && is_mailbox_line(input) => {
                self.mail(&mail, &around);
            }
            Origin::File { .. } if sniff::kind(head(input)) == Kind::Mail => {
                self.mail_of(header, &mail, &around);
            }
            Origin::File { name } => {
                (around.is_meant, around.name) = (true, Some(clip(name)));
                self.stream(Stream::of(input), &around);
                if self.handed_out == 0 {
                    self.foreign(&around, Trouble::new(Reason::NotAReport, "the file contains no report"));
                }
            }
        }
    }

    /// Opens a mail, or an mbox.
    fn mail(&mut self, mail: &Extent<'_>, around: &Around<'_>) {
        match mail.look(self.budget, |bytes| mbox::mails(bytes, self.budget.most_entries())) {
            Ok(Some(mails)) => self.mbox(mail, &mails, around),
            Ok(None) => self.one_mail(mail, around),
            Err(trouble) => self.foreign(around, trouble),
        }
    }

    fn mbox(&mut self, mbox: &Extent<'_>, mails: &[MboxMail], around: &Around<'_>) {
        for (number, MboxMail { range, is_quoted }) in (1..).zip(mails) {
            let mut around = Around { is_archived: true, ..around.clone() };
            if mails.len() > 1 {
                around = around.member(&format!("mail {number}"));
                if let Err(trouble) = self.budget.entry() {
                    return self.foreign(&around, trouble);
                }
            }
            let mail = mbox.part(range.clone());
            if *is_quoted {
                let mail = Stream::ending(mail, End::Whole).decoded(Encoding::MboxQuoted);
                self.held(&mail, &around, Self::one_mail);
            } else {
                self.one_mail(&mail, &around);
            }
        }
    }

    fn one_mail(&mut self, mail: &Extent<'_>, around: &Around<'_>) {
        match mail.look(self.budget, header::read) {
            Ok(header) => self.mail_of(header, mail, around),
            Err(trouble) => self.foreign(around, trouble),
        }
    }

    fn mail_of(&mut self, header: Header, mail: &Extent<'_>, around: &Around<'_>) {
        let is_marked = around.is_meant || report_hints::header(&header);
        let is_certain = report_hints::is_certain(&header);
        let envelope = if around.is_archived { header.envelope.clone() } else { around.envelope.clone() };
        // A mail in an archive or mbox is judged by itself, whatever is beside it.
        let is_named = around.is_named || around.is_archived;
        let around = &Around { envelope, is_archived: false, is_named, ..around.clone() };
        let before = self.handed_out;
        let structure = match mail.look(self.budget, |bytes| Structure::of(header, bytes, self.budget)) {
            Ok(structure) => structure,
            Err(trouble) => return self.foreign(around, trouble),
        };
        // The subject of a bounce quotes that of the mail that it returns.
        let is_bounce = around.is_returned || structure.parts.iter().any(|part| part.is_returned);
        let is_meant = !is_bounce && (is_marked || structure.parts.iter().any(report_hints::part));
        let scope = self.scope();
        let may_be_prose = is_meant && !structure.parts.iter().any(|part| part.is_feedback);
        let mut original = None;
        for (at, part) in structure.parts.iter().enumerate() {
            if original == Some(at) {
                continue;
            }
            let stream = stream_of(part, mail);
            let (first, trouble) = stream.peek(self.budget);
            let attachment = Attachment::of(stream_of(part, mail));
            let name = part.header.name.as_deref();
            let around = Around {
                name: join(around.name.as_deref(), name),
                member: String::new(),
                attachment: &attachment,
                is_meant,
                is_companion: !name.is_some_and(report_hints::name) && is_companion(part, &first),
                is_named: report_hints::attachment(&part.header),
                is_returned: around.is_returned || part.is_returned,
                ..around.clone()
            };
            let prose =
                (may_be_prose && part.header.kind == "text/plain").then(|| self.prose(&stream, &first)).flatten();
            match prose {
                Some(fields) => {
                    let mut after = structure.parts.iter().enumerate().skip(at + 1);
                    let found = after.find(|(_, part)| part.is_labelled_mail());
                    original = found.map(|(at, _)| at);
                    self.feedback(Stream::of(&fields), found.map(|(_, part)| part), mail, &around);
                }
                None => self.part(part, mail, (stream, &first, trouble), &around),
            }
        }
        // HTML is another form of the text or of an attachment, unless it is all there is.
        let html = structure.parts.iter().filter(|part| part.header.kind == "text/html");
        for part in html.filter(|_| self.handed_out == before).collect::<Vec<_>>() {
            let attachment = Attachment::of(stream_of(part, mail));
            let name = join(around.name.as_deref(), part.header.name.as_deref());
            let is_returned = around.is_returned || part.is_returned;
            let around = Around {
                name,
                member: String::new(),
                attachment: &attachment,
                is_meant,
                is_returned,
                ..around.clone()
            };
            self.html(&stream_of(part, mail).decoded(Encoding::Html), may_be_prose, &around);
        }
        let around = Around { is_meant: is_meant || is_certain && !is_bounce, is_companion: false, ..around.clone() };
        if let Some(trouble) = structure.trouble {
            self.foreign(&around, trouble);
        }
        self.end(&scope, &around);
        let is_told = self.handed_out > before || self.others.len() > scope.others;
        if is_certain && !is_bounce && !is_told {
            self.foreign(&around, not_a_report("the header is that of a report, but there is none in the mail"));
        }
    }

    fn html(&mut self, text: &Stream<'_>, may_be_prose: bool, around: &Around<'_>) {
        let (first, _) = text.peek(self.budget);
        let prose = if may_be_prose { self.prose(text, &first) } else { None };
        match prose {
            Some(fields) => self.document(&Stream::of(&fields), Format::Feedback, around),
            None => drop(self.text(text, around)),
        }
    }

    /// Looks for reports within text for people. Returns false if there are none.
    fn text(&mut self, text: &Stream<'_>, around: &Around<'_>) -> bool {
        let pieces = split::in_text(text.open(self.budget), self.budget.most_entries());
        for Piece { content, range, .. } in &pieces {
            if let Err(trouble) = self.budget.entry() {
                self.foreign(&Around { is_companion: false, ..around.clone() }, trouble);
                break;
            }
            let piece = text.slice(range.clone());
            match content {
                Content::Xml => self.document(&piece, Format::Xml, around),
                Content::Json => self.document(&piece, Format::Json, around),
                Content::Encoded(encoding, name) => {
                    let mut around = name.as_ref().map_or_else(|| around.clone(), |name| around.member(name));
                    around.is_meant |= name.as_deref().is_some_and(report_hints::name);
                    around.is_companion = false;
                    self.container(&around, |walk, inside| walk.stream(piece.decoded(*encoding), inside));
                }
            }
        }
        !pieces.is_empty()
    }

    /// Returns the report document within human-readable text.
    fn prose(&self, text: &Stream<'_>, first: &[u8]) -> Option<Vec<u8>> {
        if first.len() < SMALL_BYTES {
            return failure::in_text(first);
        }
        failure::in_text(&read_up_to(text.open(self.budget), failure::SEARCHED_BYTES).0)
    }

    fn part(&mut self, part: &Part, mail: &Extent<'_>, (stream, first, trouble): Peeked<'_>, around: &Around<'_>) {
        let kind = part.header.kind.as_str();
        if around.is_companion && SIGNATURES.contains(&kind) {
            return;
        }
        if ENCRYPTED.contains(&kind) && (part.is_multipart() || !is_readable(first)) {
            self.foreign(around, Trouble::new(Reason::EncryptedMail, format!("the mail is encrypted ({kind})")));
        } else if part.is_feedback {
            self.feedback(stream, part.original.as_deref(), mail, around);
        } else if kind.starts_with("message/") && sniff::kind(head(first)) == Kind::Unknown && !around.is_companion {
            self.container(around, |walk, inside| walk.held(&stream, inside, Self::mail));
        } else {
            self.peeked((stream, first, trouble), around);
        }
    }

    /// Passes on the fields of a failure report, followed by those of the original mail.
    fn feedback(&mut self, fields: Stream<'_>, original: Option<&Part>, mail: &Extent<'_>, around: &Around<'_>) {
        let original = original.map(|original| stream_of(original, mail));
        let original = original.map(|it| read_up_to(it.open(self.budget), failure::SEARCHED_BYTES).0);
        let ends_in_line_feed = last_byte(fields.open(self.budget)) == Some(b'\n');
        let appendix = failure::appendix(ends_in_line_feed, &original.unwrap_or_default());
        self.document(&fields.followed_by(appendix), Format::Feedback, around);
    }

    fn stream(&mut self, stream: Stream<'_>, around: &Around<'_>) {
        let (first, trouble) = stream.peek(self.budget);
        self.peeked((stream, &first, trouble), around);
    }

    /// Detects the type of a stream and handles it accordingly.
    fn peeked(&mut self, (stream, first, trouble): Peeked<'_>, around: &Around<'_>) {
        let is_small = trouble.is_none() && first.len() < SMALL_BYTES;
        let unpacked = if is_small && stream.is_inflated() { first.len() as u64 } else { 0 };
        let stream = if is_small { Stream::of(first) } else { stream };
        let head = head(first);
        if head.strip_prefix(BYTE_ORDER_MARK).is_some_and(|rest| sniff::kind(rest).is_bytes()) {
            return self.stream(stream.slice(BYTE_ORDER_MARK.len() as u64..u64::MAX), around);
        }
        match (sniff::kind(head), trouble) {
            (Kind::Report, _) => self.document(&stream, Format::Xml, around),
            (Kind::TlsReport, _) => self.document(&stream, Format::Json, around),
            (Kind::Feedback, _) => self.document(&stream, Format::Feedback, around),
            (Kind::Gzip, _) => {
                self.archive(around, |walk, inside| walk.stream(stream.inflated(Compression::Gzip), inside))
            }
            (Kind::Zlib, _) => {
                self.archive(around, |walk, inside| walk.stream(stream.inflated(Compression::Zlib), inside))
            }
            (Kind::Base64, _) => {
                self.container(around, |walk, inside| walk.stream(stream.decoded(Encoding::Base64), inside));
            }
            (Kind::Tar, _) => self.archive(around, |walk, inside| walk.tar(&stream, inside)),
            (Kind::Signed, _) => {
                self.container(around, |walk, inside| walk.stream(stream.decoded(Encoding::SignedData), inside));
            }
            (Kind::JsonString, _) => {
                self.container(around, |walk, inside| walk.stream(stream.decoded(Encoding::JsonString), inside));
            }
            (kind @ (Kind::Zip | Kind::Mail | Kind::Pem | Kind::Compound), _) => {
                self.container(around, |walk, inside| {
                    let open = match kind {
                        Kind::Zip => Self::zip,
                        Kind::Pem => Self::pem,
                        Kind::Compound => Self::outlook,
                        _ => Self::mail,
                    };
                    let inside = &Around { is_archived: inside.is_archived || kind == Kind::Zip, ..inside.clone() };
                    match walk.budget.unpack(unpacked) {
                        Ok(()) => walk.held(&stream, inside, open),
                        Err(trouble) => walk.foreign(inside, trouble),
                    }
                })
            }
            // Text can look like the two bytes of a zlib header; then nothing is inflated.
            (Kind::Empty, Some(_)) if stream.innermost() == Some(Compression::Zlib) && head.is_empty() => {
                self.foreign(around, not_a_report("unknown file type; expected XML, JSON, a mail or an archive"));
            }
            (_, Some(trouble)) if matches!(trouble.reason, Reason::CorruptGzip | Reason::CorruptZlib) => {
                self.unreadable(around, trouble);
            }
            (_, Some(trouble)) => self.foreign(around, trouble),
            (Kind::Unknown, None) if !sniff::is_text(head) => self.foreign(around, why_foreign(Kind::Unknown, head)),
            (kind, None) => {
                if kind != Kind::Unknown || !self.text(&stream, around) {
                    self.foreign(around, why_foreign(kind, head));
                }
            }
        }
    }

    /// Goes into an archive, as into any other container.
    fn archive(&mut self, around: &Around<'_>, open: impl FnOnce(&mut Self, &Around<'_>)) {
        self.container(&Around { is_archived: true, ..around.clone() }, open);
    }

    /// Goes one nesting level deeper, unless that exceeds the limit.
    fn container(&mut self, around: &Around<'_>, open: impl FnOnce(&mut Self, &Around<'_>)) {
        match self.budget.deeper(around.depth) {
            Ok(depth) => open(self, &Around { depth, ..around.clone() }),
            Err(trouble) => self.foreign(around, trouble),
        }
    }

    /// Opens a stream that can only be parsed in memory, and then reports the trouble that truncated it.
    fn held(&mut self, stream: &Stream<'_>, around: &Around<'_>, open: fn(&mut Self, &Extent<'_>, &Around<'_>)) {
        if let Some(extent) = stream.plain() {
            return open(self, extent, around);
        }
        let container = Container::of(stream, self.budget);
        match container.hold(self.budget) {
            Ok((bytes, trouble)) => {
                open(self, &container.first(bytes), around);
                if let Some(trouble) = trouble {
                    self.foreign(around, trouble);
                }
            }
            Err(trouble) => self.foreign(around, trouble),
        }
    }

    fn zip(&mut self, archive: &Extent<'_>, around: &Around<'_>) {
        let most = self.budget.limits.archive_entries.saturating_add(1);
        let directory = match archive.look(self.budget, |archive| zip::directory(archive, most)).flatten() {
            Ok(directory) => directory,
            Err(trouble) => return self.foreign(around, trouble),
        };
        let is_meant = around.is_meant || directory.members.iter().any(|member| member.is_marked);
        let around = Around { is_meant, is_companion: false, ..around.clone() };
        if directory.is_office() {
            return self.foreign(&around, not_a_report("the zip is an office document or a program"));
        }
        if directory.members.is_empty() && directory.trouble.is_none() {
            return self.foreign(&around, Trouble::new(Reason::Empty, "the zip has no members"));
        }
        let scope = self.scope();
        for member in directory.members.iter().filter(|member| !report_hints::is_clutter(&member.name)) {
            let around = around.member(&member.name);
            if let Err(trouble) = self.budget.entry() {
                self.foreign(&around, trouble);
                break;
            }
            match member.stream(archive) {
                Ok(stream) => self.stream(stream, &around),
                Err(trouble) => self.foreign(&around, trouble),
            }
        }
        if let Some(trouble) = directory.trouble {
            self.foreign(&around, trouble);
        }
        self.end(&scope, &around);
    }

    fn pem(&mut self, file: &Extent<'_>, around: &Around<'_>) {
        match file.look(self.budget, pem::body) {
            Ok(body) => {
                let text = Stream::ending(file.part(body.unwrap_or_default()), End::Whole);
                self.stream(text.decoded(Encoding::Base64), around);
            }
            Err(trouble) => self.foreign(around, trouble),
        }
    }

    /// Opens the files attached to an Outlook message.
    fn outlook(&mut self, file: &Extent<'_>, around: &Around<'_>) {
        let attachments = match file.look(self.budget, outlook::attachments).transpose() {
            Some(attachments) => attachments.flatten(),
            None if around.name.as_deref().is_some_and(report_hints::is_outlook_message) => Err(outlook::damaged()),
            None => Err(not_a_report("the file is an office document, or a damaged Outlook message (.msg)")),
        };
        let is_marked =
            attachments.as_ref().is_ok_and(|attachments| attachments.iter().any(|it| report_hints::name(&it.name)));
        let around = Around { is_meant: around.is_meant || is_marked, is_companion: false, ..around.clone() };
        let attachments = match attachments {
            Ok(attachments) if attachments.is_empty() => {
                return self.foreign(&around, not_a_report("the Outlook message (.msg) has no attachment"));
            }
            Ok(attachments) => attachments,
            Err(trouble) => return self.foreign(&around, trouble),
        };
        let scope = self.scope();
        for attachment in &attachments {
            let inside = around.member(&attachment.name);
            if let Err(trouble) = self.budget.entry() {
                self.foreign(&inside, trouble);
                break;
            }
            self.stream(Stream::of(&attachment.bytes), &inside);
        }
        self.end(&scope, &around);
    }

    fn tar(&mut self, archive: &Stream<'_>, around: &Around<'_>) {
        let around = Around { is_companion: false, ..around.clone() };
        let scope = self.scope();
        tar::members(archive, self.budget, &mut |name, member| {
            if name.is_some_and(report_hints::is_clutter) {
                return;
            }
            let mut inside = name.map_or_else(|| around.clone(), |name| around.member(name));
            match member {
                Ok(member) => {
                    inside.is_meant |= name.is_some_and(report_hints::name);
                    self.stream(member, &inside);
                }
                Err(trouble) if matches!(trouble.reason, Reason::CorruptGzip | Reason::CorruptZlib) => {
                    self.unreadable(&inside, trouble);
                }
                Err(trouble) => self.foreign(&inside, trouble),
            }
        });
        self.end(&scope, &around);
    }

    fn scope(&self) -> Scope {
        Scope { documents: self.documents, others: self.others.len() }
    }

    /// Ends a mail or archive. Its other files are errors if it has no report, unless what it is in can have one instead.
    fn end(&mut self, scope: &Scope, around: &Around<'_>) {
        if self.documents > scope.documents {
            self.others.truncate(scope.others);
        } else if around.is_named {
            for other in self.others.split_off(scope.others) {
                self.report(other);
            }
        }
    }

    fn document(&mut self, stream: &Stream<'_>, format: Format, around: &Around<'_>) {
        self.handed_out += 1;
        if around.is_returned {
            return (self.found)(Found::Returned);
        }
        self.documents += 1;
        let (attachment, envelope) = (around.name.clone(), around.envelope.clone());
        (self.found)(Found::Document(Document { attachment, envelope, format, stream, budget: self.budget }));
    }

    /// Takes what is no report or can't be opened. It is reported if it was meant as a report; a file that need not be one,
    /// only if there is no report beside it; and later, if it may hold reports, and there are others beside it.
    fn foreign(&mut self, around: &Around<'_>, trouble: Trouble) {
        if around.is_returned {
            return;
        }
        let is_no_report = matches!(trouble.reason, Reason::NotAReport | Reason::Empty);
        if !around.is_meant || around.is_companion {
            if !is_no_report {
                match &mut self.passed_over {
                    Some((_, times)) => *times += 1,
                    None => self.passed_over = Some((around.unreadable(trouble, self.budget), 1)),
                }
            }
        } else if is_no_report && !around.is_named {
            if self.others.len() < OTHER_FILES {
                self.others.push(around.unreadable(trouble, self.budget));
            }
        } else {
            self.unreadable(around, trouble);
        }
    }

    fn unreadable(&mut self, around: &Around<'_>, trouble: Trouble) {
        if around.is_returned {
            return;
        }
        self.report(around.unreadable(trouble, self.budget));
    }

    fn report(&mut self, unreadable: Unreadable) {
        self.handed_out += 1;
        (self.found)(Found::Unreadable(unreadable));
    }
}

impl Around<'_> {
    fn member(&self, name: &str) -> Self {
        let member = if self.member.is_empty() { clip(name) } else { clip(&format!("{}/{name}", self.member)) };
        let is_named = report_hints::file(name);
        Around { name: join(self.name.as_deref(), Some(name)), member, is_named, ..self.clone() }
    }

    fn unreadable(&self, trouble: Trouble, budget: &Budget<'_>) -> Unreadable {
        let (attachment, envelope) = (self.name.clone(), self.envelope.clone());
        Unreadable { attachment, sha256: self.sha256(budget), trouble, envelope }
    }

    fn sha256(&self, budget: &Budget<'_>) -> [u8; 32] {
        let attached = *self.attachment.sha256.get_or_init(|| hash(self.attachment.stream.open(budget)));
        if self.member.is_empty() {
            return attached;
        }
        Sha256::new().chain_update(attached).chain_update(self.member.as_bytes()).finalize().into()
    }
}

impl<'c> Attachment<'c> {
    fn of(stream: Stream<'c>) -> Self {
        Self { stream, sha256: OnceCell::new() }
    }
}

/// The body of a part of `mail`, with its transfer encoding decoded.
fn stream_of<'a>(part: &Part, mail: &Extent<'a>) -> Stream<'a> {
    Stream::ending(mail.part(part.body.clone()), End::Whole).decoded(part.header.encoding)
}

/// SHA-256 of `input`, read to its end.
fn hash(mut input: impl BufRead) -> [u8; 32] {
    let mut hasher = Sha256::new();
    while let Ok(chunk @ [_, ..]) = input.fill_buf() {
        hasher.update(chunk);
        let length = chunk.len();
        input.consume(length);
    }
    hasher.finalize().into()
}

/// Returns `outer/inner`, at most 255 characters of it.
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
    is_mailbox_line(line) || field_name(line).is_some()
}

fn is_companion(part: &Part, bytes: &[u8]) -> bool {
    let kind = part.header.kind.as_str();
    COMPANIONS.contains(&kind) || kind.starts_with("image/") || sniff::kind(head(bytes)) == Kind::Image
}

/// True if a part of an S/MIME mail is signed and not encrypted, or is something else altogether.
fn is_readable(bytes: &[u8]) -> bool {
    !matches!(sniff::kind(head(bytes)), Kind::Encrypted | Kind::Empty | Kind::Unused | Kind::Unknown)
}

fn not_a_report(detail: &str) -> Trouble {
    Trouble::new(Reason::NotAReport, detail)
}

fn why_foreign(kind: Kind, head: &[u8]) -> Trouble {
    match kind {
        Kind::Empty => Trouble::new(Reason::Empty, "the file or attachment is empty"),
        Kind::Unused => Trouble::new(Reason::Empty, "the file or attachment contains only the word unused"),
        Kind::Tnef => Trouble::new(Reason::Tnef, "the attachment is inside a TNEF part (winmail.dat)"),
        Kind::Encrypted => Trouble::new(Reason::EncryptedMail, "the attachment is encrypted (PGP or S/MIME)"),
        Kind::Unsupported(name) => {
            let detail = format!("the attachment is {name}; expected gzip, zlib, zip or tar");
            Trouble::new(Reason::UnsupportedContainer, detail)
        }
        _ if head.trim_ascii_start().starts_with(b"<") => {
            not_a_report("the XML has no feedback element near its start")
        }
        _ if head.trim_ascii_start().starts_with(b"{") => {
            not_a_report("the JSON has no key of a TLS report near its start")
        }
        _ => not_a_report("unknown file type; expected XML, JSON, a mail or an archive"),
    }
}
