//! Podman: builds the image of this source tree, and runs containers that end with their test.

use std::{
    env,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Output},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::render::path;
use crate::support::{
    server::installed,
    wait::{LONG, eventually},
};

/// User id of the program in its image.
pub const USER: u32 = 65532;

/// Runs podman with settings that work on machines without systemd.
pub fn podman<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(installed("podman"));
    command.env("CONTAINERS_CONF", path("tests/containers.conf")).args(arguments).output().unwrap()
}

/// Runs podman, which must succeed; returns its stdout.
#[track_caller]
pub fn podman_does<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = podman(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "podman can't do it here; it needs root, runc and namespaces (tests/install-servers.sh): {stderr}"
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Builds the image: the final stage of the Dockerfile, with a static binary built here instead of its build stage.
pub fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        once_a_run("dmarc-shipper", |name| {
            let host = host();
            let target = path("target/image");
            let built = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--locked", "--config", "profile.dev.debug=false", "--target", &host])
                .arg("--target-dir")
                .arg(&target)
                .env("RUSTFLAGS", "-C target-feature=+crt-static")
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .current_dir(path("."))
                .output()
                .unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            let context = tempfile::tempdir().unwrap();
            fs::create_dir_all(context.path().join("out/data")).unwrap();
            let binary = target.join(host).join("debug/dmarc-shipper");
            fs::copy(binary, context.path().join("out/dmarc-shipper")).unwrap();
            let stage = format!("build={}", context.path().display());
            let file = path(".");
            podman_does([
                "build",
                "--quiet",
                "--format",
                "docker",
                "--network",
                "none",
                "--build-context",
                &stage,
                "--tag",
                name,
                file.to_str().unwrap(),
            ]);
            // The image of the last run has lost its tag.
            podman(["image", "prune", "--force", "--filter", "label=org.opencontainers.image.title=dmarc-shipper"]);
        })
    })
}

/// Builds an image in place of a log collector, whose port the test listens on: it waits for its end.
pub fn collector_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        once_a_run("collector", |name| {
            let context = tempfile::tempdir().unwrap();
            fs::copy(installed("busybox"), context.path().join("busybox")).unwrap();
            // It ignores its arguments, and is installed under the paths of both real programs. It writes where they keep their
            // buffers, and ends if it can't.
            let script = "#!/busybox sh
trap exit TERM
/busybox touch /var/lib/collector/buffer || exit
/busybox sleep 1000000 & wait $!
";
            let file = r#"FROM scratch
COPY busybox /busybox
COPY --chmod=0755 wait /wait
COPY --chmod=0755 wait /fluent-bit/bin/fluent-bit
ENTRYPOINT ["/wait"]
"#;
            fs::write(context.path().join("wait"), script).unwrap();
            fs::write(context.path().join("Dockerfile"), file).unwrap();
            podman_does(["build", "--quiet", "--network", "none", "--tag", name, context.path().to_str().unwrap()]);
        })
    })
}

/// Returns the tag of an image, which `make` builds once per run of the tests: cargo-nextest starts a process for each
/// test.
fn once_a_run(what: &str, make: impl FnOnce(&str)) -> String {
    let folder = path("target/image");
    fs::create_dir_all(&folder).unwrap();
    let mut built_in = File::options().create(true).read(true).append(true).open(folder.join(what)).unwrap();
    built_in.lock().unwrap();
    let name = tag(what);
    let run = env::var("NEXTEST_RUN_ID").unwrap_or_default();
    let mut last = String::new();
    built_in.read_to_string(&mut last).unwrap();
    if run.is_empty() || run != last {
        make(&name);
        built_in.set_len(0).unwrap();
        built_in.write_all(run.as_bytes()).unwrap();
    }
    name
}

/// Returns a tag that is not used by the tests of another source tree, and is reused by the next run in this one.
fn tag(what: &str) -> String {
    let tree: String = env!("CARGO_MANIFEST_DIR").chars().filter(char::is_ascii_alphanumeric).collect();
    format!("localhost/{}/{what}:test", tree.to_ascii_lowercase())
}

/// Returns the target triple of this machine's rustc.
pub fn host() -> String {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(rustc.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

/// Returns a name that is unique on this machine.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("test-{}-{}-{what}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A running container, and its volume for `data_dir`.
pub struct Container {
    pub name: String,
}

impl Container {
    /// Starts `run` with these arguments and as few rights as a hardened cluster grants, with this folder as
    /// /etc/dmarc-shipper.
    #[track_caller]
    pub fn start(config: &Path, arguments: &[&str]) -> Self {
        let container = Self { name: unique("shipper") };
        let user = USER.to_string();
        let (data, config) = (
            format!("{}:/var/lib/dmarc-shipper", container.name),
            format!("{}:/etc/dmarc-shipper:ro", config.display()),
        );
        let mut command = vec!["run", "--detach", "--name", &container.name, "--network", "host", "--read-only"];
        command.extend([
            "--read-only-tmpfs=false",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--user",
            &user,
        ]);
        command.extend(["--pull=never", "-v", &data, "-v", &config, image(), "run"]);
        command.extend(arguments);
        podman_does(command);
        container
    }

    /// Waits for the end of the container; expects this exit code.
    #[track_caller]
    pub fn ends(&self, code: i32) {
        let ended = podman_does(["wait", &self.name]);
        assert_eq!(ended, code.to_string(), "{}", self.log());
    }

    pub fn signal(&self, signal: &str) {
        podman_does(["kill", "--signal", signal, &self.name]);
    }

    pub fn start_again(&self) {
        podman_does(["start", &self.name]);
    }

    /// Returns stdout and stderr.
    pub fn log(&self) -> String {
        log(&self.name)
    }

    #[track_caller]
    pub fn until_said(&self, words: &str) {
        eventually(LONG, &format!("the container says {words:?}"), || self.log().contains(words).then_some(()));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        podman(["rm", "--force", "--volumes", "--time", "1", &self.name]);
        podman(["volume", "rm", "--force", &self.name]);
    }
}

/// Returns what a container has written to stdout and stderr.
pub fn log(container: &str) -> String {
    let output = podman(["logs", container]);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
