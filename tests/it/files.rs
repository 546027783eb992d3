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

/// Regression: folders of a Maildir were passed over, and deleted mails were read, and nothing was said of either.
#[test]
fn the_folders_of_a_maildir_are_read_without_their_deleted_mails() {
    let (workplace, batch) = (Workplace::new(), Batch::generate(76, 4, 1..=2, 0));
    let top = workplace.path("Maildir");
    for (number, place) in
        ["new/1", ".Reports/cur/2:2,S", ".Reports.2026/new/3", ".Reports/cur/4:2,ST"].iter().enumerate()
    {
        let file = top.join(place);
        let folder = file.parent().unwrap().parent().unwrap();
        ["cur", "new", "tmp"].iter().for_each(|part| fs::create_dir_all(folder.join(part)).unwrap());
        fs::write(file, &batch.mails[number]).unwrap();
    }
    let wanted: usize = batch.reports[..3].iter().map(|report| report.rows.len()).sum();
    let ran = Shipper::new(["run", "--once", "--to", "stdout:", "--from", top.to_str().unwrap()]).exits(0);
    let ran = ran.says(&["passed over mails that are marked as deleted"]);
    let parsed =
        Shipper::new(["parse", top.to_str().unwrap()]).exits(0).says(&["skipped mails that are marked as deleted"]);
    for finished in [ran, parsed] {
        assert_eq!(rows(&finished.events()).count(), wanted);
    }
}

/// Regression: our own report, returned to us by a mail server, was shipped as a report about our domain.
#[test]
fn a_bounce_of_a_report_that_was_sent_from_here_is_no_report_and_no_error() {
    let bounce = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mail/067-bounce-of-our-report.eml");
    let bounce = bounce.to_str().unwrap();
    let parsed = Shipper::new(["parse", bounce]).exits(0);
    let ran = Shipper::new(["run", "--once", "--to", "stdout:", "--from", bounce]).exits(0);
    for finished in [parsed, ran] {
        assert_eq!(finished.says(&["bounces or receipts return", "without a report"]).stdout, "");
    }
}
