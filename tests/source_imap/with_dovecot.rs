use dmarc_shipper::{
    config::{
        secret::Secret,
        source::{Auth, Imap, Security, WithoutReport},
        tls::Tls,
    },
    source::{SourceError, Verdict},
    trouble::{Reason, Trouble},
};

use crate::{
    dovecot::Dovecot,
    driver::{Driver, archiving, config, filled, mail},
};

#[tokio::test]
async fn mails_are_read_over_tls_and_archived() {
    let server = Dovecot::start('/', "");
    filled(&server, 3);
    let (pass, seen) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
    let pass = pass.unwrap();
    assert_eq!((pass.taken, pass.settled, pass.unsettled), (3, 3, 0));
    let contents: Vec<Vec<u8>> = seen.into_iter().map(|seen| seen.content.unwrap()).collect();
    assert_eq!(contents, [mail(1), mail(2), mail(3)]);
    assert!(server.mails("INBOX").is_empty());
    assert_eq!(server.mails("Processed").len(), 3);
}
