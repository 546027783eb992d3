//! A server whose certificate changes while mails are read from it.

use std::{fs, path::PathBuf, time::Duration};

use dmarc_shipper::{
    config::{
        source::{Imap, Security},
        tls::Tls,
    },
    source::{SourceError, Verdict},
};

use super::{
    driver::{Driver, config, password},
    scripted::{Act, Scripted, State},
    with_scripts::fetched,
};
use crate::support::ca::Ca;

/// Returns a server that ends its first session at the first request for mails, after `change`.
async fn changing(ca: &Ca, change: impl Fn(&mut State) + Send + 'static) -> Scripted {
    let server = Scripted::start(2, move |state, command| match fetched(command).is_some() && state.sessions == 1 {
        true => {
            change(state);
            Act::SayAndHangUp(String::new())
        }
        false => Act::Honest,
    })
    .await;
    server.set(|state| (state.imaps, state.identity) = (true, Some(ca.server())));
    server
}

fn trusting(server: &Scripted, ca_file: PathBuf) -> Imap {
    Imap {
        security: Security::Tls,
        credentials: password("secret"),
        tls: Tls { ca_file: Some(ca_file), ..Tls::default() },
        archive_folder: Some("Done".into()),
        ..config(server.port)
    }
}

#[tokio::test]
async fn renewed_server_certificate_is_accepted() {
    let ca = Ca::new();
    let renewed = ca.renewed();
    let server = changing(&ca, move |state| state.identity = Some(renewed.clone())).await;
    let pass = Driver::new(trusting(&server, ca.file())).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, server.state.lock().unwrap().sessions), (2, 2));
}

#[tokio::test]
async fn new_ca_file_is_used_without_a_restart() {
    let (old, new, folder) = (Ca::new(), Ca::new(), tempfile::tempdir().unwrap());
    let trusted = folder.path().join("ca.pem");
    fs::copy(old.file(), &trusted).unwrap();
    let (identity, authority, written) = (new.server(), new.file(), trusted.clone());
    let server = changing(&old, move |state| {
        fs::copy(&authority, &written).unwrap();
        state.identity = Some(identity.clone());
    })
    .await;
    let pass = Driver::new(trusting(&server, trusted)).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, server.state.lock().unwrap().sessions), (2, 2));
}

#[tokio::test]
async fn untrusted_certificate_gets_no_login_and_touches_no_mail() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let identity = stranger.server();
    let server = changing(&ca, move |state| state.identity = Some(identity.clone())).await;
    let mut driver = Driver::new(trusting(&server, ca.file()));
    driver.give_up_after = Duration::from_secs(1);
    let (result, seen) = driver.run(|_| Verdict::Archive).await;
    let error = result.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("tls.ca_file"), "{error}");
    let state = server.state.lock().unwrap();
    assert!(state.sessions > 1 && seen.is_empty());
    assert_eq!((state.mails.len(), state.commands.iter().filter(|sent| sent.starts_with("LOGIN")).count()), (2, 1));
}
