//! Renders the chart, as YAML and as values.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// Returns a path in the source tree.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the value files in `ci/`, by the part of their name before `-values.yaml`.
pub fn value_files() -> Vec<(String, PathBuf)> {
    let folder = fs::read_dir(path("helm/dmarc-shipper/ci")).unwrap();
    let mut files: Vec<_> = folder
        .map(|entry| entry.unwrap().path())
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            (name.strip_suffix("-values.yaml").expect("value files end in -values.yaml").to_owned(), file)
        })
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    files
}

/// Runs Helm with these arguments; the caller checks whether it succeeded.
pub fn helm<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(tool("helm/bin/helm"));
    command.args(arguments).output().unwrap()
}

/// Returns the output of `helm template` for these files and more arguments.
#[track_caller]
pub fn rendered(release: &str, files: &[&Path], more: &[&str]) -> String {
    let mut arguments =
        vec!["template".to_owned(), release.to_owned(), path("helm/dmarc-shipper").display().to_string()];
    arguments.extend(["--kube-version", "1.31.0"].map(str::to_owned));
    for file in files {
        arguments.extend(["-f".to_owned(), file.display().to_string()]);
    }
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    let output = helm(&arguments);
    assert!(output.status.success(), "{files:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the documents of a YAML text.
#[track_caller]
pub fn documents(yaml: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)";
    let mut python = Command::new(tool("kubernetes/bin/python"))
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "no YAML:\n{yaml}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Validates YAML against the schemas of these Kubernetes versions; returns the error messages if it is not valid.
pub fn validated(yaml: &str) -> Result<(), String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    let mut command = Command::new(tool("kubernetes/bin/kubernetes-validate"));
    command.args(["--strict", "--quiet", "--no-warn", "-k", "1.31", "-k", "1.36"]).arg(file.path());
    let output = command.output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
}

fn tool(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| path("target"), PathBuf::from);
    let tool = target.join("tools").join(name);
    assert!(tool.is_file(), "{} is missing: run tests/install-servers.sh", tool.display());
    tool
}
