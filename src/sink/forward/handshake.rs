//! Handshake of Fluent Forward: HELO from the receiver, PING with proofs of the shared key and the password, PONG with the
//! receiver's proof.

use rmp::encode::{ByteBuf, ValueWriteError, write_array_len, write_str};
use rmpv::Value;
use sha2::{Digest, Sha512};

use super::connection::{Connection, ForwardError};
use crate::{
    config::{secret::Secret, sink::Forward},
    event::hex,
};

/// Introduces this sender to the receiver, and checks that the receiver has the same key.
pub(super) async fn introduce(connection: &mut Connection, key: &Secret, config: &Forward) -> Result<(), ForwardError> {
    let key = key.reveal().map_err(ForwardError::Protocol)?;
    let helo = connection.read().await?;
    let Some(options) = options_of(&helo) else {
        return Err(connection.violation("did not begin with HELO, as a receiver with a shared key does"));
    };
    let (nonce, auth_salt) = (bytes(options, "nonce"), bytes(options, "auth"));
    let hostname = match &config.self_hostname {
        Some(name) => name.clone(),
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    // Fluent Bit accepts the salt as text only.
    let salt = hex(&rand::random::<[u8; 16]>());
    let (user, password) = match (&config.user, &config.password) {
        (Some(user), Some(password)) if !auth_salt.is_empty() => {
            let password = password.reveal().map_err(ForwardError::Protocol)?;
            (user.as_str(), digest([&*auth_salt, user.as_bytes(), password.as_bytes()]))
        }
        _ => ("", String::new()),
    };
    let proof = digest([salt.as_bytes(), hostname.as_bytes(), &nonce, key.as_bytes()]);
    connection.write(&ping([&hostname, &salt, &proof, user, &password])).await?;

    let pong = match connection.read().await {
        // Fluent Bit closes the connection without PONG if the key is wrong.
        Err(ForwardError::Lost { endpoint, .. }) => {
            return Err(ForwardError::Protocol(format!(
                "{endpoint} closed the connection after PING; check shared_key"
            )));
        }
        pong => pong?,
    };
    let Some([kind, is_accepted, reason, server, proof, ..]) = pong.as_array().map(Vec::as_slice) else {
        return Err(connection.violation("did not answer PING with PONG"));
    };
    if kind.as_str() != Some("PONG") {
        return Err(connection.violation("did not answer PING with PONG"));
    }
    if is_accepted.as_bool() != Some(true) {
        let reason = reason.as_str().unwrap_or_default();
        return Err(connection.violation(&format!("refused this sender ({reason}), see shared_key, user and password")));
    }
    let server = server.as_str().unwrap_or_default();
    let expected = digest([salt.as_bytes(), server.as_bytes(), &nonce, key.as_bytes()]);
    if proof.as_str() != Some(&*expected) {
        return Err(connection.violation("does not know the shared key"));
    }
    Ok(())
}

/// The options of a HELO.
fn options_of(helo: &Value) -> Option<&[(Value, Value)]> {
    match helo.as_array()?.as_slice() {
        [kind, options, ..] if kind.as_str() == Some("HELO") => options.as_map().map(Vec::as_slice),
        _ => None,
    }
}

/// An option that is a string or binary; empty if it is missing.
fn bytes(options: &[(Value, Value)], name: &str) -> Vec<u8> {
    let found = options.iter().find(|(key, _)| key.as_str() == Some(name));
    match found {
        Some((_, Value::String(text))) => text.as_bytes().to_vec(),
        Some((_, Value::Binary(bytes))) => bytes.clone(),
        _ => Vec::new(),
    }
}

fn ping(parts: [&str; 5]) -> Vec<u8> {
    let mut message = ByteBuf::new();
    let mut write = || -> Result<(), ValueWriteError<std::convert::Infallible>> {
        write_array_len(&mut message, 6)?;
        write_str(&mut message, "PING")?;
        parts.into_iter().try_for_each(|part| write_str(&mut message, part))
    };
    // Writing to memory can't fail.
    write().ok();
    message.into_vec()
}

fn digest<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hasher = Sha512::new();
    for part in parts {
        hasher.update(part);
    }
    hex(&hasher.finalize())
}
