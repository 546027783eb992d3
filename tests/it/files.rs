//! The `file` sink of the program: file names, layouts, and retention.

use std::{fs, path::Path};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{
    delivery::rows,
    process::{Shipper, ndjson},
    reports::{Batch, Container, damaged, essences},
    workplace::Workplace,
};

/// Returns a configuration that reads the folder `reports` and writes with this sink.
fn config(workplace: &Workplace, batch: &Batch, sink: Value) -> Value {
    let folder = workplace.path("reports");
    fs::create_dir_all(&folder).unwrap();
    for (number, mail) in batch.mails.iter().enumerate() {
        let file = folder.join(format!("{number}.eml"));
        if !file.exists() {
            fs::write(file, mail).unwrap();
        }
    }
    workplace.config(json!({"type": "file", "path": folder}), sink)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn today() -> String {
    Timestamp::now().strftime("%Y%m%d").to_string()
}

#[test]
fn daily_files_are_written_and_deleted_after_retention_days() {
    let (workplace, batch) = (Workplace::new(), Batch::generate(71, 4, 1..=5, 0));
    let folder = workplace.path("out");
    fs::create_dir(&folder).unwrap();
    for name in ["20200101_all.json", "20200101_other.json", "20200199_all.json", "notes.txt"] {
        fs::write(folder.join(name), "mine").unwrap();
    }
    let sink = json!({"type": "file", "path": folder.join("%Y%m%d_all.json"), "retention_days": 30});
    let before = today();
    workplace.once(&config(&workplace, &batch, sink)).exits(0);

    let mut left = names(&folder);
    left.retain(|name| !["20200101_other.json", "20200199_all.json", "notes.txt"].contains(&name.as_str()));
    let written = left.concat();
    assert!([before, today()].iter().any(|day| written == format!("{day}_all.json")), "{:?}", names(&folder));
    let events = ndjson(&fs::read_to_string(folder.join(written)).unwrap());
    assert_eq!(essences(rows(&events)), batch.essences());
}

#[test]
fn a_json_array_file_stays_valid_over_several_runs() {
    let (workplace, batch) = (Workplace::new(), Batch::generate(72, 4, 1..=5, 0));
    let sink = json!({"type": "file", "path": workplace.path("all.json"), "encoding": {"codec": "array"}});
    for part in [&batch.mails[..2], &batch.mails[..]] {
        let part = Batch { mails: part.to_vec(), reports: Vec::new() };
        workplace.once(&config(&workplace, &part, sink.clone())).exits(0);
        serde_json::from_str::<Vec<Value>>(&workplace.read("all.json")).unwrap();
    }
    let events: Vec<Value> = serde_json::from_str(&workplace.read("all.json")).unwrap();
    assert_eq!(essences(rows(&events)), batch.essences(), "each report once");
}

#[test]
fn a_folder_is_read_once_and_new_files_later() {
    let (workplace, batch) = (Workplace::new(), Batch::generate(73, 3, 1..=5, 0));
    let part = |mails: &[Vec<u8>]| Batch { mails: mails.to_vec(), reports: Vec::new() };
    let stdout = json!({"type": "stdout"});
    let events = |mails| workplace.once(&config(&workplace, &part(mails), stdout.clone())).exits(0).events();
    let first = events(&batch.mails[..1]);
    assert_eq!(first.len(), batch.reports[0].rows.len() + 1);
    assert_eq!(events(&batch.mails[..1]), Vec::<Value>::new());
    let later = events(&batch.mails);
    assert_eq!(essences(rows(&first).chain(rows(&later))), batch.essences());
}

#[test]
fn mails_without_a_report_exit_with_0_and_other_files_with_65() {
    let workplace = Workplace::new();
    let letter = workplace.write("letter.eml", "From: a@example.com\r\nSubject: Lunch?\r\n\r\nAre you there?\r\n");
    let note = workplace.write("note.txt", "Lunch, one o'clock\n");
    let page = workplace.write("page.xml", "<html><p/></html>");
    let marked = workplace.write("marked.eml", damaged(Container::Gzip, 1));
    for command in ["parse", "run"] {
        let shipper = |path: &Path| match command {
            "parse" => Shipper::new(["parse".as_ref(), path]),
            _ => Shipper::new(["run", "--once", "--to", "stdout:", "--from", path.to_str().unwrap()]),
        };
        let finished = shipper(&letter).exits(0);
        assert_eq!(finished.stderr.matches("without a report").count(), 1, "{}", finished.stderr);
        assert_eq!(finished.stdout, "");
        for unreadable in [&note, &page, &marked] {
            let events = shipper(unreadable).exits(65).events();
            assert!(events.iter().any(|event| event["event_type"] == "ingest_error"), "{events:?}");
        }
    }
}
