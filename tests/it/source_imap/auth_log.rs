//! Log of the program about tokens: never contains a token or a secret; and its exit codes.

use std::{fs, os::unix::fs::PermissionsExt};

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    dovecot::{Dovecot, Options, USER},
    idp::{CLIENT_ID, CLIENT_SECRET, Idp, REFRESH_TOKEN},
    process::{Finished, Shipper},
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, stdout, with},
};

struct Site {
    ca: Ca,
    idp: Idp,
    dovecot: Dovecot,
    workplace: Workplace,
}

impl Site {
    fn start() -> Self {
        let ca = Ca::new();
        let idp = Idp::start(&ca.server(), USER);
        let options = Options { extra: idp.dovecot_lines(), ..Options::default() };
        let dovecot = Dovecot::with(&ca.server(), &options);
        Self { ca, idp, dovecot, workplace: Workplace::new() }
    }

    fn secret(&self, name: &str, secret: &str) -> Value {
        let path = self.workplace.write(name, format!("{secret}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        json!(path)
    }

    /// Returns the configuration of a token endpoint that requires the client secret.
    fn endpoint(&self) -> Value {
        json!({
            "token_url": self.idp.token_url(),
            "client_id": CLIENT_ID,
            "client_secret_file": self.secret("client-secret", CLIENT_SECRET),
            "tls": {"ca_file": self.ca.file()},
        })
    }

    fn shipper(&self, oauth: &Value, auth: &str) -> Shipper {
        let source = json!({"password": null, "oauth": oauth, "auth": auth});
        let config = self.workplace.config(with(imaps(&self.dovecot, &self.ca), source), stdout());
        self.workplace.shipper(&["run", "--once", "--log-level", "trace", "--config"], &config)
    }

    fn run(&self, oauth: &Value, auth: &str) -> Finished {
        self.shipper(oauth, auth).run()
    }

    /// Returns every form in which tokens and secrets are sent or stored.
    fn never(&self) -> Vec<String> {
        let tokens: Vec<String> = (1..=self.idp.state().issued).map(|number| format!("t0ken-{number}")).collect();
        let responses = self.idp.state().good.clone().into_iter().flat_map(|token| {
            let port = self.dovecot.imaps_port;
            [
                format!("user={USER}\x01auth=Bearer {token}\x01\x01"),
                format!("n,a={USER},\x01host=localhost\x01port={port}\x01auth=Bearer {token}\x01\x01"),
            ]
            .map(|response| STANDARD.encode(response))
        });
        let secrets = [CLIENT_SECRET, REFRESH_TOKEN].into_iter().flat_map(|secret| {
            [secret.to_owned(), STANDARD.encode(secret), utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string()]
        });
        tokens.into_iter().chain(responses.collect::<Vec<_>>()).chain(secrets).collect()
    }
}

#[test]
fn no_token_and_no_secret_of_an_application_is_in_the_log_at_any_level() {
    let site = Site::start();
    let (token, revoked) = (site.idp.token(), site.idp.token());
    site.idp.state().good.retain(|good| *good != revoked);
    let refreshing = json!({"grant": "refresh_token", "refresh_token_file": site.secret("refresh", REFRESH_TOKEN)});
    let script = format!("echo {token}; echo {token} >&2; exit 1");
    for (oauth, code) in [
        (site.endpoint(), 0),
        (with(site.endpoint(), json!({"client_secret_file": null, "client_secret": CLIENT_SECRET})), 0),
        (with(site.endpoint(), refreshing), 0),
        (json!({"token_file": site.secret("token", &token)}), 0),
        (json!({"token_command": ["echo", token]}), 0),
        // The token is refused; the answer of the server, the endpoint or the command is logged.
        (json!({"token_file": site.secret("revoked", &revoked)}), 77),
        (json!({"token_command": ["sh", "-c", script]}), 77),
        (with(site.endpoint(), json!({"client_id": "stranger"})), 77),
        (with(site.endpoint(), json!({"grant": "refresh_token", "refresh_token": "t0ken-of-old"})), 77),
    ] {
        for auth in ["xoauth2", "oauthbearer"] {
            let finished = site.run(&oauth, auth).exited(code);
            for secret in site.never().iter().chain([&revoked, &"t0ken-of-old".to_owned()]) {
                assert!(!finished.stderr.contains(secret), "{secret} in {}", finished.stderr);
            }
            assert!(code != 0 || finished.stderr.contains("\"debug\""), "{}", finished.stderr);
        }
    }
}

#[test]
fn an_endpoint_that_repeats_what_it_was_sent_does_not_get_it_into_the_log() {
    let site = Site::start();
    let encoded = utf8_percent_encode(CLIENT_SECRET, NON_ALPHANUMERIC).to_string();
    let answer =
        json!({"error": "invalid_client", "error_description": format!("{CLIENT_SECRET} or {encoded} is wrong")});
    site.idp.state().answers.push_back((401, answer.to_string()));
    let finished = site.run(&site.endpoint(), "auto").exited(77).says(&["invalid_client: … or … is wrong"]);
    assert!(!finished.stderr.contains(CLIENT_SECRET) && !finished.stderr.contains(&encoded), "{}", finished.stderr);
}

#[test]
fn the_exit_code_says_whether_a_token_was_refused_or_could_not_be_had() {
    let site = Site::start();
    site.idp.state().answers.push_back((503, String::new()));
    site.run(&site.endpoint(), "auto").exited(69).says(&["no access token from localhost", "503"]);
    site.run(&json!({"token_file": "/nowhere/token"}), "auto").exited(78).says(&["/nowhere/token"]);
    site.run(&json!({"token_command": ["/nowhere/token"]}), "auto").exited(78).says(&["/nowhere/token"]);
    let empty = json!({"token_file": site.workplace.write("empty", "\n")});
    site.run(&empty, "auto").exited(78).says(&["expected one access token"]);
}

#[test]
fn a_token_command_can_t_speak_to_systemd_in_the_program_s_name() {
    let site = Site::start();
    let seen = site.workplace.path("seen");
    let script = format!("env > {}; echo {}", seen.display(), site.idp.token());
    let shipper = site.shipper(&json!({"token_command": ["sh", "-c", script]}), "auto");
    let told = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "OTHER"];
    told.into_iter().fold(shipper, |shipper, name| shipper.env(name, "1")).run().exited(0);
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("OTHER=1\n"), "{seen}");
    assert!(!seen.contains("NOTIFY_SOCKET") && !seen.contains("WATCHDOG"), "{seen}");
}

/// Regression: the shell was killed, but the processes that it had started were not.
#[test]
fn a_token_command_that_runs_ends_with_the_program_and_all_that_it_started() {
    let site = Site::start();
    let file = site.workplace.path("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    let running = site.shipper(&json!({"token_command": ["sh", "-c", script]}), "auto").start();
    let process = eventually(LONG, "the command runs", || fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok());
    running.signal(Signal::TERM);
    running.finish().exited(75);
    let state = || fs::read_to_string(format!("/proc/{process}/stat")).ok();
    eventually(LONG, "what it started is gone", || state().is_none_or(|stat| stat.contains(") Z ")).then_some(()));
}
