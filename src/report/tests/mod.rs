//! Tests of whole documents: each quirk by name, properties, and hostile input.

mod extensions;
mod failure;
mod hostile;
mod properties;
mod quirks;
mod tls_rpt;

use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;

use super::{Aggregate, Report, Row, Scan, rows, scan, scan_clean, scan_tolerant};
use crate::extract::Format;
use crate::limits::Limits;
use crate::trouble::Trouble;

/// Result of both passes over a document.
#[derive(Debug)]
struct Read {
    scan: Scan,
    rows: Vec<Row<'static>>,
}

impl Read {
    fn report(&self) -> &Aggregate {
        let Report::Aggregate(report) = &self.scan.report else { panic!("no aggregate report") };
        report
    }

    /// The codes of all warnings, those of the document first.
    fn codes(&self) -> Vec<&str> {
        let rows = self.rows.iter().flat_map(|row| &row.warnings);
        self.report().warnings.iter().chain(rows).filter_map(|text| text.split(':').next()).collect()
    }

    /// Report and rows without everything that may differ between two spellings of one report, and without extensions.
    fn content(&self) -> (Aggregate, Vec<Row<'static>>) {
        let report = Aggregate { warnings: vec![], xml_namespace: None, extensions: vec![], ..self.report().clone() };
        (report, self.rows.iter().map(|row| Row { warnings: vec![], extensions: vec![], ..row.clone() }).collect())
    }
}

/// Reads a document in both passes, and checks that they agree; if it is clean, by the tolerant reader, too.
fn read_with<R: BufRead>(open: impl Fn() -> R, limits: &Limits) -> Result<Read, Trouble> {
    let rows = |is_clean| {
        let mut given = Vec::new();
        let end = rows(open(), is_clean, limits, &mut |row| {
            given.push(row.into_owned());
            ControlFlow::Continue(())
        });
        (given, end)
    };
    let (given, end) = rows(false);
    assert!(given.iter().map(|row| row.index).eq(0..given.len() as u64));
    if let Ok(clean) = scan_clean(open(), limits) {
        assert_eq!(rows(true), (given.clone(), Ok(())));
        let mut tolerant = scan_tolerant(open(), limits).unwrap();
        tolerant.held = None;
        assert_eq!(format!("{:?}", Scan { is_clean: false, ..clean }), format!("{tolerant:?}"));
    }
    match scan(Format::Xml, &open, limits) {
        Ok(scan) => {
            assert_eq!(scan.rows, given.len() as u64);
            assert_eq!(scan.damage, end.err());
            assert!(scan.held.as_ref().is_none_or(|held| *held == given));
            Ok(Read { scan, rows: given })
        }
        Err(trouble) => {
            assert_eq!(end.as_ref(), Err(&trouble));
            assert!(given.is_empty());
            Err(trouble)
        }
    }
}

fn read(document: impl AsRef<[u8]>) -> Result<Read, Trouble> {
    read_with(|| document.as_ref(), &Limits::default())
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/report").join(name).with_extension("xml");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_fixture(name: &str) -> Read {
    read(fixture(name)).unwrap_or_else(|trouble| panic!("{name}: {trouble}"))
}
