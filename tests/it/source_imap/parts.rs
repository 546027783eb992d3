//! Large mails, which are fetched in parts (partial FETCH).

use dmarc_shipper::{
    config::source::Imap,
    source::{Pass, SourceError, Verdict},
    trouble::Reason,
};

use super::{
    driver::{Driver, Seen, Server, archiving, config, mail},
    scripted::{Act, Scripted, State},
};

pub const PART: usize = 1 << 20;

pub fn large(bytes: usize) -> Vec<u8> {
    let mut mail = b"Subject: large\r\n\r\n".to_vec();
    // Each part is different.
    while mail.len() < bytes {
        mail.extend(format!("{:098}\r\n", mail.len()).bytes());
    }
    mail.truncate(bytes - 2);
    mail.extend(b"\r\n");
    mail
}

#[tokio::test]
async fn large_mails_come_in_parts_and_whole() {
    let server = Server::filled(1);
    let sizes = [PART, PART + 101, 2 * PART - 1, 2 * PART, 5 * PART / 2];
    sizes.iter().for_each(|size| server.mailbox().deliver("INBOX", &large(*size)));
    let (pass, mut seen) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
    assert_eq!(pass.unwrap().settled, 6);
    seen.sort_by_key(|seen| seen.uid);
    assert_eq!(seen[0].content, Ok(mail(1)));
    for (seen, size) in seen[1..].iter().zip(sizes) {
        assert!(seen.content == Ok(large(size)), "{size}");
    }
    let commands = server.dovecot.commands();
    let parts = commands.iter().filter(|command| command.contains(".1048576>")).count();
    // A mail of exactly two parts has a third, which is empty.
    assert_eq!(parts, 2 + 2 + 3 + 3, "{commands:?}");
}

/// Returns a server's response to the request for a part of the mail at this offset.
type Way = fn(&[u8], usize) -> String;

/// Runs against a server with one large mail between two small ones.
async fn answering(bytes: usize, way: Way) -> (Result<Pass, SourceError>, Vec<Seen>) {
    let server = Scripted::start(3, move |state: &mut State, command| {
        let Some(asked) = command.strip_prefix("UID FETCH 2 (UID BODY.PEEK[]<") else { return Act::Honest };
        let offset = asked.split('.').next().unwrap().parse().unwrap();
        Act::Say(way(&state.mails[&2], offset) + "TAG OK done\r\n")
    })
    .await;
    server.set(|state| drop(state.mails.insert(2, large(bytes))));
    let config = Imap { host: "127.0.0.1".into(), archive_folder: Some("Done".into()), ..config(server.port) };
    Driver::new(config)
        .run(|seen| match &seen.content {
            Ok(_) => Verdict::Archive,
            Err(_) => Verdict::Leave,
        })
        .await
}

fn piece(origin: &str, bytes: &[u8]) -> String {
    format!("* 2 FETCH (UID 2 BODY[]{origin} {{{}}}\r\n{})\r\n", bytes.len(), String::from_utf8_lossy(bytes))
}

/// Returns the correct part; empty at the end of the mail.
fn honest(mail: &[u8], offset: usize) -> Option<String> {
    let bytes = mail.get(offset..(offset + PART).min(mail.len())).filter(|bytes| !bytes.is_empty())?;
    Some(piece(&format!("<{offset}>"), bytes))
}

#[tokio::test]
async fn partial_fetch_variants_of_servers_give_the_whole_mail() {
    let ways: [(&str, Way); 4] = [
        ("knows no parts", |mail, _| piece("", mail)),
        ("sends nothing at the end", |mail, offset| honest(mail, offset).unwrap_or_default()),
        ("answers NIL at the end", |mail, offset| {
            honest(mail, offset).unwrap_or_else(|| format!("* 2 FETCH (UID 2 BODY[]<{offset}> NIL)\r\n"))
        }),
        ("refuses at the end", |mail, offset| {
            honest(mail, offset).unwrap_or_else(|| "TAG NO there is no more\r\n".into()).replace("TAG OK done\r\n", "")
        }),
    ];
    for (name, way) in ways {
        let (pass, seen) = answering(2 * PART, way).await;
        assert_eq!(pass.unwrap().settled, 3, "{name}");
        assert!(seen.iter().find(|seen| seen.uid == 2).unwrap().content == Ok(large(2 * PART)), "{name}");
    }
}

#[tokio::test]
async fn inconsistent_partial_fetches_make_no_mail_and_end() {
    let ways: [(&str, Way); 3] = [
        ("sends the first part again and again", |mail, _| piece("<0>", &mail[..PART])),
        ("sends the whole mail for every part but the first", |mail, offset| match offset {
            0 => piece("<0>", &mail[..PART]),
            _ => piece("", mail),
        }),
        ("never ends", |mail, offset| piece(&format!("<{offset}>"), &mail[..PART])),
    ];
    for (name, way) in ways {
        let (pass, seen) = answering(3 * PART, way).await;
        assert_eq!(pass.unwrap().settled, 2, "{name}");
        let given_up = seen.iter().find(|seen| seen.uid == 2).unwrap().content.as_ref().unwrap_err();
        assert!([Reason::AttemptsExhausted, Reason::MailTooLarge].contains(&given_up.reason), "{name}: {given_up}");
    }
}

/// The bytes accepted are limited to the given sizes and some tolerance; the remaining mails are fetched in smaller
/// batches.
#[tokio::test]
async fn missing_rfc822_size_keeps_memory_bounded_and_fetches_each_mail_once() {
    let server = Scripted::start(0, |state, command| {
        let sizes = state.mails.keys().map(|uid| format!("* {uid} FETCH (UID {uid} RFC822.SIZE 0)\r\n"));
        match command.ends_with("(UID RFC822.SIZE)") {
            true => Act::Say(sizes.collect::<String>() + "TAG OK done\r\n"),
            false => Act::Honest,
        }
    })
    .await;
    server.set(|state| state.mails = (1..=150).map(|uid| (uid, large(60_000))).collect());
    let config = Imap { host: "127.0.0.1".into(), archive_folder: Some("Done".into()), ..config(server.port) };
    let (pass, seen) = Driver::new(config).run(|_| Verdict::Archive).await;
    let mut uids: Vec<u32> = seen.iter().map(|seen| seen.uid).collect();
    uids.sort_unstable();
    assert_eq!((pass.unwrap().settled, uids), (150, (1..=150).collect()));
    assert!(seen.iter().all(|seen| seen.content == Ok(large(60_000))));
    let fetches = server.count("UID FETCH") - 2; // the census, and the sizes
    // 69 mails of 60,000 bytes fit into 4 MiB; the next one is fetched on its own, and the others in eight parts.
    assert_eq!(fetches, 1 + 1 + 8, "{fetches}");
}
