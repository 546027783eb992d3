//! A small identity provider: a token endpoint over TLS, and an introspection endpoint for Dovecot.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use percent_encoding::percent_decode_str;
use tempfile::TempDir;
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::ca::Identity;

/// Client id that the provider knows. The client secret needs URL encoding in a form.
pub const CLIENT_ID: &str = "shipper";
pub const CLIENT_SECRET: &str = "cl1ent~secret/+&= value";
pub const REFRESH_TOKEN: &str = "r3fresh/token+1";

pub type Form = BTreeMap<String, String>;

pub struct Idp {
    token_port: u16,
    state: Arc<Mutex<State>>,
    /// Folder with Dovecot's configuration of the introspection.
    dovecot: TempDir,
}

pub struct State {
    user: &'static str,
    /// Tokens that are currently valid.
    pub good: Vec<String>,
    pub issued: u32,
    /// Requests received by the token endpoint.
    pub asked: Vec<Form>,
    /// Status and body, returned instead of tokens.
    pub answers: VecDeque<(u16, String)>,
    /// Sent instead of a response: a beginning, and text that is repeated without end.
    pub flood: Option<(&'static str, String)>,
}

impl Idp {
    /// Starts a provider that issues tokens for `user`.
    pub fn start(identity: &Identity, user: &'static str) -> Self {
        let state = Arc::new(Mutex::new(State {
            user,
            good: Vec::new(),
            issued: 0,
            asked: Vec::new(),
            answers: VecDeque::new(),
            flood: None,
        }));
        let tls = identity.tls(None);
        let token_port = serve(state.clone(), move |stream, state| {
            let mut stream = StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), stream);
            exchange(&mut stream, state, issue)?;
            stream.conn.send_close_notify();
            stream.flush()
        });
        let introspection_port = serve(state.clone(), |mut stream, state| exchange(&mut stream, state, introspect));
        let dovecot = tempfile::tempdir().unwrap();
        fs::set_permissions(dovecot.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let asked_at = format!(
            "introspection_mode = post\nintrospection_url = http://127.0.0.1:{introspection_port}/introspect\n\
             username_attribute = username\nactive_attribute = active\nactive_value = true\n"
        );
        fs::write(dovecot.path().join("oauth2.conf"), asked_at).unwrap();
        Self { token_port, state, dovecot }
    }

    pub fn token_url(&self) -> String {
        format!("https://localhost:{}/tenant/token", self.token_port)
    }

    /// Returns configuration lines with which Dovecot accepts the tokens of this provider.
    pub fn dovecot_lines(&self) -> String {
        let file = self.dovecot.path().join("oauth2.conf");
        format!(
            "auth_mechanisms = plain login xoauth2 oauthbearer\n\
             passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {}\n}}\n",
            file.display()
        )
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Returns a token that was obtained by other means.
    pub fn token(&self) -> String {
        self.state().give_out()
    }

    /// Returns a file with such a token.
    pub fn token_file(&self) -> PathBuf {
        let file = self.dovecot.path().join("token");
        fs::write(&file, format!("{}\n", self.token())).unwrap();
        file
    }
}

impl State {
    fn give_out(&mut self) -> String {
        self.issued += 1;
        let token = format!("eyJ0eXAi.t0ken-{}~_", self.issued);
        self.good.push(token.clone());
        token
    }
}

/// Serves each connection in a thread, which ends with the test process.
fn serve(
    state: Arc<Mutex<State>>,
    each: impl Fn(TcpStream, &Mutex<State>) -> io::Result<()> + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let each = Arc::new(each);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, state, each) = (stream.unwrap(), state.clone(), each.clone());
            // A client that closes the connection early is not an error of the test.
            thread::spawn(move || each(stream, &state).ok());
        }
    });
    port
}

/// Reads one request with a form, and sends the response.
fn exchange(
    stream: &mut (impl Read + Write),
    state: &Mutex<State>,
    answer: impl Fn(&mut State, Form) -> (u16, String),
) -> io::Result<()> {
    let mut reader = BufReader::new(&mut *stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let flood = state.lock().unwrap().flood.clone();
    if let Some((begin, text)) = flood {
        stream.write_all(begin.as_bytes())?;
        loop {
            stream.write_all(text.as_bytes())?;
        }
    }
    let (status, answer) = answer(&mut state.lock().unwrap(), form(&String::from_utf8(body).unwrap()));
    write!(
        stream,
        "HTTP/1.1 {status} whatever\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )?;
    stream.flush()
}

fn form(body: &str) -> Form {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned();
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// Token request (RFC 6749 sections 4.4 and 6).
fn issue(state: &mut State, form: Form) -> (u16, String) {
    let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
    let refused = |error: &str| (400, format!(r#"{{"error":"{error}"}}"#));
    let known = is("client_id", CLIENT_ID) && is("client_secret", CLIENT_SECRET);
    let entitled = is("grant_type", "client_credentials")
        || (is("grant_type", "refresh_token") && is("refresh_token", REFRESH_TOKEN));
    state.asked.push(form.clone());
    if let Some(answer) = state.answers.pop_front() {
        return answer;
    }
    match (known, entitled) {
        (false, _) => refused("invalid_client"),
        (true, false) => refused("invalid_grant"),
        (true, true) => {
            let token = state.give_out();
            (200, format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#))
        }
    }
}

/// Token introspection (RFC 7662).
fn introspect(state: &mut State, form: Form) -> (u16, String) {
    match form.get("token").is_some_and(|token| state.good.contains(token)) {
        true => (200, format!(r#"{{"active":true,"username":"{}"}}"#, state.user)),
        false => (200, r#"{"active":false}"#.to_owned()),
    }
}
