//! Writes interrupted by a crash, at every byte, and their repair at the next start.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use bytes::Bytes;
use serde_json::Value;

use super::{
    layout::{CLOSING, Layout},
    target::{FileError, Mended, Target},
};
use crate::config::sink::{Codec, Compression};

fn plain(codec: Codec) -> Layout {
    Layout { codec, compression: Compression::None }
}

fn lines_in(compression: Compression) -> Layout {
    Layout { codec: Codec::Json, compression }
}

/// Returns the numbers of the events in a compressed file, as the standard tools read it.
fn numbers_in(path: &Path, compression: Compression) -> Vec<u64> {
    let (program, packed) = (if compression == Compression::Gzip { "gzip" } else { "zstd" }, fs::read(path).unwrap());
    let mut child = Command::new(program).arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&packed).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap()).collect()
}

#[test]
fn a_crash_at_any_byte_of_a_compressed_batch_leaves_the_whole_ones_to_gzip_and_zstd() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let layout = lines_in(compression);
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("events.json");
        Target::open(&path, layout).unwrap().0.append(&events(0..3)).unwrap();
        let old = fs::read(&path).unwrap().len();
        Target::open(&path, layout).unwrap().0.append(&events(3..5)).unwrap();
        let new = fs::read(&path).unwrap();
        assert_eq!(numbers_in(&path, compression), [0, 1, 2, 3, 4]);

        for offset in 0..new.len() {
            fs::write(&path, &new[..offset]).unwrap();
            let (mut target, mended) = Target::open(&path, layout).unwrap();
            let (whole, kept) = if offset >= old { (old, 0..3) } else { (0, 0..0) };
            let cut = (offset - whole) as u64;
            assert_eq!(mended, (cut > 0).then_some(Mended { cut }), "{compression:?} {offset}");
            assert_eq!(fs::read(&path).unwrap(), &new[..whole]);
            target.append(&events(90..92)).unwrap();
            if offset % 16 == 0 || offset == old {
                assert_eq!(numbers_in(&path, compression), kept.chain(90..92).collect::<Vec<_>>(), "{offset}");
            }
        }
    }
}

#[test]
fn damage_in_the_last_compressed_batch_is_cut_off_and_damage_before_it_is_refused() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let layout = lines_in(compression);
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("events.json");
        let mut ends = vec![0];
        for n in 0..3 {
            Target::open(&path, layout).unwrap().0.append(&events(n..n + 1)).unwrap();
            ends.push(fs::read(&path).unwrap().len());
        }
        let whole = fs::read(&path).unwrap();
        let damaged = |member: usize| {
            let mut bytes = whole.clone();
            let (begin, end) = (ends[member], ends[member + 1]);
            bytes[begin + (end - begin) / 2..end].fill(0);
            bytes
        };
        fs::write(&path, damaged(2)).unwrap();
        let (_, mended) = Target::open(&path, layout).unwrap();
        assert!(mended.is_some());
        assert_eq!(numbers_in(&path, compression), [0, 1]);
        for member in [0, 1] {
            fs::write(&path, damaged(member)).unwrap();
            let error = Target::open(&path, layout).unwrap_err();
            assert!(matches!(error, FileError::NotOurs { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), damaged(member), "left as it is");
        }
    }
}

#[test]
fn a_plain_file_is_not_continued_compressed_nor_the_other_way_round() {
    let plain = plain(Codec::Json);
    for (one, other) in [
        (plain, lines_in(Compression::Gzip)),
        (plain, lines_in(Compression::Zstd)),
        (lines_in(Compression::Gzip), plain),
        (lines_in(Compression::Zstd), plain),
        (lines_in(Compression::Gzip), lines_in(Compression::Zstd)),
    ] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("events.json");
        Target::open(&path, one).unwrap().0.append(&events(0..1)).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(Target::open(&path, other), Err(FileError::NotOurs { .. })), "{one:?} {other:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

fn event(n: usize) -> Bytes {
    format!("{{\"n\":{n},\"list\":[{{\"a\":\"b]}},{{\"}}],\"text\":\"\\n]\\n\"}}\n").into()
}

fn events(numbers: std::ops::Range<usize>) -> Vec<Bytes> {
    numbers.map(event).collect()
}

/// Returns the numbers of the events in the file, which has to be whole.
fn numbers(path: &Path, codec: Codec) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    let values: Vec<Value> = match codec {
        Codec::Array => serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        _ => {
            assert!(text.is_empty() || text.ends_with('\n'), "torn: {text}");
            text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"))).collect()
        }
    };
    values.iter().map(|value| value["n"].as_u64().unwrap()).collect()
}

fn write(path: &Path, codec: Codec, numbers: std::ops::Range<usize>) {
    Target::open(path, plain(codec)).unwrap().0.append(&events(numbers)).unwrap();
}

#[test]
fn a_crash_at_any_byte_of_a_write_costs_no_confirmed_event_and_leaves_no_torn_one() {
    for codec in [Codec::Json, Codec::Array] {
        for before in [0, 1, 3] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("events.json");
            if before > 0 {
                write(&path, codec, 0..before);
            }
            let old = fs::read(&path).unwrap_or_default();
            write(&path, codec, before..before + 2);
            let new = fs::read(&path).unwrap();
            let start = if codec == Codec::Array && before > 0 { old.len() - CLOSING.len() } else { old.len() };

            for offset in start..=new.len() {
                let mut crashed = new[..offset].to_vec();
                crashed.extend_from_slice(old.get(offset..).unwrap_or_default());
                fs::write(&path, &crashed).unwrap();
                let (mut target, mended) = Target::open(&path, plain(codec)).unwrap();
                let kept = fs::read(&path).unwrap();
                if codec != Codec::Array {
                    let cut = crashed.len().saturating_sub(kept.len()) as u64;
                    assert_eq!(mended, (cut > 0).then_some(Mended { cut }));
                }
                if kept.is_empty() {
                    assert_eq!(before, 0);
                } else {
                    let there = numbers(&path, codec);
                    assert!(there.len() >= before && there.iter().copied().eq(0..there.len() as u64), "{there:?}");
                }
                target.append(&events(90..92)).unwrap();
                assert!(numbers(&path, codec).ends_with(&[90, 91]), "{codec:?} {before} {offset}");
            }
        }
    }
}

#[test]
fn an_array_whose_old_end_survived_a_power_cut_before_newer_blocks_is_cut_back() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("events.json");
    write(&path, Codec::Array, 0..2);
    let old = fs::read(&path).unwrap();
    write(&path, Codec::Array, 2..5);
    let mut mixed = fs::read(&path).unwrap();
    mixed[..old.len()].copy_from_slice(&old);
    assert!(mixed.ends_with(b"}\n]\n"));
    fs::write(&path, mixed).unwrap();
    let (_, mended) = Target::open(&path, plain(Codec::Array)).unwrap();
    assert!(mended.is_some());
    assert_eq!(numbers(&path, Codec::Array), [0, 1]);
}

#[test]
fn a_torn_last_line_of_text_is_cut_off() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("events.log");
    fs::write(&path, "org=a count=1\norg=b co").unwrap();
    let (mut target, mended) = Target::open(&path, plain(Codec::Text)).unwrap();
    assert_eq!(mended, Some(Mended { cut: 8 }));
    target.append(&["org=c count=1\n".into()]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "org=a count=1\norg=c count=1\n");
}

#[test]
fn an_only_event_without_its_line_end_gets_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("events.json");
    fs::write(&path, "{\"n\":0}").unwrap();
    write(&path, Codec::Json, 1..2);
    assert_eq!(numbers(&path, Codec::Json), [0, 1]);
}

#[test]
fn a_torn_line_longer_than_one_look_back_is_cut_off_whole() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("events.json");
    fs::write(&path, format!("{{\"n\":0}}\n{{\"n\":1,\"long\":\"{}", "x".repeat(200_000))).unwrap();
    let (_, mended) = Target::open(&path, plain(Codec::Json)).unwrap();
    assert_eq!(mended, Some(Mended { cut: 200_015 }));
    assert_eq!(numbers(&path, Codec::Json), [0]);
}

#[test]
fn a_file_that_is_not_ours_is_refused_with_advice_and_left_as_it_is() {
    let long_tail = format!("[\n{{\"n\":0}},\nbroken{}", "x".repeat(17 << 20));
    let long_line = format!("{{\"n\":0}}\n{}", "x".repeat(17 << 20));
    for (codec, content) in [
        (Codec::Array, "{\"n\":1}\n"),
        (Codec::Array, "hello"),
        (Codec::Array, "[\n  {\n    \"n\": 1"),
        (Codec::Array, "[\n{\n  \"n\": 1\n},\n{\n"),
        (Codec::Array, "[1, 2"),
        (Codec::Array, &long_tail),
        (Codec::Json, "[\n{\"n\":1}\n]\n"),
        (Codec::Json, "root:x:0:0"),
        (Codec::Json, &long_line),
        (Codec::Text, "{\"n\":1}\n"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("events.json");
        fs::write(&path, content).unwrap();
        let refused = Target::open(&path, plain(codec)).unwrap_err();
        assert!(matches!(refused, FileError::NotOurs { .. }), "{refused}");
        assert!(refused.to_string().contains("move it away"), "{refused}");
        assert!(fs::read(&path).unwrap() == content.as_bytes(), "{codec:?} {refused}");
    }
}

#[test]
fn an_array_that_another_program_wrote_is_continued() {
    for content in [
        "[]",
        "[\n]\n",
        "[{\"n\": 0}, {\"n\": 1}]",
        "[\n    {\n        \"n\": 0\n    },\n    {\n        \"n\": 1\n    }\n]",
        "[\n{\n  \"n\": 0\n},\n{\n  \"n\": 1\n}\n]\n",
        "[{\"n\":0},\n{\"n\":1}]\n\n",
    ] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("events.json");
        fs::write(&path, content).unwrap();
        let (mut target, mended) = Target::open(&path, plain(Codec::Array)).unwrap();
        assert_eq!(mended, None, "{content}");
        target.append(&events(2..3)).unwrap();
        let there = numbers(&path, Codec::Array);
        assert!(there == [0, 1, 2] || there == [2] && !content.contains('n'), "{content}: {there:?}");
    }
}

#[test]
fn a_folder_or_pipe_at_the_path_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let pipe = root.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(Target::open(&pipe, plain(Codec::Json)), Err(FileError::NotOurs { .. })));
    let error = Target::open(root.path(), plain(Codec::Json)).unwrap_err();
    assert!(error.needs_a_person(), "{error}");
}
