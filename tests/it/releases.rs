//! Prerequisites of `make release` and hosted CI: the places of the version number, and the names of make targets.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::receivers::yaml;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The version is written there by `.ci/release`.
#[test]
fn every_file_has_the_version_of_cargo_toml() {
    let chart = yaml::parse(&read("helm/dmarc-shipper/Chart.yaml"));
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(VERSION), &json!(VERSION)));
    for name in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let package = format!("name = \"dmarc-shipper\"\nversion = \"{VERSION}\"\n");
        assert!(read(name).contains(&package), "{name} has another version");
    }
    for name in ["README.md", "docs/kubernetes.md", "helm/dmarc-shipper/README.md"] {
        let text = read(name);
        let image = "registry.example.com/dmarc-shipper:";
        let tags: Vec<&str> = text.split(image).skip(1).map(|rest| rest.split_whitespace().next().unwrap()).collect();
        assert!(!tags.is_empty() && tags.iter().all(|tag| *tag == VERSION), "{name}: {tags:?}");
    }
}

/// The profile `release` is optimized for compile time; the one for releases is another, whose size is measured and
/// checked.
#[test]
fn releases_and_images_are_built_with_the_profile_dist() {
    for (name, built) in [
        ("Dockerfile", "target/$triple/dist/dmarc-shipper"),
        ("tests/arm64.sh", "$triple/dist/dmarc-shipper"),
        ("Makefile", "target/$(HOST)/dist/dmarc-shipper"),
    ] {
        let text = read(name);
        assert!(text.contains("build --profile dist --locked --target ") && text.contains(built), "{name}");
    }
}

#[test]
fn the_changelog_has_the_section_that_a_release_dates() {
    assert_eq!(read("CHANGELOG.md").matches("\n## [Unreleased]\n").count(), 1);
}

/// A workflow that calls a missing target is not noticed before it runs.
#[test]
fn hosted_ci_runs_existing_targets_with_pinned_actions_read_only() {
    let makefile = read("Makefile");
    for (name, expected) in [
        ("ci.yml", &["make lint", "make test-fast", "sudo env HOME=\"$HOME\" PATH=\"$PATH\" .ci/run"][..]),
        ("release.yml", &["make release-build", "make release-build PLATFORM=linux/arm64"]),
    ] {
        let workflow = yaml::parse(&read(&format!(".github/workflows/{name}")));
        assert_eq!(workflow["permissions"], json!({"contents": "read"}), "{name}");
        let steps: Vec<&Value> =
            workflow["jobs"].as_object().unwrap().values().flat_map(|job| job["steps"].as_array().unwrap()).collect();
        let each = |key: &str| steps.iter().filter_map(|step| step[key].as_str()).collect::<Vec<_>>();
        for command in expected {
            assert!(each("run").contains(command), "{name} does not run {command}");
        }
        for command in each("run").iter().filter_map(|command| command.strip_prefix("make ")) {
            let target = command.split_whitespace().next().unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "{name}: make {target}");
        }
        for action in each("uses") {
            let commit = action.split_once('@').unwrap().1;
            assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}: {action}");
        }
    }
}

/// Regression: tests were renamed, and `make soak` ran none, successfully.
#[test]
fn every_test_that_is_run_by_name_exists() {
    let (makefile, arm64) = (read("Makefile"), read("tests/arm64.sh"));
    let mut filters: Vec<&str> =
        makefile.lines().filter_map(|line| line.split_once("--test it -- ")?.1.split(' ').next()).collect();
    let named = arm64.split_once("end_to_end::{").unwrap().1.split_once('}').unwrap().0;
    filters.extend(named.split(','));
    assert!(filters.len() > 8, "{filters:?}");
    let tests = Command::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let tests = String::from_utf8(tests.stdout).unwrap();
    for filter in filters {
        assert!(tests.contains(filter), "there is no test {filter}");
    }
}
