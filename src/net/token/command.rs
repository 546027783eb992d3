//! A program that prints an access token. What it prints is never shown.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use super::{TokenError, sound};
use crate::ops::notify::VARIABLES;

/// Such programs may ask a server of their own.
const TIME: Duration = Duration::from_secs(30);
/// Of each stdout and stderr; tokens have a few kilobytes.
const OUTPUT_BYTES: u64 = 64 << 10;
/// Characters of the program's complaint that are shown.
const SHOWN: usize = 200;

pub async fn run(command: &[String]) -> Result<String, TokenError> {
    let [program, arguments @ ..] = command else {
        return Err(TokenError::Configuration("token_command names no program".into()));
    };
    let failed = |what: String| TokenError::Refused(format!("the token_command {program} {what}"));
    let mut command = Command::new(program);
    for name in VARIABLES {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| TokenError::Configuration(format!("can't run the token_command {program}: {error}")))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = timeout(TIME, async {
        let (printed, complaint) = tokio::join!(read(stdout), read(stderr));
        (printed, complaint, child.wait().await)
    });
    let Ok((printed, complaint, status)) = ended.await else {
        return Err(TokenError::Unavailable(format!("the token_command {program} took longer than {TIME:?}")));
    };
    let status = status.map_err(|error| failed(format!("can't be waited for: {error}")))?;
    match sound(&printed) {
        Some(token) if status.success() && printed.len() < OUTPUT_BYTES as usize => Ok(token),
        Some(token) if !status.success() => {
            Err(failed(format!("ended with {status}{}", first_line(&complaint, &token))))
        }
        _ if status.success() => {
            Err(failed(format!("printed no access token, or more than one{}", first_line(&complaint, printed.trim()))))
        }
        _ => Err(failed(format!("ended with {status}{}", first_line(&complaint, printed.trim())))),
    }
}

/// All that is printed, of which the beginning is kept: the program must not be stopped by a full pipe.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What can't be read was not printed.
        (&mut pipe).take(OUTPUT_BYTES).read_to_end(&mut bytes).await.ok();
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the program complains of, without what it printed, should it repeat it.
fn first_line(complaint: &str, printed: &str) -> String {
    let hidden = if printed.is_empty() { complaint.to_owned() } else { complaint.replace(printed, "…") };
    match hidden.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!(": {}", line.chars().take(SHOWN).collect::<String>()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<String, TokenError> {
        run(&["sh".into(), "-c".into(), script.into()]).await
    }

    #[tokio::test]
    async fn what_it_prints_is_the_token() {
        assert_eq!(shell("echo tok3n").await.unwrap(), "tok3n");
    }

    #[tokio::test]
    async fn arguments_reach_the_program_without_a_shell() {
        let command = ["echo", "$(id);`id`"].map(str::to_owned);
        assert_eq!(run(&command).await.unwrap(), "$(id);`id`");
    }

    #[tokio::test]
    async fn its_complaint_is_told_by_its_first_line_and_never_what_it_printed() {
        let error = shell("echo s3cret-token; echo 'no s3cret-token for you' >&2; echo more >&2; exit 3").await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("exit status: 3: no … for you"), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("more"), "{text}");
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused_without_being_shown() {
        for script in ["true", "echo two s3cret", "echo s3cret; echo s3cret2", "head -c 70000 /dev/zero | tr '\\0' s"] {
            let text = shell(script).await.unwrap_err().to_string();
            assert!(text.contains("printed no access token") && !text.contains("s3cret"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_mistake_in_the_configuration() {
        let error = run(&["/nowhere/token".to_owned()]).await.unwrap_err();
        assert!(
            matches!(error, TokenError::Configuration(_)) && error.to_string().contains("/nowhere/token"),
            "{error}"
        );
    }
}
