use std::{
    fs,
    num::NonZeroU32,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::{sync::watch, task::JoinHandle};

use super::*;
use crate::{
    config::sink::{Compression, Rate},
    sink::{Metadata, Outlet, queue},
    small_disk::SmallDisk,
};

/// 2026-01-01T23:59:59Z.
const BEFORE_MIDNIGHT: i64 = 1_767_311_999;

struct Running {
    outlet: Outlet,
    confirmed: watch::Receiver<u64>,
    health: watch::Receiver<Health>,
    stop: CancellationToken,
    run: JoinHandle<Result<(), SinkError>>,
}

impl Running {
    fn start(path: PathBuf, codec: Codec) -> Self {
        Self::start_with(File { path, retention_days: None, compression: Compression::None }, codec, &Rate::default())
    }

    fn start_with(config: File, codec: Codec, rate: &Rate) -> Self {
        let (outlet, inlet) = queue(8 << 20);
        let (status, confirmed, health) = Status::new();
        let stop = CancellationToken::new();
        let sink = Box::new(FileSink::new("archive", config, codec, RateLimit::new(rate)));
        let run = tokio::spawn(sink.run(inlet, status, stop.clone()));
        Self { outlet, confirmed, health, stop, run }
    }

    /// Sends one event and waits until it is confirmed.
    async fn ship(&mut self, n: usize) {
        let number = self.outlet.send(line(n), Metadata::at(BEFORE_MIDNIGHT)).await.unwrap();
        self.confirmed.wait_for(|confirmed| *confirmed >= number).await.unwrap();
    }

    async fn failing(&mut self) -> String {
        let health = self.health.wait_for(|health| matches!(health, Health::Failing { .. })).await.unwrap();
        let Health::Failing { error } = &*health else { unreachable!() };
        error.to_string()
    }

    async fn up(&mut self) {
        self.health.wait_for(|health| *health == Health::Up).await.unwrap();
    }

    async fn end(self) {
        drop(self.outlet);
        self.run.await.unwrap().unwrap();
    }
}

fn line(n: usize) -> Bytes {
    format!("{{\"n\":{n},\"fill\":\"{}\"}}\n", "x".repeat(n % 300)).into()
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|n| String::from_utf8(line(n).to_vec()).unwrap()).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn lines_are_confirmed_when_they_are_in_the_file_and_later_runs_continue_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/%Y%m%d_all.json");
    let file = root.path().join("a/b/20260101_all.json");
    let mut sink = Running::start(path.clone(), Codec::Json);
    for n in 0..500 {
        sink.outlet.send(line(n), Metadata::at(BEFORE_MIDNIGHT)).await.unwrap();
    }
    sink.confirmed.wait_for(|n| *n == 500).await.unwrap();
    assert_eq!(text(&file), lines(0..500));
    assert_eq!((mode(&file), mode(&root.path().join("a")), mode(file.parent().unwrap())), (0o640, 0o750, 0o750));
    sink.end().await;

    let mut sink = Running::start(path, Codec::Json);
    sink.ship(500).await;
    assert_eq!(text(&file), lines(0..501));
    sink.end().await;
}

#[tokio::test]
async fn an_array_is_valid_json_after_every_batch() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("all.json");
    for run in 0..2 {
        let mut sink = Running::start(path.clone(), Codec::Array);
        for n in 0..20 {
            sink.ship(n).await;
            let value: Vec<serde_json::Value> = serde_json::from_str(&text(&path)).unwrap();
            assert_eq!(value.len(), run * 20 + n + 1);
        }
        sink.end().await;
    }
    assert!(text(&path).starts_with("[\n{\"n\":0,") && text(&path).ends_with("}\n]\n"));
}

#[tokio::test]
async fn events_go_to_the_file_of_the_day_they_came_in() {
    let root = tempfile::tempdir().unwrap();
    let sink = Running::start(root.path().join("%Y/%m%d.json"), Codec::Json);
    for n in 0..6 {
        // Readers run in parallel: around midnight the days alternate.
        sink.outlet.send(line(n), Metadata::at(BEFORE_MIDNIGHT + (n % 2) as i64)).await.unwrap();
    }
    sink.end().await;
    let of = |n: &[usize]| n.iter().map(|n| lines(*n..n + 1)).collect::<String>();
    assert_eq!(text(&root.path().join("2026/0101.json")), of(&[0, 2, 4]));
    assert_eq!(text(&root.path().join("2026/0102.json")), of(&[1, 3, 5]));
}

#[tokio::test]
async fn a_path_that_can_t_be_created_ends_the_sink_at_the_start_with_advice() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    for path in [root.path().join("file/%Y%m%d.json"), root.path().to_owned(), "/proc/1/x/%F.json".into()] {
        let error = Running::start(path.clone(), Codec::Json).run.await.unwrap().unwrap_err();
        assert!(matches!(error, SinkError::CannotCreate(..)), "{path:?}: {error}");
        assert!(error.to_string().contains("folder that this user may write to"), "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_this_user_may_not_write_to_ends_the_sink_at_the_start() {
    if rustix::process::geteuid().is_root() {
        println!("SKIPPED: root may write everywhere");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o500)).unwrap();
    for path in ["all.json", "new/all.json"] {
        let error = Running::start(root.path().join(path), Codec::Json).run.await.unwrap().unwrap_err();
        assert!(
            matches!(&error, SinkError::CannotCreate(why, cause) if why.contains("Permission denied") && why.contains(&cause.to_string())),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_no_array_ends_an_array_sink() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("all.json");
    fs::write(&path, "{}\n").unwrap();
    let error = Running::start(path, Codec::Array).run.await.unwrap().unwrap_err();
    assert!(matches!(error, SinkError::CannotWrite(..)), "{error}");
}

#[tokio::test]
async fn a_wrong_pattern_is_a_mistake_of_the_configuration() {
    let error = Running::start("/tmp/%!".into(), Codec::Json).run.await.unwrap().unwrap_err();
    assert!(matches!(error, SinkError::Configuration(..)), "{error}");
}

#[tokio::test]
async fn a_file_that_is_moved_deleted_or_truncated_is_begun_anew() {
    for codec in [Codec::Json, Codec::Array] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("all.json");
        let mut sink = Running::start(path.clone(), codec);
        let mut alone = Vec::new();
        sink.ship(1).await;
        fs::rename(&path, root.path().join("all.json.1")).unwrap();
        sink.ship(1).await;
        alone.push(text(&path));
        fs::remove_file(&path).unwrap();
        sink.ship(1).await;
        alone.push(text(&path));
        fs::write(&path, "").unwrap();
        sink.ship(1).await;
        alone.push(text(&path));
        assert!(alone.iter().all(|content| *content == text(&root.path().join("all.json.1"))), "{alone:?}");
        sink.end().await;
    }
}

#[tokio::test]
async fn a_folder_that_vanished_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("reports/all.json");
    let mut sink = Running::start(path.clone(), Codec::Json);
    sink.ship(1).await;
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    sink.ship(2).await;
    assert_eq!(text(&path), lines(2..3));
    sink.end().await;
}

#[tokio::test]
async fn what_fails_later_is_reported_and_tried_again_until_it_works() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("reports");
    let mut sink = Running::start(folder.join("all.json"), Codec::Json);
    sink.ship(1).await;
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    sink.outlet.send(line(2), Metadata::at(0)).await.unwrap();
    let error = sink.failing().await;
    assert!(error.contains("reports") && error.contains("trying again"), "{error}");
    assert_eq!(*sink.confirmed.borrow(), 1);
    fs::remove_file(&folder).unwrap();
    sink.confirmed.wait_for(|n| *n == 2).await.unwrap();
    sink.up().await;
    assert_eq!(text(&folder.join("all.json")), lines(2..3));
    sink.end().await;
}

#[tokio::test]
async fn stop_ends_a_sink_that_is_trying_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("reports");
    let mut sink = Running::start(folder.join("all.json"), Codec::Json);
    sink.up().await;
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    sink.outlet.send(line(1), Metadata::at(0)).await.unwrap();
    sink.failing().await;
    sink.stop.cancel();
    sink.run.await.unwrap().unwrap();
    assert_eq!(*sink.confirmed.borrow(), 0);
}

#[tokio::test]
async fn a_full_disk_loses_tears_and_doubles_nothing() {
    for codec in [Codec::Json, Codec::Array] {
        let Some(disk) = SmallDisk::mount(256) else { return };
        let path = disk.path().join("all.json");
        let mut sink = Running::start(path.clone(), codec);
        sink.ship(0).await;
        let before = text(&path);
        let filler = disk.fill();
        for n in 1..200 {
            sink.outlet.send(line(n), Metadata::at(0)).await.unwrap();
        }
        let error = sink.failing().await;
        assert!(error.contains("No space left"), "{error}");
        if codec == Codec::Array {
            serde_json::from_str::<Vec<serde_json::Value>>(&text(&path)).unwrap();
        } else {
            assert!(text(&path).starts_with(&before) && text(&path).ends_with('\n'));
        }
        fs::remove_file(filler).unwrap();
        sink.confirmed.wait_for(|n| *n == 200).await.unwrap();
        let inner = text(&path).replace("[\n", "").replace("\n]\n", "\n").replace("},\n", "}\n");
        assert_eq!(inner, lines(0..200));
        sink.end().await;
    }
}

#[tokio::test]
async fn a_full_disk_leaves_whole_compressed_batches_and_loses_nothing() {
    for (compression, program) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let Some(disk) = SmallDisk::mount(256) else { return };
        let path = disk.path().join("%Y%m%d.json.packed");
        let file = disk.path().join("20260101.json.packed");
        let config = File { path, retention_days: None, compression };
        let mut sink = Running::start_with(config, Codec::Json, &Rate::default());
        sink.outlet.send(line(0), Metadata::at(BEFORE_MIDNIGHT)).await.unwrap();
        sink.confirmed.wait_for(|n| *n == 1).await.unwrap();
        let unpacked = || {
            let output = std::process::Command::new(program).arg("-dc").stdin(fs::File::open(&file).unwrap()).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(unpacked(), lines(0..1));
        let filler = disk.fill();
        for n in 1..2_000 {
            sink.outlet.send(line(n), Metadata::at(BEFORE_MIDNIGHT)).await.unwrap();
        }
        let error = sink.failing().await;
        assert!(error.contains("No space left"), "{error}");
        assert!(lines(0..2_000).starts_with(&unpacked()));
        fs::remove_file(filler).unwrap();
        sink.confirmed.wait_for(|n| *n == 2_000).await.unwrap();
        assert_eq!(unpacked(), lines(0..2_000));
        assert!(fs::metadata(&file).unwrap().len() < lines(0..2_000).len() as u64 / 2);
        sink.end().await;
    }
}

#[tokio::test]
async fn a_rate_limit_does_not_hold_back_what_it_has_let_through() {
    let root = tempfile::tempdir().unwrap();
    let rate = Rate { events: NonZeroU32::new(2), per: Duration::from_secs(3600), bytes_per_second: None };
    let config = File { path: root.path().join("all.json"), retention_days: None, compression: Compression::None };
    let mut sink = Running::start_with(config, Codec::Json, &rate);
    for n in 0..5 {
        sink.outlet.send(line(n), Metadata::at(0)).await.unwrap();
    }
    sink.confirmed.wait_for(|n| *n == 2).await.unwrap();
    assert_eq!(text(&root.path().join("all.json")), lines(0..2));
    sink.stop.cancel();
    sink.run.await.unwrap().unwrap();
}

#[tokio::test]
async fn old_files_are_deleted_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let [old, other, today] = ["20200101_all.json", "20200101.json", "99990101_all.json"].map(|n| root.path().join(n));
    for file in [&old, &other, &today] {
        fs::write(file, "{}\n").unwrap();
    }
    let config = File {
        path: root.path().join("%Y%m%d_all.json"),
        retention_days: NonZeroU32::new(30),
        compression: Compression::None,
    };
    let mut sink = Running::start_with(config, Codec::Json, &Rate::default());
    sink.ship(1).await;
    assert!(!old.exists() && other.exists() && today.exists());
    sink.end().await;
}
