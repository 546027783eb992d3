//! Runs a program that prints an access token. Its output is never shown.

use std::{
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};

use super::{bearer::sound, error::TokenError};
use crate::ops::notify::VARIABLES;

/// Time limit; such programs may query a server of their own.
const TIME: Duration = Duration::from_secs(30);
/// Maximum number of bytes kept, of stdout and of stderr each; tokens have a few kilobytes.
const OUTPUT_BYTES: u64 = 64 << 10;
/// Maximum number of characters shown of the program's error message.
const SHOWN: usize = 200;

/// Process groups of the programs that are running.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A program and all processes that it has started, such as those that a shell waits for: killed together if this is
/// dropped before the program has ended.
struct Group {
    leader: Option<Pid>,
    ended: bool,
}

impl Group {
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        running().extend(leader);
        Self { leader, ended: false }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        running().retain(|leader| Some(*leader) != self.leader);
        if let Some(leader) = self.leader.filter(|_| !self.ended) {
            kill(leader);
        }
    }
}

/// Kills the programs that still run, when the process ends: its runtime may not get to drop the futures that wait for them.
pub fn end_all() {
    running().drain(..).for_each(kill);
}

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(leader: Pid) {
    kill_process_group(leader, Signal::KILL).ok(); // ignored: all of it may have ended just now
}

pub async fn run(command: &[String]) -> Result<String, TokenError> {
    let [program, arguments @ ..] = command else {
        return Err(TokenError::configuration("token_command is empty; expected a program and its arguments"));
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
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| TokenError::Configuration {
            text: format!("can't run the token_command {program}: {error}"),
            cause: Some(error.into()),
        })?;
    let mut group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = timeout(TIME, async {
        let (printed, complaint) = tokio::join!(read(stdout), read(stderr));
        let status = child.wait().await;
        group.ended = true; // its process id may be reused from now on
        (printed, complaint, status)
    });
    let Ok((printed, complaint, status)) = ended.await else {
        return Err(TokenError::unavailable(format!("the token_command {program} took longer than {TIME:?}")));
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

/// Reads all of the output and keeps its beginning: the program must not block on a full pipe.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A read error counts as the end of the output.
        (&mut pipe).take(OUTPUT_BYTES).read_to_end(&mut bytes).await.ok();
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the first line of the program's error message, without its output, in case the message repeats it.
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
    async fn token_command_prints_the_token() {
        assert_eq!(shell("echo tok3n").await.unwrap(), "tok3n");
    }

    #[tokio::test]
    async fn token_command_arguments_are_passed_without_a_shell() {
        let command = ["echo", "$(id);`id`"].map(str::to_owned);
        assert_eq!(run(&command).await.unwrap(), "$(id);`id`");
    }

    #[tokio::test]
    async fn token_command_errors_show_the_first_line_of_stderr_and_never_stdout() {
        let error = shell("echo s3cret-token; echo 'no s3cret-token for you' >&2; echo more >&2; exit 3").await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("exit status: 3: no … for you"), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("more"), "{text}");
    }

    #[tokio::test]
    async fn invalid_tokens_are_refused_without_being_shown() {
        for script in ["true", "echo two s3cret", "echo s3cret; echo s3cret2", "head -c 70000 /dev/zero | tr '\\0' s"] {
            let text = shell(script).await.unwrap_err().to_string();
            assert!(text.contains("printed no access token") && !text.contains("s3cret"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_missing_token_command_is_a_configuration_error() {
        let error = run(&["/nowhere/token".to_owned()]).await.unwrap_err();
        assert!(
            matches!(error, TokenError::Configuration { cause: Some(_), .. })
                && error.to_string().contains("/nowhere/token"),
            "{error}"
        );
    }

    /// Waits until a script has written a process id, and returns it.
    async fn written(to: &std::path::Path) -> Pid {
        loop {
            if let Some(id) = std::fs::read_to_string(to).ok().and_then(|text| text.trim().parse().ok()) {
                return Pid::from_raw(id).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_gone(process: Pid) {
        let state = || std::fs::read_to_string(format!("/proc/{process}/stat"));
        // A zombie has ended all the same.
        while state().is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_cancelled_token_command_is_killed_with_its_process_group() {
        let folder = tempfile::tempdir().unwrap();
        for begin in ["", "exec >&- 2>&-; "] {
            let file = folder.path().join(begin.len().to_string());
            let script = format!("{begin}sleep 600 & echo $! > {}; wait", file.display());
            let started = timeout(Duration::from_secs(60), async {
                tokio::select! {
                    ended = shell(&script) => panic!("{ended:?}"),
                    process = written(&file) => process,
                }
            });
            let process = started.await.unwrap();
            timeout(Duration::from_secs(60), until_gone(process)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn background_processes_of_a_finished_token_command_are_not_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 > /dev/null 2>&1 & echo $! > {}; echo tok3n", file.display());
        assert_eq!(shell(&script).await.unwrap(), "tok3n");
        let process = written(&file).await;
        rustix::process::kill_process(process, Signal::KILL).unwrap();
    }
}
