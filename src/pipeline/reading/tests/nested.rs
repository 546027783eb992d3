//! Property test of the accounting: of N reports in any nesting of containers, N are shipped, or the verdict says that some are
//! not.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::extract::tests::{gzip, part, report_mail, tar, text, zip, zlib};

/// Reports, and what is around them.
#[derive(Debug, Clone)]
enum Tree {
    /// A number of reports in one stream.
    Stream(Joined, usize),
    Inside(Container, Vec<Tree>),
}

/// Form in which the reports of a stream are joined.
#[derive(Debug, Clone, Copy)]
enum Joined {
    Xml,
    XmlWithoutDeclarations,
    XmlInOneElement,
    GzipMembers,
    Json,
    JsonLines,
    JsonArray,
    TextOfAMail,
}

#[derive(Debug, Clone, Copy)]
enum Container {
    /// A member each.
    Zip,
    Tar,
    /// An attachment each.
    Mail,
    /// A mail each.
    Mbox,
    /// These hold one.
    Gzip,
    Zlib,
    ByteOrderMark,
}

use Container::*;
use Joined::*;

fn xml(id: usize) -> Vec<u8> {
    format!(
        "<?xml version='1.0'?>\n<feedback><report_metadata><org_name>x</org_name><report_id>{id}</report_id></report_metadata>\
         <record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record></feedback>\n"
    )
    .into_bytes()
}

fn json(id: usize) -> Vec<u8> {
    format!("{{\"organization-name\": \"x\", \"report-id\": \"{id}\", \"policies\": [{{\"policy\": {{\"policy-type\": \"sts\"}}}}]}}")
        .into_bytes()
}

impl Tree {
    /// Its bytes; `reports` counts the reports so far, which are their ids.
    fn bytes(&self, reports: &mut usize) -> Vec<u8> {
        match self {
            Tree::Stream(joined, number) => {
                let ids = *reports..*reports + number;
                *reports += number;
                stream(*joined, ids)
            }
            Tree::Inside(container, inside) => {
                let inside: Vec<Vec<u8>> = inside.iter().map(|tree| tree.bytes(reports)).collect();
                container.around(&inside)
            }
        }
    }
}

fn stream(joined: Joined, ids: std::ops::Range<usize>) -> Vec<u8> {
    let bare = |id| xml(id).split_off(b"<?xml version='1.0'?>\n".len());
    match joined {
        Xml => ids.flat_map(xml).collect(),
        XmlWithoutDeclarations => ids.flat_map(bare).collect(),
        XmlInOneElement => [b"<reports>".to_vec(), ids.flat_map(bare).collect(), b"</reports>".to_vec()].concat(),
        GzipMembers => ids.flat_map(|id| gzip(&xml(id))).collect(),
        Json => ids.flat_map(json).collect(),
        JsonLines => ids.flat_map(|id| [json(id), b"\n".to_vec()].concat()).collect(),
        JsonArray => [b"[".to_vec(), ids.map(json).collect::<Vec<_>>().join(&b", "[..]), b"]".to_vec()].concat(),
        TextOfAMail => {
            let body: Vec<u8> = ids.flat_map(|id| [b"Hello,\r\n".to_vec(), xml(id)].concat()).collect();
            report_mail(&[text(&String::from_utf8(body).unwrap()), text("bye")])
        }
    }
}

impl Container {
    fn around(self, inside: &[Vec<u8>]) -> Vec<u8> {
        let members: Vec<(&str, &[u8])> = ["a", "b", "c"].into_iter().zip(inside.iter().map(Vec::as_slice)).collect();
        match self {
            Zip => zip(&members),
            Tar => tar(&members),
            Mail => report_mail(&inside.iter().map(|bytes| part("a/b", "x", bytes)).collect::<Vec<_>>()),
            Mbox => {
                let mail = |bytes: &Vec<u8>| report_mail(&[text(">From here on"), part("a/b", "x", bytes)]);
                inside
                    .iter()
                    .flat_map(|bytes| [b"From a\r\n".to_vec(), mail(bytes), b"\r\n".to_vec()].concat())
                    .collect()
            }
            Gzip => gzip(&inside[0]),
            Zlib => zlib(&inside[0]),
            ByteOrderMark => gzip(&[b"\xef\xbb\xbf".as_slice(), &inside[0]].concat()),
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let joined = select(vec![
        Xml,
        XmlWithoutDeclarations,
        XmlInOneElement,
        GzipMembers,
        Json,
        JsonLines,
        JsonArray,
        TextOfAMail,
    ]);
    let stream = (joined, 1..4usize).prop_map(|(joined, number)| Tree::Stream(joined, number));
    stream.prop_recursive(3, 12, 3, |inner| {
        let many = (select(vec![Zip, Tar, Mail, Mbox]), vec(inner.clone(), 1..4));
        let one = (select(vec![Gzip, Zlib, ByteOrderMark]), vec(inner, 1));
        prop_oneof![many, one].prop_map(|(container, inside)| Tree::Inside(container, inside))
    })
}

/// The ids of the reports whose outcome is `shipped`, and the verdict.
fn shipped(bytes: Vec<u8>, limits: &Limits) -> (Vec<usize>, Verdict) {
    let mut kept = Kept::default();
    let verdict = kept.read_bytes(bytes, Addresses::Masked, limits).verdict();
    let mut ids = Vec::new();
    for event in &kept.events {
        let Event::Report(report) = event else { continue };
        if report.outcome() == Outcome::Shipped {
            let mut fields: Vec<Field<'_>> = Vec::new();
            event.fields(&mut fields);
            let id = fields.into_iter().find(|(name, _)| *name == "report_id").unwrap().1;
            let Value::Text(id) = id else { panic!("no report_id") };
            ids.push(id.parse().unwrap());
        }
    }
    ids.sort_unstable();
    (ids, verdict)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_reports_in_any_nesting_of_containers_are_shipped(tree in trees()) {
        let mut reports = 0;
        let bytes = tree.bytes(&mut reports);
        prop_assert_eq!(shipped(bytes, &Limits::default()), ((0..reports).collect(), Verdict::Archive));
    }

    #[test]
    fn what_is_beyond_a_limit_of_containers_is_told(
        tree in trees(), nesting in 1..4u64, archive_entries in 1..6u64, mail_parts in 2..8u64,
        mail_inflated_bytes in 1_000..4_000u64,
    ) {
        let mut reports = 0;
        let bytes = tree.bytes(&mut reports);
        let limits = Limits { nesting, archive_entries, mail_parts, mail_inflated_bytes, ..Limits::default() };
        let (ids, verdict) = shipped(bytes, &limits);
        let is_told = matches!(verdict, Verdict::Quarantine(_));
        prop_assert!(ids.len() == reports || is_told, "{} of {} shipped: {:?}", ids.len(), reports, verdict);
        prop_assert!(ids.len() <= reports);
    }

    #[test]
    fn what_is_cut_off_is_told(tree in trees(), cut in 0.0..1.0f64) {
        let mut reports = 0;
        let mut bytes = tree.bytes(&mut reports);
        bytes.truncate((bytes.len() as f64 * cut) as usize);
        let (ids, verdict) = shipped(bytes, &Limits::default());
        prop_assert!(ids.len() <= reports);
        // A cut between two documents leaves a whole file.
        if ids.is_empty() {
            prop_assert!(verdict != Verdict::Archive);
        }
    }
}
